#include "services/feature_store/training/replay_rows.hpp"

#include "services/feature_store/operators/operator.hpp"
#include "services/feature_store/training/entity_rows.hpp"

#include <algorithm>

namespace troupe::feature_store {

replay_rows::replay_rows(const training_spec& spec, const std::vector<feature_view>& views, row_sorter& rows)
    : spec_{spec}, views_{views}, rows_{rows} {
  for (auto& view : views)
    for (auto& each : view.features) {
      whole_ = whole_ || each.op->reads_whole_record();
      if (each.of.of == field::part::context)
        wanted_.insert(each.of.name);
      for (auto& rule : each.where)
        if (rule.what.of == field::part::context)
          wanted_.insert(rule.what.name);
    }
}

expected<void> replay_rows::add(const wire::Record& rec, std::uint32_t partition, std::uint64_t offset) {
  return each_feature_event(rec, partition, offset, [this](auto& each) { return add(each); });
}

expected<void> replay_rows::add(const feature_event& from) {
  replay_place at{from.event_time, 1, from.event_time, from.partition, static_cast<std::int64_t>(from.offset),
                  from.index};
  bool taken =
      std::any_of(views_.begin(), views_.end(), [&](auto& view) { return !entity_of(view, from).empty(); });
  bool label = spec_.entity_rows.empty() && from.kind == record_kind::event &&
               from.type == spec_.label_event &&
               std::all_of(spec_.label_where.begin(), spec_.label_where.end(),
                           [&](auto& rule) { return holds(from, rule); });
  if (!taken && !label)
    return {};
  auto payload = encode(from, taken); // What a label has beyond its own it does not look at.
  if (taken) {
    auto seen = at;
    seen.visible += spec_.boundary == boundary::before ? 1 : 0;
    if (spec_.knowledge == knowledge::ingest_time)
      seen.visible = std::max(seen.visible, from.ingest_time);
    seen.label = 0;
    TROUPE_CHECK(rows_.add(seen, payload));
  }
  return label ? rows_.add(at, payload) : expected<void>{};
}

expected<void> replay_rows::add_entity_rows() {
  return read_entity_rows(spec_, [&](const entity_row& row) -> expected<void> {
    builder_.Clear();
    std::vector<flatbuffers::Offset<wire::Attribute>> attributes;
    for (std::size_t i = 0; i < row.kept.size(); ++i)
      if (!row.kept[i].empty())
        attributes.push_back(wire::CreateAttribute(builder_, builder_.CreateString(spec_.kept_columns[i]),
                                                   wire::ValueKind::text, 0,
                                                   builder_.CreateString(row.kept[i])));
    auto id = builder_.CreateString("s");
    auto user = string(row.user), item = string(row.item);
    auto list = builder_.CreateVector(attributes);
    auto at = micros_of(row.at);
    builder_.Finish(wire::CreateRecord(builder_, wire::RecordKind::event, id, 0, user, item, at, 0,
                                       flatbuffers::nullopt, 0, list));
    return rows_.add({at, 1, at, 0, static_cast<std::int64_t>(row.number - 1), 0}, bytes());
  });
}

std::string_view replay_rows::encode(const feature_event& from, bool attributes) {
  builder_.Clear();
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Attribute>>> list;
  if (attributes && from.attributes && (whole_ || !wanted_.empty())) {
    std::vector<flatbuffers::Offset<wire::Attribute>> parts;
    for (auto* each : *from.attributes) {
      auto name = troupe::text_of(each->name());
      if (!whole_ && !wanted_.contains(name))
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
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::ShownItem>>> shown;
  if (attributes && from.shown && (wanted_.contains("position") || wanted_.contains("propensity"))) {
    auto one =
        wire::CreateShownItem(builder_, string(from.item), from.shown->position(), from.shown->propensity());
    shown = builder_.CreateVector(&one, 1);
  }
  auto id = builder_.CreateString("r");
  auto type = string(from.type), user = string(from.user), item = string(from.item);
  builder_.Finish(wire::CreateRecord(
      builder_, static_cast<wire::RecordKind>(from.kind), id, type, user, item, from.event_time,
      from.ingest_time, from.value ? flatbuffers::Optional<double>{*from.value} : flatbuffers::nullopt, 0,
      list, from.replaces, shown));
  return bytes();
}

flatbuffers::Offset<flatbuffers::String> replay_rows::string(std::string_view text) {
  return text.empty() ? 0 : builder_.CreateString(text.data(), text.size());
}

std::string_view replay_rows::bytes() const {
  return {reinterpret_cast<const char*>(builder_.GetBufferPointer()), builder_.GetSize()};
}

} // namespace troupe::feature_store
