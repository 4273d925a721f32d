#include "services/feature_store/online/reader.hpp"

#include <algorithm>

namespace troupe::feature_store {

namespace {

expected<entity_kind> entity_named(std::string_view name) {
  if (name == "user")
    return entity_kind::user;
  if (name == "item")
    return entity_kind::item;
  return fail(ec::invalid_argument, "cannot read features of '{}': an entity is \"user\" or \"item\"", name);
}

using strings = flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>;

std::vector<std::string_view> views_of(const strings* list) {
  std::vector<std::string_view> out;
  if (list) {
    out.reserve(list->size());
    for (auto* each : *list)
      out.push_back(troupe::text_of(each));
  }
  return out;
}

flatbuffers::Offset<wire::Features>
write_features(flatbuffers::FlatBufferBuilder& out, const state_engine& engine,
               std::span<const std::uint32_t> touched, std::span<const std::uint64_t> applied,
               std::span<const value_column> columns, std::span<const std::uint8_t> deleted) {
  std::vector<flatbuffers::Offset<wire::FeatureColumn>> parts;
  std::vector<flatbuffers::Offset<flatbuffers::String>> words;
  for (auto& column : columns) {
    auto name = out.CreateString(column.name);
    auto status = out.CreateVector(reinterpret_cast<const wire::FeatureStatus*>(column.status.data()),
                                   column.status.size());
    auto ages = out.CreateVector(column.age_us);
    flatbuffers::Offset<flatbuffers::Vector<double>> numbers;
    flatbuffers::Offset<strings> texts;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::TextList>>> lists;
    if (column.type == value_type::number) {
      numbers = out.CreateVector(column.numbers);
    } else if (column.type == value_type::text) {
      words.clear();
      for (std::size_t row = 0; row < column.pieces.size(); ++row)
        words.push_back(out.CreateString(column.text(row)));
      texts = out.CreateVector(words);
    } else {
      std::vector<flatbuffers::Offset<wire::TextList>> each;
      for (std::size_t row = 0; row < column.pieces.size(); ++row) {
        words.clear();
        each_word(column.text(row), [&](std::string_view word) { words.push_back(out.CreateString(word)); });
        each.push_back(wire::CreateTextList(out, out.CreateVector(words)));
      }
      lists = out.CreateVector(each);
    }
    parts.push_back(wire::CreateFeatureColumn(out, name, status, ages, numbers, texts, lists));
  }
  auto all = out.CreateVector(parts);
  std::vector<wire::PartitionOffset> offsets;
  for (std::size_t p = 0; p < applied.size(); ++p)
    offsets.emplace_back(static_cast<std::uint32_t>(p), applied[p]);
  auto applied_vector = out.CreateVectorOfStructs(offsets);
  std::vector<std::string> versions;
  for (auto view : touched)
    versions.push_back(engine.views()[view].name + "@" + engine.views()[view].version);
  auto version_vector = out.CreateVectorOfStrings(versions);
  flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> marks;
  if (std::find(deleted.begin(), deleted.end(), true) != deleted.end())
    marks = out.CreateVector(deleted.data(), deleted.size());
  return wire::CreateFeatures(out, all, applied_vector, version_vector, marks);
}

std::vector<std::uint32_t> views_touched(const read_plan& plan) {
  std::vector<std::uint32_t> touched;
  for (auto& group : plan.by_view)
    touched.push_back(group.front().view);
  return touched;
}

/// How far the answer is: the views it shows, and the built-in one that says what is deleted.
std::vector<std::uint64_t> applied_by(const state_engine& engine, std::vector<std::uint32_t> touched,
                                      entity_kind entity) {
  if (auto record = engine.find_record_view(entity))
    touched.push_back(*record);
  return engine.applied(touched);
}

std::int64_t instant_of(const state_engine& engine, std::int64_t at, std::int64_t now) {
  return at == 0 ? now : at == at_watermark ? engine.watermark() : at;
}

} // namespace

expected<read_plan> plan_read(const state_engine& engine, entity_kind entity,
                              std::span<const std::string_view> features) {
  read_plan plan;
  plan.entity = entity;
  if (features.empty() || features.size() > most_features)
    return fail(ec::invalid_argument, "cannot read {} features: 1 to {} are allowed", features.size(),
                most_features);
  std::vector<std::vector<read_plan::column>> by_view(engine.views().size());
  for (auto name : features) {
    auto dot = name.find('.');
    auto view = dot == std::string_view::npos ? std::nullopt : engine.find_view(name.substr(0, dot));
    if (!view)
      return fail(ec::not_found,
                  "cannot read feature {}: there is no such view; `troupe features list` shows what there is",
                  name);
    auto& in = engine.views()[*view];
    auto feature = in.find(name.substr(dot + 1));
    if (!feature)
      return fail(ec::not_found, "cannot read feature {}: view {} has no such feature", name, in.name);
    if (in.entity != entity)
      return fail(ec::invalid_argument, "cannot read feature {} of a {}: view {} is about {}s", name,
                  to_string(entity), in.name, to_string(in.entity));
    by_view[*view].push_back({*view, *feature, static_cast<std::uint32_t>(plan.names.size())});
    plan.names.emplace_back(name);
    plan.types.push_back(in.features[*feature].type);
  }
  for (auto& each : by_view)
    if (!each.empty()) {
      std::stable_sort(each.begin(), each.end(), [](auto& a, auto& b) { return a.feature < b.feature; });
      plan.by_view.push_back(std::move(each));
    }
  return plan;
}

text_list value_column::list(std::size_t row) const {
  text_list out;
  each_word(text(row), [&](std::string_view word) { out.emplace_back(word); });
  return out;
}

expected<std::vector<value_column>> read_features(state_engine& engine, const read_plan& plan,
                                                  std::span<const std::string_view> ids, std::int64_t at,
                                                  std::vector<std::uint8_t>* deleted) {
  std::vector<value_column> columns(plan.names.size());
  for (std::size_t i = 0; i < columns.size(); ++i) {
    auto& column = columns[i];
    column.name = plan.names[i];
    column.type = plan.types[i];
    column.status.resize(ids.size());
    column.age_us.assign(ids.size(), -1);
    if (column.type == value_type::number)
      column.numbers.resize(ids.size());
    else
      column.pieces.resize(ids.size());
  }
  // The record of the entity is looked at with the others, once.
  auto record = deleted ? engine.find_record_view(plan.entity) : std::nullopt;
  auto views = views_touched(plan);
  std::vector<std::vector<reading>> when(views.size());
  for (std::size_t v = 0; v < views.size(); ++v)
    for (auto& each : plan.by_view[v])
      when[v].emplace_back(engine.views()[views[v]].features[each.feature], at);
  auto record_at = std::find(views.begin(), views.end(), record) - views.begin();
  if (record && static_cast<std::size_t>(record_at) == views.size())
    views.push_back(*record);
  if (deleted)
    deleted->assign(ids.size(), 0);
  feature_value value;
  auto look = [&](std::size_t row, std::size_t v, std::string_view state) -> expected<void> {
    auto& view = engine.views()[views[v]];
    if (record == views[v]) {
      state_reader from{view, state};
      if (!from.read(0, {view.features[0], engine.watermark()}, value))
        return from.why(0);
      (*deleted)[row] = value.status == status::present && value.words.empty();
    }
    if (v == when.size())
      return {};
    state_reader from{view, state};
    auto& wanted = plan.by_view[v];
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      auto& to = columns[wanted[i].place];
      if (i > 0 && wanted[i].feature == wanted[i - 1].feature) { // Asked for twice.
        auto& same = columns[wanted[i - 1].place];
        to.status[row] = same.status[row];
        to.age_us[row] = same.age_us[row];
        if (to.type == value_type::number)
          to.numbers[row] = same.numbers[row];
      } else {
        if (!from.read(wanted[i].feature, when[v][i], value))
          return from.why(wanted[i].feature);
        to.status[row] = static_cast<std::uint8_t>(value.status);
        to.age_us[row] = value.age_us;
        if (to.type == value_type::number)
          to.numbers[row] = value.number;
      }
      if (to.type != value_type::number) {
        to.pieces[row] = {static_cast<std::uint32_t>(to.words.size()),
                          static_cast<std::uint32_t>(value.words.size())};
        to.words += value.words;
      }
    }
    return {};
  };
  TROUPE_CHECK(engine.visit(views, ids, std::ref(look)));
  if (!record)
    return columns;
  for (std::size_t row = 0; row < ids.size(); ++row)
    if ((*deleted)[row])
      for (std::size_t v = 0; v < when.size(); ++v)
        for (auto& from : plan.by_view[v])
          if (views[v] != *record)
            columns[from.place].forget(row);
  return columns;
}

