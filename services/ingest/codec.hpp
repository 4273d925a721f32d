#pragma once

#include "common/store/database.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe::ingest {

/// Writes numbers and texts one after the other: the values of small rows in the log's store. New fields at
/// the end only.
class encoder {
public:
  encoder& add(std::uint64_t number) {
    store::append_u64(bytes_, number);
    return *this;
  }
  encoder& add(std::string_view text) {
    add(std::uint64_t{text.size()});
    bytes_ += text;
    return *this;
  }
  std::string take() { return std::move(bytes_); }

private:
  std::string bytes_;
};

/// Reads them back. What is missing at the end reads as 0 and empty, so that an older row stays readable.
class decoder {
public:
  explicit decoder(std::string_view bytes) : bytes_{bytes} {}

  std::uint64_t number() {
    if (bytes_.size() < 8) {
      bytes_ = {};
      return 0;
    }
    auto value = store::read_u64(bytes_);
    bytes_.remove_prefix(8);
    return value;
  }
  std::string text() {
    auto length = std::min<std::uint64_t>(number(), bytes_.size());
    std::string value{bytes_.substr(0, length)};
    bytes_.remove_prefix(length);
    return value;
  }

private:
  std::string_view bytes_;
};

} // namespace troupe::ingest
