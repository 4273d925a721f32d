#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

/// Numbers and texts one after the other, as stores, sketches and training sets keep them. The bytes are
/// stored: what is written once is read for ever. New fields at the end only.
namespace troupe::store {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

class encoder {
public:
  /// In as few bytes as it needs (LEB128: seven bits a byte, low bits first).
  encoder& whole(std::uint64_t number) {
    if (number < 0x80)
      return octet(static_cast<std::uint8_t>(number));
    char bytes[10];
    std::size_t size = 0;
    for (; number >= 0x80; number >>= 7)
      bytes[size++] = static_cast<char>(number | 0x80);
    bytes[size++] = static_cast<char>(number);
    bytes_.append(bytes, size);
    return *this;
  }
  /// As `whole`, zigzag-coded.
  encoder& signed_whole(std::int64_t number) {
    return whole((static_cast<std::uint64_t>(number) << 1) ^ static_cast<std::uint64_t>(number >> 63));
  }
  encoder& wide(int128 number) {
    if (auto small = static_cast<std::int64_t>(number); small == number) // The same bytes, sooner.
      return signed_whole(small);
    auto coded = (static_cast<uint128>(number) << 1) ^ static_cast<uint128>(number >> 127);
    for (; coded >= 0x80; coded >>= 7)
      octet(static_cast<std::uint8_t>(static_cast<std::uint8_t>(coded) | 0x80));
    return octet(static_cast<std::uint8_t>(coded));
  }
  /// Eight bytes, low ones first.
  encoder& fixed(std::uint64_t number) {
    char bytes[8];
    for (int i = 0; i < 8; ++i)
      bytes[i] = static_cast<char>(number >> (8 * i));
    bytes_.append(bytes, sizeof bytes);
    return *this;
  }
  encoder& real(double number) { return fixed(std::bit_cast<std::uint64_t>(number)); }
  encoder& octet(std::uint8_t value) {
    bytes_ += static_cast<char>(value);
    return *this;
  }
  /// Its length as `whole`, then its bytes.
  encoder& text(std::string_view value) { return whole(value.size()).raw(value); }
  /// Eight bytes, high ones first.
  encoder& big(std::uint64_t number) {
    for (int i = 7; i >= 0; --i)
      octet(static_cast<std::uint8_t>(number >> (8 * i)));
    return *this;
  }
  /// Its length as `big`, then its bytes.
  encoder& big_text(std::string_view value) { return big(value.size()).raw(value); }
  encoder& raw(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }

  const std::string& bytes() const noexcept { return bytes_; }
  std::string take() noexcept { return std::exchange(bytes_, {}); }
  void clear() noexcept { bytes_.clear(); }

private:
  std::string bytes_;
};

/// Reads what `encoder` wrote, and never past the end: after the first short read `ok()` is false, and every
/// further read gives zero or nothing, so that a caller may ask once, or, where fields were added at the end,
/// take what an older row lacks as zero. A view of the bytes, which must outlive it.
class decoder {
public:
  explicit decoder(std::string_view bytes) noexcept : left_{bytes} {}

  bool ok() const noexcept { return ok_; }
  bool done() const noexcept { return left_.empty(); }
  std::size_t left() const noexcept { return left_.size(); }
  /// For a caller that finds the bytes wrong: as after a short read.
  void give_up() noexcept {
    ok_ = false;
    left_ = {};
  }

  std::uint64_t whole() noexcept {
    if (!left_.empty() && static_cast<signed char>(left_.front()) >= 0) { // Most fit into one byte.
      auto number = static_cast<std::uint8_t>(left_.front());
      left_.remove_prefix(1);
      return number;
    }
    std::uint64_t number = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      auto byte = octet();
      number |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0)
        return number;
    }
    give_up();
    return 0;
  }
  std::int64_t signed_whole() noexcept {
    auto coded = whole();
    return static_cast<std::int64_t>((coded >> 1) ^ (~(coded & 1) + 1));
  }
  int128 wide() noexcept {
    // Most are short: seven bits a byte into one word first.
    std::uint64_t low = 0;
    unsigned shift = 0;
    for (; shift < 63; shift += 7) {
      auto byte = octet();
      low |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0)
        return static_cast<std::int64_t>((low >> 1) ^ (~(low & 1) + 1));
    }
    uint128 coded = low;
    for (; shift < 128; shift += 7) {
      auto byte = octet();
      coded |= static_cast<uint128>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0)
        return static_cast<int128>((coded >> 1) ^ (~(coded & 1) + 1));
    }
    give_up();
    return 0;
  }
  std::uint64_t fixed() noexcept {
    auto part = raw(8);
    std::uint64_t number = 0;
    if (part.size() == 8) // As many at once as the compiler sees.
      for (std::size_t i = 0; i < 8; ++i)
        number |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(part[i])) << (8 * i);
    return number;
  }
  double real() noexcept { return std::bit_cast<double>(fixed()); }
  std::uint8_t octet() noexcept {
    auto part = raw(1);
    return part.empty() ? 0 : static_cast<std::uint8_t>(part.front());
  }

  /// How many follow, of at least `each` bytes: as many must still be here, so that a broken count allocates
  /// nothing.
  std::size_t count_of(std::size_t each) noexcept {
    auto number = whole();
    if (number > left_.size() / (each == 0 ? 1 : each)) {
      give_up();
      return 0;
    }
    return static_cast<std::size_t>(number);
  }

  std::string_view text() noexcept { return raw(whole()); }
  std::uint64_t big() noexcept {
    std::uint64_t number = 0;
    for (auto each : raw(8))
      number = number << 8 | static_cast<std::uint8_t>(each);
    return number;
  }
  std::string_view big_text() noexcept { return raw(big()); }
  std::string_view raw(std::uint64_t size) noexcept {
    if (size > left_.size()) {
      give_up();
      return {};
    }
    auto part = left_.substr(0, size);
    left_.remove_prefix(size);
    return part;
  }

private:
  std::string_view left_;
  bool ok_ = true;
};

} // namespace troupe::store
