#include "services/feature_store/training/replay_rows.hpp"

#include <algorithm>

namespace troupe::feature_store {

namespace {

std::string cell(const table::column_view& column, std::uint64_t row) {
  using table::kind;
  if (column.is_null(row))
    return {};
  if (table::is_instant(column.type().of))
    return to_rfc3339(column.time(row));
  switch (column.type().of) {
  case kind::text:
  case kind::enumeration:
  case kind::blob:
    return std::string{column.text(row)};
  case kind::float32:
  case kind::float64:
  case kind::decimal:
    return fmt::format("{}", column.number(row));
  case kind::boolean:
    return column.flag(row) ? "true" : "false";
  default:
    return fmt::format("{}", column.integer(row));
  }
}

} // namespace

replay_rows::replay_rows(const training_spec& spec, const std::vector<feature_view>& views,
                         table::appender rows)
    : spec_{spec}, views_{views}, rows_{std::move(rows)} {
  for (auto& view : views)
    for (auto& each : view.features) {
      if (each.of.of == field::part::context)
        wanted_.insert(each.of.name);
      for (auto& rule : each.where)
        if (rule.what.of == field::part::context)
          wanted_.insert(rule.what.name);
    }
}

expected<void> replay_rows::add(const wire::Record& rec, std::uint32_t partition, std::uint64_t offset) {
  auto from = feature_event_of(rec, partition, offset);
  if (std::any_of(views_.begin(), views_.end(), [&](auto& view) { return !entity_of(view, from).empty(); })) {
    auto visible = from.event_time + (spec_.boundary == boundary::before ? 1 : 0);
    if (spec_.knowledge == knowledge::ingest_time)
      visible = std::max(visible, from.ingest_time);
    TROUPE_CHECK(
        put({visible, 0, from.event_time, partition, static_cast<std::int64_t>(offset)}, encode(from, true)));
  }
  bool label = spec_.entity_rows.empty() && from.kind == record_kind::event &&
               from.type == spec_.label_event &&
               std::all_of(spec_.label_where.begin(), spec_.label_where.end(),
                           [&](auto& rule) { return holds(from, rule); });
  if (label)
    TROUPE_CHECK(put({from.event_time, 1, from.event_time, partition, static_cast<std::int64_t>(offset)},
                     encode(from, false)));
  return {};
}

expected<void> replay_rows::add_entity_rows() {
  TROUPE_TRY(db, table::connection::open());
  auto lower = spec_.entity_rows.ends_with(".parquet") ? "read_parquet" : "read_csv";
  TROUPE_TRY(found, db.query(fmt::format("SELECT * FROM {}({})", lower, table::sql_text(spec_.entity_rows))));
  auto index = [&](const std::string& name) -> expected<std::optional<std::size_t>> {
    if (name.empty())
      return std::nullopt;
    auto at = found.find(name);
    if (!at)
      return fail(ec::invalid_argument, "entity_rows {} has no column {}", spec_.entity_rows, name);
    return at;
  };
  TROUPE_TRY(user, index(spec_.entity_user));
  TROUPE_TRY(item, index(spec_.entity_item));
  TROUPE_TRY(time, index(spec_.entity_time));
  std::vector<std::size_t> kept;
  for (auto& name : spec_.kept_columns) {
    TROUPE_TRY(at, index(name));
    kept.push_back(*at);
  }
  std::int64_t number = 0;
  for (;;) {
    TROUPE_TRY(more, found.next());
    if (!more)
      return {};
    for (std::uint64_t row = 0; row < found.rows(); ++row, ++number) {
      TROUPE_TRY(at, time_in(found.column(*time), row, number));
      builder_.Clear();
      std::vector<flatbuffers::Offset<wire::Attribute>> attributes;
      for (std::size_t k = 0; k < kept.size(); ++k)
        if (auto& column = found.column(kept[k]); !column.is_null(row))
          attributes.push_back(wire::CreateAttribute(builder_, builder_.CreateString(spec_.kept_columns[k]),
                                                     wire::ValueKind::text, 0,
                                                     builder_.CreateString(cell(column, row))));
      auto id = builder_.CreateString("s");
      auto who = user ? builder_.CreateString(cell(found.column(*user), row))
                      : flatbuffers::Offset<flatbuffers::String>{};
      auto what = item ? builder_.CreateString(cell(found.column(*item), row))
                       : flatbuffers::Offset<flatbuffers::String>{};
      auto list = builder_.CreateVector(attributes);
      builder_.Finish(wire::CreateRecord(builder_, wire::RecordKind::event, id, 0, who, what, at, 0,
                                         flatbuffers::nullopt, 0, list));
      TROUPE_CHECK(put({at, 1, at, 0, number}, bytes()));
    }
  }
}

expected<std::int64_t> replay_rows::time_in(const table::column_view& column, std::uint64_t row,
                                            std::int64_t number) const {
  auto kind = column.is_null(row) ? table::kind::null : column.type().of;
  if (table::is_instant(kind))
    return micros_of(column.time(row));
  if (kind == table::kind::text) {
    auto at = parse_rfc3339(column.text(row));
    if (at)
      return micros_of(*at);
    return with_context(fmt::format("reading row {} of entity_rows {}", number + 1, spec_.entity_rows),
                        at.error());
  }
  return fail(ec::invalid_argument, "row {} of entity_rows {}: column {} is no instant", number + 1,
              spec_.entity_rows, spec_.entity_time);
}

std::string_view replay_rows::encode(const feature_event& from, bool attributes) {
  builder_.Clear();
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Attribute>>> list;
  if (attributes && from.attributes && !wanted_.empty()) {
    std::vector<flatbuffers::Offset<wire::Attribute>> parts;
    for (auto* each : *from.attributes) {
      auto name = troupe::text_of(each->name());
      if (!wanted_.contains(name))
        continue;
      flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>> words;
      if (each->list()) {
        std::vector<std::string> copy;
        for (auto* word : *each->list())
          copy.emplace_back(troupe::text_of(word));
        words = builder_.CreateVectorOfStrings(copy);
      }
      auto text =
          each->text() ? string(troupe::text_of(each->text())) : flatbuffers::Offset<flatbuffers::String>{};
      parts.push_back(
          wire::CreateAttribute(builder_, string(name), each->kind(), each->number(), text, words));
    }
    list = builder_.CreateVector(parts);
  }
  auto id = builder_.CreateString("r");
  auto type = string(from.type), user = string(from.user), item = string(from.item);
  builder_.Finish(wire::CreateRecord(
      builder_, static_cast<wire::RecordKind>(from.kind), id, type, user, item, from.event_time,
      from.ingest_time, from.value ? flatbuffers::Optional<double>{*from.value} : flatbuffers::nullopt, 0,
      list));
  return bytes();
}

flatbuffers::Offset<flatbuffers::String> replay_rows::string(std::string_view text) {
  return text.empty() ? 0 : builder_.CreateString(text.data(), text.size());
}

std::string_view replay_rows::bytes() const {
  return {reinterpret_cast<const char*>(builder_.GetBufferPointer()), builder_.GetSize()};
}

expected<void> replay_rows::put(const replay_place& at, std::string_view payload) {
  rows_.add(at.visible).add(at.label).add(at.time).add(at.partition).add(at.offset).add(payload);
  return rows_.end_row();
}

} // namespace troupe::feature_store
