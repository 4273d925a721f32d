#include "services/ingest/client/record_stream.hpp"

#include "common/net/payload.hpp"

#include <algorithm>
#include <limits>

namespace troupe::ingest {

namespace {

bool matches(const wire::Record& rec, const column_query& query) {
  auto named = std::ranges::find(query.types, text_of(rec.type())) != query.types.end();
  return (query.types.empty() || named != query.other_types) &&
         (query.kinds.empty() || std::ranges::find(query.kinds, rec.kind()) != query.kinds.end());
}

class part_of_rows {
public:
  explicit part_of_rows(flatbuffers::FlatBufferBuilder& out) : out_{out} {}

  std::vector<const wire::Record*> rows;
  std::vector<std::uint32_t> offsets;

  template <class Text>
  flatbuffers::Offset<wire::TextColumn> texts(Text text) {
    std::vector<flatbuffers::Offset<flatbuffers::String>> entries;
    std::vector<std::uint32_t> at;
    for (auto* each : rows) {
      auto value = text(*each);
      at.push_back(static_cast<std::uint32_t>(entries.size()));
      entries.push_back(out_.CreateString(value.data(), value.size()));
    }
    auto list = out_.CreateVector(entries);
    return wire::CreateTextColumn(out_, list, out_.CreateVector(at));
  }

  flatbuffers::Offset<wire::ColumnsPart> write(const column_query& query) {
    auto text = [this](auto field) { return texts([field](auto& rec) { return text_of((rec.*field)()); }); };
    auto ids = text(&wire::Record::id), types = text(&wire::Record::type), users = text(&wire::Record::user),
         items = text(&wire::Record::item), requests = text(&wire::Record::request_id);
    std::vector<flatbuffers::Offset<wire::TextColumn>> attributes;
    for (auto& name : query.attributes)
      attributes.push_back(texts([&](auto& rec) { return text_attribute(rec, name); }));
    std::vector<wire::RecordKind> kinds;
    std::vector<std::int64_t> event_times, ingest_times;
    std::vector<std::uint8_t> has_values;
    std::vector<double> values;
    for (auto* each : rows) {
      kinds.push_back(each->kind());
      event_times.push_back(each->event_time());
      ingest_times.push_back(each->ingest_time());
      auto value = each->value();
      has_values.push_back(value ? 1 : 0);
      values.push_back(value.value_or(0));
    }
    return wire::CreateColumnsPart(out_, query.offset, out_.CreateVector(offsets), out_.CreateVector(kinds),
                                   ids, types, users, items, out_.CreateVector(event_times),
                                   out_.CreateVector(ingest_times), out_.CreateVector(has_values),
                                   out_.CreateVector(values), requests, out_.CreateVector(attributes));
  }

private:
  flatbuffers::FlatBufferBuilder& out_;
};

} // namespace

expected<log_columns> record_stream::read_columns(const column_query& query) {
  TROUPE_TRY(batches, read(query.partition, query.offset, query.max_bytes));
  auto end = query.end == 0 ? std::numeric_limits<std::uint64_t>::max() : query.end;
  TROUPE_TRY(log_ends, ends());
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::ColumnsPart>> parts;
  auto next = query.offset;
  for (auto& each : batches) {
    part_of_rows part{out};
    for (; next < std::min(end, each.base_offset() + each.size()); ++next)
      if (auto& rec = each[next - each.base_offset()]; matches(rec, query)) {
        part.rows.push_back(&rec);
        part.offsets.push_back(static_cast<std::uint32_t>(next - query.offset));
      }
    if (!part.rows.empty())
      parts.push_back(part.write(query));
  }
  auto list = out.CreateVector(parts);
  out.Finish(wire::CreateColumnsReply(out, list, next, log_ends.at(query.partition)), "TRPI");
  return read_log_columns(net::bytes_of(out), query);
}

} // namespace troupe::ingest
