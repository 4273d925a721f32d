#pragma once

#include "common/event/record.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// The bytes of a wire::Batch of one partition that is not in the log yet: encoded once, and told afterwards
/// where it stands and when it was taken.
class batch_buffer {
public:
  batch_buffer(std::span<const record* const> records, std::uint32_t partition);

  /// Of a batch that was encoded elsewhere, to be joined with others: what stands in it cannot be told anew.
  explicit batch_buffer(const batch& from);

  void set_base_offset(std::uint64_t offset);
  void set_ingest_time(timestamp at);

  std::string_view text() const noexcept { return bytes_; }
  const wire::Record& operator[](std::size_t index) const {
    return *wire::GetBatch(bytes_.data())->records()->Get(static_cast<std::uint32_t>(index));
  }
  std::size_t records() const noexcept { return records_; }

private:
  std::string bytes_;
  std::size_t records_ = 0;
};

/// What a joined batch is made of: record i goes to `places[i]`; without places records follow one another.
struct joined_part {
  const batch_buffer* from = nullptr;
  std::span<const std::uint32_t> places{};
};

/// One wire::Batch of the records of all `parts`, copied as bytes. The places of all parts together are 0 to
/// n - 1, each once.
chunk join_batches(std::span<const joined_part> parts, std::uint32_t partition = 0,
                   std::uint64_t base_offset = 0);

} // namespace troupe
