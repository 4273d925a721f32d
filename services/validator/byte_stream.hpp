#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace troupe::validator {

/// Appends numbers and texts in a fixed little-endian layout.
class byte_writer {
public:
  void number(double value) { raw(&value, sizeof value); }
  void word(std::uint64_t value) { raw(&value, sizeof value); }
  void octet(std::uint8_t value) { out_.push_back(static_cast<char>(value)); }

  /// LEB128: seven bits a byte, low bits first.
  void count(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7)
      octet(static_cast<std::uint8_t>(value | 0x80));
    octet(static_cast<std::uint8_t>(value));
  }

  void text(std::string_view value) {
    count(value.size());
    out_.append(value);
  }

  void raw(const void* bytes, std::size_t size) { out_.append(static_cast<const char*>(bytes), size); }

  std::string_view written() const noexcept { return out_; }
  std::string take() noexcept { return std::move(out_); }

private:
  std::string out_;
};

/// Reads what `byte_writer` wrote. Never reads past the end: after the first short read everything is zero
/// and `failed()` is true, so that a caller may check once.
class byte_reader {
public:
  explicit byte_reader(std::string_view bytes) noexcept : rest_{bytes} {}

  bool failed() const noexcept { return failed_; }
  bool at_end() const noexcept { return rest_.empty(); }
  std::size_t left() const noexcept { return rest_.size(); }
  void fail_now() noexcept {
    failed_ = true;
    rest_ = {};
  }

  double number() noexcept { return fixed<double>(); }
  std::uint64_t word() noexcept { return fixed<std::uint64_t>(); }
  std::uint8_t octet() noexcept { return fixed<std::uint8_t>(); }

  std::uint64_t count() noexcept {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      auto next = octet();
      value |= static_cast<std::uint64_t>(next & 0x7f) << shift;
      if ((next & 0x80) == 0)
        return value;
    }
    fail_now();
    return 0;
  }

  /// A count of things of at least `each` bytes that must still be here, so that a broken count allocates
  /// nothing.
  std::size_t count_of(std::size_t each) noexcept {
    auto value = count();
    if (value > rest_.size() / (each == 0 ? 1 : each)) {
      fail_now();
      return 0;
    }
    return static_cast<std::size_t>(value);
  }

  std::string_view text() noexcept { return raw(count_of(1)); }

  std::string_view raw(std::size_t size) noexcept {
    if (size > rest_.size()) {
      fail_now();
      return {};
    }
    auto part = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return part;
  }

private:
  template <class T>
  T fixed() noexcept {
    T value{};
    if (auto part = raw(sizeof(T)); part.size() == sizeof(T))
      std::memcpy(&value, part.data(), sizeof(T));
    return value;
  }

  std::string_view rest_;
  bool failed_ = false;
};

} // namespace troupe::validator
