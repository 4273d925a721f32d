#pragma once

#include "common/store/codec.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Columns of a block of the log as bytes that a compressor makes small: each value by what it has in common
/// with those around it. The bytes are stored: what is written once is read for ever.
namespace troupe::ingest {

/// Texts by dictionary: value i is entries[at[i]].
struct text_column {
  std::vector<std::string_view> entries; ///< Each once, in the order in which they first stand.
  std::vector<std::uint32_t> at;
  std::vector<char> made; ///< Where entries live that did not lie in the block as they are; others live in:
  std::shared_ptr<const std::string> opened;

  std::string_view operator[](std::size_t index) const { return entries[at[index]]; }
};

/// Few different texts take a few bits each, texts that count (`w1-e17`, `w1-e18`) their steps.
void put_texts(store::encoder& to, std::span<const std::string_view> values);
/// Entries may lie in the bytes of `from`. Gives up `from` where they are no `count` texts, as those below
/// do.
text_column take_texts(store::decoder& from, std::size_t count);

/// Instants, numbers of a sequence: the steps between them, in the largest of microseconds, milliseconds and
/// seconds that fits all.
void put_times(store::encoder& to, std::span<const std::int64_t> values);
std::vector<std::int64_t> take_times(store::decoder& from, std::size_t count);

/// To the bit. Whole numbers and hundredths by their size, few different ones by dictionary, others byte by
/// byte: all first bytes, all second ones...
void put_numbers(store::encoder& to, std::span<const double> values);
std::vector<double> take_numbers(store::decoder& from, std::size_t count);

/// Small numbers; one byte for all where all are the same.
void put_codes(store::encoder& to, std::span<const std::uint32_t> values);
std::vector<std::uint32_t> take_codes(store::decoder& from, std::size_t count);

} // namespace troupe::ingest
