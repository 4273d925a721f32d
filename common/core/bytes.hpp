#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe {

using byte_view = std::span<const std::byte>;

inline std::string_view as_text(byte_view bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline byte_view as_bytes(std::string_view text) noexcept {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

/// Immutable bytes together with whatever keeps them alive. Copying shares; nothing is ever copied twice.
/// Safe to hand between threads.
class chunk {
public:
  chunk() = default;

  /// A view into `owner`'s memory; `owner` must keep `bytes` valid and unchanged.
  chunk(std::shared_ptr<const void> owner, byte_view bytes) : owner_{std::move(owner)}, bytes_{bytes} {}

  /// Takes over a buffer.
  static chunk own(std::string text) {
    auto holder = std::make_shared<const std::string>(std::move(text));
    byte_view view = troupe::as_bytes(*holder);
    return {std::move(holder), view};
  }

  static chunk own(std::vector<std::byte> bytes) {
    auto holder = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
    byte_view view{*holder};
    return {std::move(holder), view};
  }

  /// Copies `bytes`.
  static chunk copy(byte_view bytes) { return own(std::string{troupe::as_text(bytes)}); }

  byte_view view() const noexcept { return bytes_; }
  const std::byte* data() const noexcept { return bytes_.data(); }
  std::size_t size() const noexcept { return bytes_.size(); }
  bool empty() const noexcept { return bytes_.empty(); }
  std::string_view text() const noexcept { return as_text(bytes_); }

  /// A part of these bytes that shares the owner.
  chunk part(std::size_t offset, std::size_t length) const {
    return {owner_, bytes_.subspan(offset, length)};
  }

private:
  std::shared_ptr<const void> owner_;
  byte_view bytes_;
};

} // namespace troupe
