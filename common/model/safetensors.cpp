#include "common/model/safetensors.hpp"

#include <boost/json.hpp>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

namespace troupe::model {

namespace {

namespace json = boost::json;

constexpr std::uint64_t longest_header = 64 << 20;

std::size_t width_of(element type) noexcept {
  return type == element::int64 ? 8 : 4;
}

std::string_view name_of(element type) noexcept {
  return type == element::float32 ? "F32" : type == element::int32 ? "I32" : "I64";
}

std::optional<element> element_named(std::string_view name) noexcept {
  for (auto each : {element::float32, element::int32, element::int64})
    if (name == name_of(each))
      return each;
  return std::nullopt;
}

std::string text_of(const std::vector<std::size_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// A number of the header that is whole and not negative.
std::optional<std::uint64_t> whole(const json::value& from) noexcept {
  if (auto number = from.if_int64(); number && *number >= 0)
    return static_cast<std::uint64_t>(*number);
  if (auto number = from.if_uint64())
    return *number;
  return std::nullopt;
}

} // namespace

std::size_t tensor_view::count() const noexcept {
  std::size_t all = 1;
  for (auto each : shape)
    all *= each;
  return all;
}

expected<tensor_file> tensor_file::open(const std::filesystem::path& path) {
  auto origin = path.string();
  int fd = ::open(origin.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return fail(errno_code(errno), "cannot open weights {}: {}", origin, errno_text(errno));
  struct stat about {};
  if (::fstat(fd, &about) != 0 || about.st_size < 8) {
    ::close(fd);
    return fail(ec::corrupt, "cannot read weights {}: shorter than a header", origin);
  }
  auto size = static_cast<std::size_t>(about.st_size);
  void* at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  auto number = errno;
  ::close(fd);
  if (at == MAP_FAILED)
    return fail(errno_code(number), "cannot map weights {}: {}", origin, errno_text(number));
  std::shared_ptr<const void> owner{
      at, [size](const void* mapped) { ::munmap(const_cast<void*>(mapped), size); }};
  return parse(chunk{std::move(owner), {static_cast<const std::byte*>(at), size}}, std::move(origin));
}

expected<tensor_file> tensor_file::parse(chunk bytes, std::string origin) {
  auto wrong = [&](std::string why) { return fail(ec::corrupt, "cannot read weights {}: {}", origin, why); };
  if (bytes.size() < 8)
    return wrong("shorter than a header");
  std::uint64_t header_size = 0;
  for (int i = 0; i < 8; ++i)
    header_size |= std::to_integer<std::uint64_t>(bytes.data()[i]) << (8 * i);
  if (header_size > longest_header || header_size > bytes.size() - 8)
    return wrong(fmt::format("a header of {} bytes does not fit", header_size));
  boost::system::error_code failed;
  auto header = json::parse(bytes.text().substr(8, header_size), failed);
  if (failed || !header.is_object())
    return wrong("the header is no JSON object");
  auto base = 8 + header_size;
  auto room = bytes.size() - base;
  tensor_file out;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> used;
  for (auto& [key, value] : header.get_object()) {
    if (key == "__metadata__")
      continue;
    std::string name{key};
    auto* about = value.if_object();
    auto* type_at = about ? about->if_contains("dtype") : nullptr;
    auto* shape_at = about ? about->if_contains("shape") : nullptr;
    auto* span_at = about ? about->if_contains("data_offsets") : nullptr;
    if (!type_at || !type_at->is_string() || !shape_at || !shape_at->is_array() || !span_at ||
        !span_at->is_array() || span_at->get_array().size() != 2)
      return wrong(fmt::format("tensor {} lacks dtype, shape or data_offsets", name));
    auto type_name = std::string{type_at->get_string()};
    auto type = element_named(type_name);
    if (!type)
      return wrong(fmt::format("tensor {} is of type {}: F32, I32 and I64 are read", name, type_name));
    tensor_view tensor;
    tensor.type = *type;
    std::uint64_t size = width_of(*type);
    for (auto& each : shape_at->get_array()) {
      auto length = whole(each);
      std::uint64_t product = 0;
      if (!length || __builtin_mul_overflow(size, *length, &product))
        return wrong(fmt::format("the shape of tensor {} is senseless", name));
      size = product;
      tensor.shape.push_back(*length);
    }
    auto from = whole(span_at->get_array()[0]), to = whole(span_at->get_array()[1]);
    if (!from || !to || *from > *to || *to > room)
      return wrong(fmt::format("tensor {} lies outside the file", name));
    if (*to - *from != size)
      return wrong(fmt::format("tensor {} has {} bytes where its shape {} needs {}", name, *to - *from,
                               text_of(tensor.shape), size));
    tensor.bytes = bytes.view().subspan(base + *from, size);
    if (reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % width_of(*type) != 0)
      return wrong(fmt::format("tensor {} is not aligned to its elements", name));
    used.emplace_back(*from, *to);
    if (!out.tensors_.emplace(name, std::move(tensor)).second)
      return wrong(fmt::format("tensor {} stands there twice", name));
  }
  std::sort(used.begin(), used.end());
  std::uint64_t end = 0;
  for (auto& [from, to] : used) {
    if (from != end)
      return wrong(fmt::format("bytes {} to {} belong to no tensor or to two", std::min(from, end),
                               std::max(from, end)));
    end = to;
  }
  if (end != room)
    return wrong(fmt::format("{} bytes after the last tensor", room - end));
  out.bytes_ = std::move(bytes);
  out.origin_ = std::move(origin);
  return out;
}

expected<const tensor_view*> tensor_file::find(std::string_view name, element type,
                                               const std::vector<std::size_t>& shape) const {
  auto found = tensors_.find(name);
  if (found == tensors_.end())
    return fail(ec::corrupt, "weights {} have no tensor {}", origin_, name);
  auto& has = found->second;
  bool fits = has.type == type && has.shape.size() == shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i)
    fits = shape[i] == 0 || shape[i] == has.shape[i];
  if (!fits)
    return fail(ec::corrupt, "tensor {} of weights {} is {} {} where {} {} is needed (0: any)", name, origin_,
                name_of(has.type), text_of(has.shape), name_of(type), text_of(shape));
  return &has;
}

expected<std::span<const float>> tensor_file::floats(std::string_view name,
                                                     std::vector<std::size_t> shape) const {
  TROUPE_TRY(found, find(name, element::float32, shape));
  return std::span<const float>{reinterpret_cast<const float*>(found->bytes.data()), found->count()};
}

expected<std::span<const std::int32_t>> tensor_file::ints(std::string_view name,
                                                          std::vector<std::size_t> shape) const {
  TROUPE_TRY(found, find(name, element::int32, shape));
  return std::span<const std::int32_t>{reinterpret_cast<const std::int32_t*>(found->bytes.data()),
                                       found->count()};
}

expected<std::size_t> tensor_file::size_of(std::string_view name, std::size_t dimension) const {
  auto found = tensors_.find(name);
  if (found == tensors_.end())
    return fail(ec::corrupt, "weights {} have no tensor {}", origin_, name);
  if (dimension >= found->second.shape.size())
    return fail(ec::corrupt, "tensor {} of weights {} has no dimension {}", name, origin_, dimension);
  return found->second.shape[dimension];
}

} // namespace troupe::model
