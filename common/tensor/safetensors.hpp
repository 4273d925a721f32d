#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// The safetensors file format (github.com/huggingface/safetensors): a length, a JSON header, the numbers.
/// Read and written without libtorch.
namespace troupe::tensor {

enum class dtype : std::uint8_t { boolean, u8, i8, i16, u16, f16, bf16, i32, u32, f32, i64, u64, f64 };

/// Bytes of one element.
std::size_t size_of(dtype type) noexcept;

/// The name in a file: "F32".
std::string_view name_of(dtype type) noexcept;

template <class T>
constexpr dtype dtype_of = [] {
  if constexpr (std::is_same_v<T, float>)
    return dtype::f32;
  else if constexpr (std::is_same_v<T, double>)
    return dtype::f64;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return dtype::i32;
  else if constexpr (std::is_same_v<T, std::uint32_t>)
    return dtype::u32;
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return dtype::i64;
  else if constexpr (std::is_same_v<T, std::uint64_t>)
    return dtype::u64;
  else {
    static_assert(std::is_same_v<T, std::uint8_t>);
    return dtype::u8;
  }
}();

/// One tensor inside a file: row-major, little-endian. The bytes live as long as the file object does.
struct tensor_view {
  dtype type = dtype::f32;
  std::vector<std::uint64_t> shape;
  byte_view bytes;

  std::uint64_t elements() const noexcept { return bytes.size() / size_of(type); }

  /// A copy of the numbers; an error where they are of another type.
  template <class T>
  expected<std::vector<T>> values() const {
    if (type != dtype_of<T>)
      return fail(ec::corrupt, "a tensor holds {}, not {}", name_of(type), name_of(dtype_of<T>));
    std::vector<T> out(elements());
    if (!out.empty())
      std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
};

/// A file that was checked as a whole when it was opened. Immutable; safe to share between threads. Copies
/// share the bytes.
class tensor_file {
public:
  /// Checks the header against the bytes: sizes, types, shapes, no gap, no overlap, nothing missing at the
  /// end, no name twice. `origin` is for messages.
  static expected<tensor_file> parse(chunk bytes, std::string origin);

  /// Maps a file into memory.
  static expected<tensor_file> open(const std::filesystem::path& file);

  const tensor_view* find(std::string_view name) const noexcept;
  bool has(std::string_view name) const noexcept { return find(name) != nullptr; }

  /// The tensor of that name with that shape (0: any length), or an error that names the file.
  expected<tensor_view> get(std::string_view name, const std::vector<std::uint64_t>& shape) const;

  /// The numbers of `get` where they lie, which is as long as a copy of this object lives; an error too where
  /// they are of another type or not aligned for theirs.
  template <class T>
  expected<std::span<const T>> span(std::string_view name, const std::vector<std::uint64_t>& shape) const {
    TROUPE_TRY(found, get(name, shape));
    TROUPE_CHECK(check_type(name, found, dtype_of<T>));
    return std::span<const T>{reinterpret_cast<const T*>(found.bytes.data()), found.elements()};
  }

  /// The size of one dimension, or an error that names the file.
  expected<std::uint64_t> length_of(std::string_view name, std::size_t dimension) const;

  const std::map<std::string, tensor_view, std::less<>>& tensors() const noexcept { return tensors_; }
  const std::map<std::string, std::string, std::less<>>& metadata() const noexcept { return metadata_; }

private:
  expected<void> check_type(std::string_view name, const tensor_view& found, dtype wanted) const;

  chunk bytes_;
  std::string origin_;
  std::map<std::string, tensor_view, std::less<>> tensors_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

/// The bytes of a file. The same tensors give the same bytes: wide types first, then by name.
expected<std::string> encode_safetensors(const std::map<std::string, tensor_view, std::less<>>& tensors,
                                         const std::map<std::string, std::string, std::less<>>& metadata);

} // namespace troupe::tensor