expected<chunk> answer_read(state_engine& engine, const wire::ReadFeatures& request, std::int64_t now) {
  TROUPE_TRY(entity, entity_named(troupe::text_of(request.entity())));
  auto ids = views_of(request.ids());
  if (ids.size() > most_entities)
    return fail(ec::invalid_argument, "cannot read {} entities at once: at most {} are allowed", ids.size(),
                most_entities);
  auto features = views_of(request.features());
  TROUPE_TRY(plan, plan_read(engine, entity, features));
  // Taken before the values: what is read holds at least this much.
  auto touched = views_touched(plan);
  auto applied = applied_by(engine, touched, entity);
  std::vector<std::uint8_t> deleted;
  TROUPE_TRY(columns, read_features(engine, plan, ids, instant_of(engine, request.at(), now), &deleted));
  auto out =
      std::make_shared<flatbuffers::FlatBufferBuilder>(columns.size() * (ids.size() * 17 + 128) + 1024);
  out->Finish(write_features(*out, engine, touched, applied, columns, deleted), "TRPF");
  byte_view bytes{reinterpret_cast<const std::byte*>(out->GetBufferPointer()), out->GetSize()};
  return chunk{std::move(out), bytes};
}

expected<chunk> answer_scan(state_engine& engine, const wire::FeatureScan& request, std::int64_t now) {
  TROUPE_TRY(entity, entity_named(troupe::text_of(request.entity())));
  auto features = views_of(request.features());
  TROUPE_TRY(plan, plan_read(engine, entity, features));
  auto limit = request.limit() == 0 ? most_entities : std::min<std::size_t>(request.limit(), most_entities);
  auto touched = views_touched(plan);
  auto applied = applied_by(engine, touched, entity);
  bool last = false;
  TROUPE_TRY(ids, engine.ids(touched, troupe::text_of(request.after()), limit, last));
  std::vector<std::string_view> rows{ids.begin(), ids.end()};
  std::vector<std::uint8_t> deleted;
  TROUPE_TRY(columns, read_features(engine, plan, rows, instant_of(engine, request.at(), now), &deleted));
  auto out =
      std::make_shared<flatbuffers::FlatBufferBuilder>(columns.size() * (ids.size() * 17 + 128) + 1024);
  auto names = out->CreateVectorOfStrings(ids);
  auto values = write_features(*out, engine, touched, applied, columns, deleted);
  out->Finish(wire::CreateFeatureScanPage(*out, names, values, last), "TRPF");
  byte_view bytes{reinterpret_cast<const std::byte*>(out->GetBufferPointer()), out->GetSize()};
  return chunk{std::move(out), bytes};
}

