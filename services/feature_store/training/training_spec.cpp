#include "services/feature_store/training/training_spec.hpp"

#include "services/feature_store/views/view_toml.hpp"

namespace troupe::feature_store {

namespace {

expected<std::vector<std::string>> texts_key(const toml::table& table, std::string_view key,
                                             std::string_view where) {
  std::vector<std::string> out;
  auto node = table.get(key);
  if (!node)
    return out;
  auto list = node->as_array();
  if (!list)
    return fail(ec::invalid_argument, "{}: {} must be a list of texts", where, key);
  for (auto& each : *list) {
    auto text = each.value_exact<std::string>();
    if (!text)
      return fail(ec::invalid_argument, "{}: {} must be a list of texts", where, key);
    out.push_back(*text);
  }
  return out;
}

expected<void> read_labels(const toml::table& labels, training_spec& spec, const std::string& where) {
  TROUPE_CHECK(
      check_keys(labels, {"event", "where", "entity_rows", "user", "item", "time", "columns"}, where));
  TROUPE_TRY(event, text_key(labels, "event", where));
  TROUPE_TRY(entity_rows, text_key(labels, "entity_rows", where));
  if (event.has_value() == entity_rows.has_value())
    return fail(ec::invalid_argument, "{}: labels are either event = \"TYPE\" or entity_rows = \"FILE\"",
                where);
  if (event) {
    for (auto key : {"user", "item", "time", "columns"})
      if (labels.contains(key))
        return fail(ec::invalid_argument, "{}: {} goes with entity_rows, not with event", where, key);
    spec.label_event = *event;
    TROUPE_TRY(conditions, parse_where(labels, where));
    spec.label_where = conditions;
    return {};
  }
  if (labels.contains("where"))
    return fail(ec::invalid_argument, "{}: where goes with event, not with entity_rows", where);
  spec.entity_rows = *entity_rows;
  TROUPE_TRY(user, text_key(labels, "user", where));
  TROUPE_TRY(item, text_key(labels, "item", where));
  TROUPE_TRY(time, text_key(labels, "time", where));
  TROUPE_TRY(columns, texts_key(labels, "columns", where));
  if ((!user && !item) || !time)
    return fail(ec::invalid_argument,
                "{}: entity_rows needs time, and user or item: the names of its columns", where);
  spec.entity_user = user.value_or("");
  spec.entity_item = item.value_or("");
  spec.entity_time = *time;
  spec.kept_columns = columns;
  return {};
}

} // namespace

expected<training_spec> parse_training_spec(std::string_view toml, std::string_view origin) {
  toml::table root;
  try {
    root = toml::parse(toml, origin);
  } catch (const toml::parse_error& err) {
    return fail(ec::invalid_argument, "cannot read {}: line {}, column {}: {}", origin,
                err.source().begin.line, err.source().begin.column, err.description());
  }
  TROUPE_CHECK(check_keys(root,
                          {"name", "labels", "features", "boundary", "knowledge", "offsets", "rows_per_part",
                           "max_unmatched_share", "ages"},
                          origin));
  training_spec spec;
  TROUPE_TRY(name, text_key(root, "name", origin));
  spec.name = name.value_or("training-set");
  auto labels = root["labels"].as_table();
  if (!labels)
    return fail(ec::invalid_argument, "{}: there is no [labels]", origin);
  TROUPE_CHECK(read_labels(*labels, spec, fmt::format("{}: labels", origin)));
  TROUPE_TRY(features, texts_key(root, "features", origin));
  if (features.empty())
    return fail(ec::invalid_argument, "{}: features must name at least one \"view.feature\"", origin);
  spec.features = features;
  TROUPE_TRY(boundary, text_key(root, "boundary", origin));
  spec.boundary = spec.entity_rows.empty() ? boundary::before : boundary::at;
  if (boundary) {
    if (*boundary != "before" && *boundary != "at")
      return fail(ec::invalid_argument, "{}: boundary is \"before\" or \"at\"", origin);
    spec.boundary = *boundary == "before" ? boundary::before : boundary::at;
  }
  if (spec.boundary == boundary::at && spec.entity_rows.empty())
    return fail(ec::invalid_argument,
                "{}: boundary = \"at\" would let an event be a feature of its own label", origin);
  TROUPE_TRY(knowledge, text_key(root, "knowledge", origin));
  if (knowledge && *knowledge != "event_time" && *knowledge != "ingest_time")
    return fail(ec::invalid_argument, "{}: knowledge is \"event_time\" or \"ingest_time\"", origin);
  spec.knowledge = knowledge == "ingest_time" ? knowledge::ingest_time : knowledge::event_time;
  if (auto node = root.get("offsets")) {
    auto list = node->as_array();
    if (!list)
      return fail(ec::invalid_argument, "{}: offsets is a list, one number per partition", origin);
    for (auto& each : *list) {
      auto offset = each.value_exact<std::int64_t>();
      if (!offset || *offset < 0)
        return fail(ec::invalid_argument, "{}: offsets is a list, one number per partition", origin);
      spec.offsets.push_back(static_cast<std::uint64_t>(*offset));
    }
  }
  if (auto node = root.get("rows_per_part")) {
    auto rows = node->value_exact<std::int64_t>();
    if (!rows || *rows < 1 || *rows > 100'000'000)
      return fail(ec::invalid_argument, "{}: rows_per_part is 1 to 100,000,000", origin);
    spec.rows_per_part = static_cast<std::uint64_t>(*rows);
  }
  if (auto node = root.get("max_unmatched_share")) {
    auto share = node->is_number() ? node->value<double>() : std::nullopt;
    if (!share || !(*share >= 0 && *share <= 1))
      return fail(ec::invalid_argument, "{}: max_unmatched_share is a number of 0 to 1", origin);
    spec.max_unmatched_share = *share;
  }
  if (auto node = root.get("ages")) {
    auto ages = node->value_exact<bool>();
    if (!ages)
      return fail(ec::invalid_argument, "{}: ages is true or false", origin);
    spec.ages = *ages;
  }
  return spec;
}

std::string training_spec::canonical() const {
  std::string out = fmt::format("name={}\n", name);
  if (entity_rows.empty()) {
    out += fmt::format("event={}\n", label_event);
    for (auto& each : label_where)
      out += fmt::format("where {}={}\n", to_string(each.what),
                         std::visit([](auto& value) { return fmt::format("{}", value); }, each.equals));
  } else {
    out += fmt::format("entity_rows={}\nuser={}\nitem={}\ntime={}\ncolumns={}\n", entity_rows, entity_user,
                       entity_item, entity_time, fmt::join(kept_columns, ","));
  }
  out += fmt::format("features={}\nboundary={}\nknowledge={}\nrows_per_part={}\nages={}\n",
                     fmt::join(features, ","), boundary == boundary::before ? "before" : "at",
                     knowledge == knowledge::event_time ? "event_time" : "ingest_time", rows_per_part, ages);
  if (max_unmatched_share)
    out += fmt::format("max_unmatched_share={}\n", *max_unmatched_share);
  if (!offsets.empty())
    out += fmt::format("offsets={}\n", fmt::join(offsets, ","));
  return out;
}

} // namespace troupe::feature_store
