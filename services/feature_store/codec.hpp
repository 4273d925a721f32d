#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace troupe::feature_store {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

/// Writes numbers in as few bytes as they need (LEB128), signed ones zigzag-coded.
class encoder {
public:
  std::string bytes;

  void whole(std::uint64_t number) {
    while (number >= 0x80) {
      bytes += static_cast<char>(number | 0x80);
      number >>= 7;
    }
    bytes += static_cast<char>(number);
  }
  void signed_whole(std::int64_t number) {
    whole((static_cast<std::uint64_t>(number) << 1) ^ static_cast<std::uint64_t>(number >> 63));
  }
  void wide(int128 number) {
    auto coded = (static_cast<uint128>(number) << 1) ^ static_cast<uint128>(number >> 127);
    while (coded >= 0x80) {
      bytes += static_cast<char>(static_cast<std::uint8_t>(coded) | 0x80);
      coded >>= 7;
    }
    bytes += static_cast<char>(coded);
  }
  void real(double number) { fixed(std::bit_cast<std::uint64_t>(number)); }
  void fixed(std::uint64_t number) {
    char raw[8];
    for (int i = 0; i < 8; ++i)
      raw[i] = static_cast<char>(number >> (8 * i));
    bytes.append(raw, 8);
  }
  void text(std::string_view value) {
    whole(value.size());
    bytes += value;
  }
};

/// Reads what `encoder` wrote. After a read past the end `ok()` is false and every further read gives zero.
class decoder {
public:
  explicit decoder(std::string_view bytes) : left_{bytes} {}

  bool ok() const noexcept { return ok_; }
  bool done() const noexcept { return left_.empty(); }
  std::size_t left() const noexcept { return left_.size(); }

  std::uint64_t whole() {
    std::uint64_t number = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      auto byte = next();
      number |= static_cast<std::uint64_t>(byte & 0x7f) << (shift & 63);
      if (!(byte & 0x80))
        return number;
    }
    ok_ = false;
    return 0;
  }
  std::int64_t signed_whole() {
    auto coded = whole();
    return static_cast<std::int64_t>((coded >> 1) ^ (~(coded & 1) + 1));
  }
  int128 wide() {
    uint128 coded = 0;
    for (int shift = 0; shift < 133; shift += 7) {
      auto byte = next();
      if (shift < 128)
        coded |= static_cast<uint128>(byte & 0x7f) << shift;
      if (!(byte & 0x80))
        return static_cast<int128>((coded >> 1) ^ (~(coded & 1) + 1));
    }
    ok_ = false;
    return 0;
  }
  double real() { return std::bit_cast<double>(fixed()); }
  std::uint64_t fixed() {
    auto raw = take(8);
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < raw.size(); ++i)
      number |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(raw[i])) << (8 * i);
    return number;
  }
  std::string_view text() { return take(whole()); }
  std::string_view take(std::uint64_t size) {
    if (size > left_.size()) {
      ok_ = false;
      left_ = {};
      return {};
    }
    auto part = left_.substr(0, size);
    left_.remove_prefix(size);
    return part;
  }

private:
  std::uint8_t next() {
    if (left_.empty()) {
      ok_ = false;
      return 0;
    }
    auto byte = static_cast<std::uint8_t>(left_.front());
    left_.remove_prefix(1);
    return byte;
  }

  std::string_view left_;
  bool ok_ = true;
};

} // namespace troupe::feature_store