expected<chunk> answer_changes(state_engine& engine, const wire::FeatureChanges& request, std::int64_t now) {
  TROUPE_TRY(entity, entity_named(troupe::text_of(request.entity())));
  auto features = views_of(request.features());
  TROUPE_TRY(plan, plan_read(engine, entity, features));
  auto limit = request.limit() == 0 ? most_entities : std::min<std::size_t>(request.limit(), most_entities);
  auto touched = views_touched(plan);
  auto applied = applied_by(engine, touched, entity);
  auto listened = touched;
  if (auto record = engine.find_record_view(entity); record && !std::ranges::count(touched, *record))
    listened.push_back(*record);
  auto changed = engine.changes(troupe::text_of(request.since()), listened, !request.records_only(), limit);
  std::vector<std::string_view> rows{changed.ids.begin(), changed.ids.end()};
  std::vector<std::uint8_t> deleted;
  TROUPE_TRY(columns, read_features(engine, plan, rows, instant_of(engine, request.at(), now), &deleted));
  auto out =
      std::make_shared<flatbuffers::FlatBufferBuilder>(columns.size() * (rows.size() * 17 + 128) + 1024);
  auto ids = out->CreateVectorOfStrings(changed.ids);
  auto values = write_features(*out, engine, touched, applied, columns, deleted);
  auto next = out->CreateString(changed.next);
  out->Finish(wire::CreateFeatureChangesPage(*out, ids, values, next, changed.more, changed.reset), "TRPF");
  byte_view bytes{reinterpret_cast<const std::byte*>(out->GetBufferPointer()), out->GetSize()};
  return chunk{std::move(out), bytes};
}

bool offsets_reached(const state_engine& engine, const wire::ReadFeatures& request) {
  if (!request.min_offsets() || request.min_offsets()->size() == 0)
    return true;
  std::vector<std::uint32_t> touched;
  for (auto name : views_of(request.features()))
    if (auto view = engine.find_view(name.substr(0, name.find('.'))))
      touched.push_back(*view);
  auto entity = entity_named(troupe::text_of(request.entity()));
  auto applied = entity ? applied_by(engine, touched, *entity) : engine.applied(touched);
  for (auto* each : *request.min_offsets())
    if (each->offset() > (each->partition() < applied.size() ? applied[each->partition()] : 0))
      return false;
  return true;
}

} // namespace troupe::feature_store
