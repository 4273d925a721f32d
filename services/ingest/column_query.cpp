#include "services/ingest/column_query.hpp"

#include "services/ingest/wire.hpp"

#include "schemas/ingest_generated.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

namespace troupe::ingest {

namespace {

constexpr std::size_t most_column_bytes = std::size_t{32} << 20;
constexpr std::uint64_t most_looked_at = 1'000'000;

using builder = flatbuffers::FlatBufferBuilder;
using text_offset = flatbuffers::Offset<wire::TextColumn>;

/// What a question asks, checked.
struct asked_columns {
  std::uint64_t end = 0;
  std::uint32_t fields = 0; ///< Bits by wire::ColumnField.
  std::vector<std::string> attributes, types;
  std::uint32_t kinds = 0; ///< Bits by wire::RecordKind; 0: all.
  bool other_types = false;

  explicit asked_columns(const wire::ColumnsQuery& from)
      : end{from.end() == 0 ? std::numeric_limits<std::uint64_t>::max() : from.end()},
        other_types{from.other_types()} {
    if (from.fields())
      for (auto each : *from.fields())
        fields |= 1u << (static_cast<unsigned>(each) & 31);
    if (from.kinds())
      for (auto each : *from.kinds())
        kinds |= 1u << (static_cast<unsigned>(each) & 31);
    if (from.attributes())
      for (auto* each : *from.attributes())
        attributes.push_back(each->str());
    if (from.types())
      for (auto* each : *from.types())
        types.push_back(each->str());
  }

  bool asks(wire::ColumnField field) const noexcept {
    return (fields >> static_cast<unsigned>(field) & 1) != 0;
  }
};

/// One part: the rows of a block that are wanted.
class part_writer {
public:
  part_writer(builder& out, const column_block& from, const asked_columns& query)
      : out_{out}, from_{from}, query_{query} {}

  /// Finds the rows from record `first` up to `end`.
  expected<void> choose(std::uint64_t first, std::uint64_t end) {
    auto begin = std::max(first, from_.base_offset()) - from_.base_offset();
    auto over = std::min(end - from_.base_offset(), std::uint64_t{from_.size()});
    std::vector<bool> types;
    text_column type;
    std::vector<std::uint32_t> kinds;
    if (!query_.types.empty()) {
      TROUPE_TRY(read, from_.texts(block_field::type));
      type = std::move(read);
      for (auto each : type.entries)
        types.push_back((std::ranges::find(query_.types, each) != query_.types.end()) != query_.other_types);
    }
    if (query_.kinds != 0 || query_.asks(wire::ColumnField::kind)) {
      TROUPE_TRY(read, from_.codes(block_field::kind));
      kinds = std::move(read);
    }
    for (auto i = begin; i < over; ++i)
      if ((types.empty() || types[type.at[i]]) &&
          (query_.kinds == 0 || (kinds[i] < 32 && (query_.kinds >> kinds[i] & 1) != 0)))
        rows_.push_back(static_cast<std::uint32_t>(i));
    if (query_.asks(wire::ColumnField::kind))
      for (auto row : rows_)
        kinds_.push_back(static_cast<wire::RecordKind>(kinds[row]));
    return {};
  }

  bool empty() const noexcept { return rows_.empty(); }

