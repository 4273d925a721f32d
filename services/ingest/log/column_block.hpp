#pragma once

#include "services/ingest/log/column_codec.hpp"

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/event/record.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::ingest {

/// The fields that a block keeps apart. The numbers are stored.
enum class block_field : std::uint8_t {
  kind = 0,
  id = 1,
  type = 2,
  user = 3,
  item = 4,
  event_time = 5,
  ingest_time = 6,
  has_value = 7,
  value = 8,
  request_id = 9,
  untimed = 10,
  attributes = 11,   ///< Which columns of attributes there are, and which of them each record has.
  shown_counts = 12, ///< Items of each slate.
  shown_items = 13,
  shown_positions = 14,
  shown_propensities = 15,
  first_attribute = 16, ///< From here on: the values of one attribute each.
};

/// Records of one partition, one after the other in the log, as a block of columns: field by field, each by
/// what its values have in common (`column_codec`), then by zstd. A tenth of the bytes of the same records as
/// a wire::Batch, and a field can be read without the others. Of a record everything is kept that
/// `to_record` reads; a text that is there and empty is as one that is not there.
class block_builder {
public:
  /// Views of what `rec` lies in are kept until `finish`.
  void add(const wire::Record& rec);

  std::size_t size() const noexcept { return kinds_.size(); }

  /// The block; the builder is empty again.
  std::string finish(std::uint32_t partition, std::uint64_t base_offset);

private:
  struct attribute_values {
    std::string_view name;
    wire::ValueKind kind{};
    std::vector<std::string_view> texts; ///< Of texts, and the words of lists.
    std::vector<double> numbers;
    std::vector<std::uint32_t> codes; ///< Flags, and how many words a list has.
  };

  void add_attributes(const wire::Record& rec);
  std::uint32_t column_of(std::string_view name, wire::ValueKind kind);
  void put_attribute(const attribute_values& from, store::encoder& to) const;

  std::vector<std::uint32_t> kinds_, has_value_, untimed_;
  std::vector<std::string_view> ids_, types_, users_, items_, requests_;
  std::vector<std::int64_t> event_times_, ingest_times_;
  std::vector<double> values_;
  std::vector<attribute_values> columns_;
  std::map<std::vector<std::uint32_t>, std::uint32_t> shapes_; ///< The columns of a record, in its order.
  std::vector<std::uint32_t> shape_of_;
  std::vector<std::uint32_t> last_shape_, shape_; ///< Of the record before, and of this one.
  std::vector<std::uint32_t> shown_counts_;
  std::vector<std::string_view> shown_items_;
  std::vector<std::int64_t> shown_positions_;
  std::vector<double> shown_propensities_;
};

/// Reads a block of columns, field by field. Lives no longer than the bytes that it was opened on.
class column_block {
public:
  /// Whether stored bytes are a block of columns, and not a wire::Batch.
  static bool is_one(std::string_view bytes) noexcept;

  static expected<column_block> open(std::string_view bytes);

  std::uint32_t partition() const noexcept { return partition_; }
  std::uint64_t base_offset() const noexcept { return base_; }
  std::size_t size() const noexcept { return count_; }

  /// One of the fields type, user, item, id and request_id; empty texts where the record has none.
  expected<text_column> texts(block_field field) const;
  /// kind, has_value, untimed.
  expected<std::vector<std::uint32_t>> codes(block_field field) const;
  /// event_time, ingest_time.
  expected<std::vector<std::int64_t>> times(block_field field) const;
  /// Of the records that have one, in their order.
  expected<std::vector<double>> values() const;
  /// The attribute `name` where it is a text; empty where a record has none.
  expected<text_column> text_attribute(std::string_view name) const;

  /// The records from `offset` on as a wire::Batch of `max_bytes`, give or take a record; of one at least.
  expected<chunk> rows(std::uint64_t offset, std::size_t max_bytes) const;

private:
  struct section {
    std::string_view stored;
    std::size_t size = 0; ///< Opened; as stored where that is as long.
  };
  struct attribute_table;
  class row_writer;

  expected<std::shared_ptr<const std::string>> open_section(std::uint32_t field) const;
  expected<attribute_table> attributes() const;
  unexpected<error> damaged(std::string_view what) const;

  std::uint32_t partition_ = 0;
  std::uint64_t base_ = 0;
  std::size_t count_ = 0;
  std::map<std::uint32_t, section> sections_;
};

} // namespace troupe::ingest
