#include "services/ingest/client/column_fetch.hpp"

#include "common/net/payload.hpp"

#include <algorithm>

namespace troupe::ingest {

namespace {

template <class Value>
std::span<const Value> values_of(const flatbuffers::Vector<Value>* from) {
  return from ? std::span<const Value>{reinterpret_cast<const Value*>(from->Data()), from->size()}
              : std::span<const Value>{};
}

/// False where a row has no entry.
bool read_texts(const wire::TextColumn* from, std::size_t rows, column_part::texts& to) {
  if (!from || !from->entries() || !from->rows() || from->rows()->size() != rows)
    return false;
  to.entries.reserve(from->entries()->size());
  for (auto* each : *from->entries())
    to.entries.emplace_back(each->data(), each->size());
  to.rows = values_of(from->rows());
  return std::ranges::all_of(to.rows, [&](auto row) { return row < to.entries.size(); });
}

bool read_part(const wire::ColumnsPart& from, const column_query& query, column_part& to) {
  to.first = from.first_offset();
  to.offsets = values_of(from.offsets());
  auto rows = to.offsets.size();
  auto texts = [&](const wire::TextColumn* column, column_part::texts& into) {
    return read_texts(column, rows, into);
  };
  for (auto field : query.fields) {
    bool good = false;
    switch (field) {
    case wire::ColumnField::kind:
      to.kinds = values_of(from.kind());
      good = to.kinds.size() == rows;
      break;
    case wire::ColumnField::id:
      good = texts(from.id(), to.ids);
      break;
    case wire::ColumnField::type:
      good = texts(from.type(), to.types);
      break;
    case wire::ColumnField::user:
      good = texts(from.user(), to.users);
      break;
    case wire::ColumnField::item:
      good = texts(from.item(), to.items);
      break;
    case wire::ColumnField::request_id:
      good = texts(from.request_id(), to.request_ids);
      break;
    case wire::ColumnField::event_time:
      to.event_times = values_of(from.event_time());
      good = to.event_times.size() == rows;
      break;
    case wire::ColumnField::ingest_time:
      to.ingest_times = values_of(from.ingest_time());
      good = to.ingest_times.size() == rows;
      break;
    case wire::ColumnField::value:
      to.has_values = values_of(from.has_value());
      to.values = values_of(from.value());
      good = to.has_values.size() == rows && to.values.size() == rows;
      break;
    }
    if (!good)
      return false;
  }
  to.attributes.resize(query.attributes.size());
  for (std::size_t i = 0; i < to.attributes.size(); ++i)
    if (!from.attributes() || from.attributes()->size() != to.attributes.size() ||
        !texts(from.attributes()->Get(static_cast<flatbuffers::uoffset_t>(i)), to.attributes[i]))
      return false;
  return true;
}

} // namespace

chunk columns_query(const column_query& query) {
  flatbuffers::FlatBufferBuilder out;
  auto fields = out.CreateVector(query.fields);
  auto attributes = out.CreateVectorOfStrings(query.attributes);
  auto kinds = out.CreateVector(query.kinds);
  auto types = out.CreateVectorOfStrings(query.types);
  out.Finish(wire::CreateColumnsQuery(out, query.partition, query.offset, query.end, query.max_bytes, fields,
                                      attributes, kinds, types, query.other_types),
             "TRPI");
  return net::bytes_of(out);
}

expected<log_columns> read_log_columns(const chunk& payload, const column_query& query) {
  log_columns found;
  // Columns are read in place, where they lie on their own size.
  found.bytes =
      reinterpret_cast<std::uintptr_t>(payload.data()) % 8 == 0 ? payload : chunk::copy(payload.view());
  TROUPE_TRY(reply, net::read_as<wire::ColumnsReply>(found.bytes, "TRPI", "ColumnsReply"));
  found.next = reply->next_offset();
  found.log_end = reply->log_end();
  if (found.log_end < query.offset)
    return fail(
        ec::conflict,
        "partition {} of the log ends at {}, before offset {} that is to be read: was the log replaced?",
        query.partition, found.log_end, query.offset);
  if (found.next < query.offset || (found.next == query.offset && query.offset < found.log_end))
    return fail(ec::corrupt,
                "columns of partition {} were asked for from offset {} on, the answer ends at {}",
                query.partition, query.offset, found.next);
  if (!reply->parts())
    return found;
  for (auto* each : *reply->parts())
    if (!read_part(*each, query, found.parts.emplace_back()))
      return fail(ec::corrupt, "the columns of partition {} from offset {} on have different lengths",
                  query.partition, each->first_offset());
  return found;
}

} // namespace troupe::ingest