  expected<flatbuffers::Offset<wire::ColumnsPart>> write() {
    constexpr std::array fields{std::pair{wire::ColumnField::id, block_field::id},
                                std::pair{wire::ColumnField::type, block_field::type},
                                std::pair{wire::ColumnField::user, block_field::user},
                                std::pair{wire::ColumnField::item, block_field::item},
                                std::pair{wire::ColumnField::request_id, block_field::request_id}};
    std::array<text_offset, fields.size()> texts;
    for (std::size_t i = 0; i < fields.size(); ++i)
      if (query_.asks(fields[i].first)) {
        TROUPE_TRY(column, from_.texts(fields[i].second));
        texts[i] = text(column);
      }
    std::vector<text_offset> attributes;
    for (auto& name : query_.attributes) {
      TROUPE_TRY(column, from_.text_attribute(name));
      attributes.push_back(text(column));
    }
    flatbuffers::Offset<flatbuffers::Vector<std::int64_t>> event_times, ingest_times;
    if (query_.asks(wire::ColumnField::event_time)) {
      TROUPE_TRY(column, from_.times(block_field::event_time));
      event_times = chosen(column);
    }
    if (query_.asks(wire::ColumnField::ingest_time)) {
      TROUPE_TRY(column, from_.times(block_field::ingest_time));
      ingest_times = chosen(column);
    }
    flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> has_value;
    flatbuffers::Offset<flatbuffers::Vector<double>> values;
    if (query_.asks(wire::ColumnField::value)) {
      TROUPE_TRY(there, from_.codes(block_field::has_value));
      TROUPE_TRY(given, from_.values());
      std::vector<double> all(there.size());
      for (std::size_t i = 0, next = 0; i < all.size(); ++i)
        if (there[i] != 0)
          all[i] = given[next++];
      values = chosen(all);
      std::vector<std::uint8_t> flags;
      for (auto row : rows_)
        flags.push_back(there[row] != 0 ? 1 : 0);
      has_value = out_.CreateVector(flags);
    }
    auto offsets = out_.CreateVector(rows_);
    auto kinds = kinds_.empty() ? flatbuffers::Offset<flatbuffers::Vector<wire::RecordKind>>{}
                                : out_.CreateVector(kinds_);
    auto extra = attributes.empty() ? flatbuffers::Offset<flatbuffers::Vector<text_offset>>{}
                                    : out_.CreateVector(attributes);
    wire::ColumnsPartBuilder part{out_};
    part.add_first_offset(from_.base_offset());
    part.add_offsets(offsets);
    part.add_kind(kinds);
    part.add_id(texts[0]);
    part.add_type(texts[1]);
    part.add_user(texts[2]);
    part.add_item(texts[3]);
    part.add_event_time(event_times);
    part.add_ingest_time(ingest_times);
    part.add_has_value(has_value);
    part.add_value(values);
    part.add_request_id(texts[4]);
    part.add_attributes(extra);
    return part.Finish();
  }

private:
  /// Only entries that a row has.
  text_offset text(const text_column& column) {
    constexpr std::uint32_t none = 0xffff'ffff;
    std::vector<std::uint32_t> now(column.entries.size(), none), rows;
    std::vector<flatbuffers::Offset<flatbuffers::String>> entries;
    rows.reserve(rows_.size());
    for (auto row : rows_) {
      auto& at = now[column.at[row]];
      if (at == none) {
        at = static_cast<std::uint32_t>(entries.size());
        auto entry = column.entries[column.at[row]];
        entries.push_back(out_.CreateString(entry.data(), entry.size()));
      }
      rows.push_back(at);
    }
    auto list = out_.CreateVector(entries);
    return wire::CreateTextColumn(out_, list, out_.CreateVector(rows));
  }

  template <class Value>
  flatbuffers::Offset<flatbuffers::Vector<Value>> chosen(const std::vector<Value>& column) {
    Value* to = nullptr;
    auto list = out_.CreateUninitializedVector<Value>(rows_.size(), &to);
    for (auto row : rows_)
      *to++ = column[row];
    return list;
  }

  builder& out_;
  const column_block& from_;
  const asked_columns& query_;
  std::vector<std::uint32_t> rows_;
  std::vector<wire::RecordKind> kinds_;
};

} // namespace

expected<chunk> answer_columns(const chunk& payload, event_log& log, lake& archive) {
  TROUPE_TRY(asked, message<wire::ColumnsQuery>::open(payload));
  asked_columns query{*asked};
  auto first = asked->offset(), next = first;
  if (query.end < first)
    return fail(ec::invalid_argument,
                "cannot give columns of offsets {} to {} of partition {}: they end before "
                "they begin",
                first, query.end, asked->partition());
  auto credit = std::min<std::size_t>(asked->max_bytes(), most_column_bytes);
  auto out = std::make_shared<builder>(std::min(credit + 1024, std::size_t{1} << 20));
  std::vector<flatbuffers::Offset<wire::ColumnsPart>> parts;
  auto done = archive.each_block(asked->partition(), first, [&](const column_block& block) -> expected<bool> {
    part_writer part{*out, block, query};
    TROUPE_CHECK(part.choose(first, query.end));
    if (!part.empty()) {
      TROUPE_TRY(written, part.write());
      parts.push_back(written);
    }
    next = std::min(block.base_offset() + block.size(), query.end);
    return next < query.end && next - first < most_looked_at && (parts.empty() || out->GetSize() < credit);
  });
  if (!done)
    return unexpected{done.error()};
  auto list = out->CreateVector(parts);
  out->Finish(wire::CreateColumnsReply(*out, list, next, *done, log.identity()), ingest_identifier);
  byte_view view{reinterpret_cast<const std::byte*>(out->GetBufferPointer()), out->GetSize()};
  return chunk{std::move(out), view};
}

} // namespace troupe::ingest
