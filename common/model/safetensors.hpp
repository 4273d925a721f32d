#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

enum class element : std::uint8_t { float32, int32, int64 };

/// One tensor of a file: its shape and its bytes in the mapped file, row-major.
struct tensor_view {
  element type = element::float32;
  std::vector<std::size_t> shape;
  byte_view bytes;

  std::size_t count() const noexcept;
};

/// The tensors of a safetensors file, mapped into memory and never copied. Immutable; any thread. Copies
/// share the mapping.
///
/// Strict: every byte after the header belongs to exactly one tensor, sizes agree with shapes, names are
/// unique, offsets are aligned to the element. Anything else is ec::corrupt and says what is wrong.
class tensor_file {
public:
  static expected<tensor_file> open(const std::filesystem::path& path);

  /// The same, for bytes at hand. They must start at an address aligned to 8.
  static expected<tensor_file> parse(chunk bytes, std::string origin);

  bool has(std::string_view name) const { return tensors_.contains(name); }
  const std::map<std::string, tensor_view, std::less<>>& all() const noexcept { return tensors_; }
  const chunk& bytes() const noexcept { return bytes_; }

  /// Fails with ec::corrupt naming file and tensor where it is not there or has another type or shape. A 0 in
  /// `shape` allows any size of that dimension.
  expected<std::span<const float>> floats(std::string_view name, std::vector<std::size_t> shape) const;
  expected<std::span<const std::int32_t>> ints(std::string_view name, std::vector<std::size_t> shape) const;

  /// The size of one dimension, or the failure of `floats` for a tensor that is not there.
  expected<std::size_t> size_of(std::string_view name, std::size_t dimension) const;

private:
  expected<const tensor_view*> find(std::string_view name, element type,
                                    const std::vector<std::size_t>& shape) const;

  chunk bytes_;
  std::string origin_;
  std::map<std::string, tensor_view, std::less<>> tensors_;
};

} // namespace troupe::model
