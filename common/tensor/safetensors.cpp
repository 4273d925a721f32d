#include "common/tensor/safetensors.hpp"

#include "common/core/regular_file.hpp"

#include <fcntl.h>
#include <simdjson.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace troupe::tensor {

namespace {

struct type_row {
  dtype type;
  std::string_view name;
  std::size_t size;
};

constexpr std::array<type_row, 13> types{{{dtype::boolean, "BOOL", 1},
                                          {dtype::u8, "U8", 1},
                                          {dtype::i8, "I8", 1},
                                          {dtype::i16, "I16", 2},
                                          {dtype::u16, "U16", 2},
                                          {dtype::f16, "F16", 2},
                                          {dtype::bf16, "BF16", 2},
                                          {dtype::i32, "I32", 4},
                                          {dtype::u32, "U32", 4},
                                          {dtype::f32, "F32", 4},
                                          {dtype::i64, "I64", 8},
                                          {dtype::u64, "U64", 8},
                                          {dtype::f64, "F64", 8}}};

constexpr std::uint64_t header_most = 100'000'000;
constexpr std::size_t length_bytes = 8;
constexpr std::size_t alignment = 8;

std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\')
      out += '\\', out += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out += '"';
}

struct entry {
  std::string name;
  dtype type;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin;
  std::uint64_t end;
};

expected<entry> read_entry(const std::string& origin, std::string_view name, simdjson::dom::element value) {
  entry out{std::string{name}, dtype::f32, {}, 0, 0};
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS)
    return fail(ec::corrupt, "cannot read {}: the header's entry of {} is not an object", origin, name);
  bool typed = false;
  bool shaped = false;
  bool placed = false;
  for (auto [key, field] : object) {
    if (key == "dtype" && !typed) {
      std::string_view text;
      if (field.get(text) != simdjson::SUCCESS)
        return fail(ec::corrupt, "cannot read {}: the type of {} is not a text", origin, name);
      const auto* row = std::find_if(types.begin(), types.end(), [&](auto& t) { return t.name == text; });
      if (row == types.end())
        return fail(ec::corrupt, "cannot read {}: {} is of the unknown type {}", origin, name, text);
      out.type = row->type;
      typed = true;
    } else if (key == "shape" && !shaped) {
      simdjson::dom::array lengths;
      if (field.get(lengths) != simdjson::SUCCESS)
        return fail(ec::corrupt, "cannot read {}: the shape of {} is not a list", origin, name);
      for (auto length : lengths) {
        std::uint64_t number = 0;
        if (length.get(number) != simdjson::SUCCESS)
          return fail(ec::corrupt, "cannot read {}: the shape of {} holds no whole number", origin, name);
        out.shape.push_back(number);
      }
      shaped = true;
    } else if (key == "data_offsets" && !placed) {
      simdjson::dom::array offsets;
      if (field.get(offsets) != simdjson::SUCCESS || offsets.size() != 2 ||
          offsets.at(0).get(out.begin) != simdjson::SUCCESS ||
          offsets.at(1).get(out.end) != simdjson::SUCCESS)
        return fail(ec::corrupt, "cannot read {}: the offsets of {} are not two whole numbers", origin, name);
      placed = true;
    } else {
      return fail(ec::corrupt, "cannot read {}: the entry of {} has a field {} too many", origin, name, key);
    }
  }
  if (!typed || !shaped || !placed)
    return fail(ec::corrupt, "cannot read {}: the entry of {} lacks dtype, shape or data_offsets", origin,
                name);
  std::uint64_t size = size_of(out.type);
  for (auto length : out.shape)
    if (__builtin_mul_overflow(size, length, &size))
      return fail(ec::corrupt, "cannot read {}: the shape of {} is too large", origin, name);
  if (out.begin > out.end || out.end - out.begin != size)
    return fail(ec::corrupt, "cannot read {}: {} takes bytes {} to {}, and its shape needs {}", origin, name,
                out.begin, out.end, size);
  return out;
}

} // namespace

std::size_t size_of(dtype type) noexcept {
  return types[static_cast<std::size_t>(type)].size;
}

std::string_view name_of(dtype type) noexcept {
  return types[static_cast<std::size_t>(type)].name;
}

expected<tensor_file> tensor_file::parse(chunk bytes, std::string origin) {
  auto text = bytes.text();
  std::uint64_t length = 0;
  if (text.size() < length_bytes)
    return fail(ec::corrupt, "cannot read {}: {} bytes are too few for a header", origin, text.size());
  std::memcpy(&length, text.data(), length_bytes);
  if (length > header_most)
    return fail(ec::corrupt, "cannot read {}: a header of {} bytes is longer than {}", origin, length,
                header_most);
  if (length > text.size() - length_bytes)
    return fail(ec::corrupt, "cannot read {}: the header takes {} bytes, and {} are there", origin, length,
                text.size() - length_bytes);
  auto header = text.substr(length_bytes, length);
  if (!header.starts_with('{'))
    return fail(ec::corrupt, "cannot read {}: the header is not a JSON object", origin);
  auto data = bytes.view().subspan(length_bytes + length);

  simdjson::dom::parser parser;
  simdjson::dom::object object;
  simdjson::padded_string padded{header};
  if (auto err = parser.parse(padded).get(object); err != simdjson::SUCCESS)
    return fail(ec::corrupt, "cannot read {}: the header is not JSON: {}", origin,
                simdjson::error_message(err));

  tensor_file file;
  std::vector<entry> entries;
  bool described = false;
  for (auto [name, value] : object) {
    if (name == "__metadata__") {
      simdjson::dom::object texts;
      if (described || value.get(texts) != simdjson::SUCCESS)
        return fail(ec::corrupt, "cannot read {}: __metadata__ is not one object", origin);
      described = true;
      for (auto [key, element] : texts) {
        std::string_view said;
        if (element.get(said) != simdjson::SUCCESS)
          return fail(ec::corrupt, "cannot read {}: the metadata {} is not a text", origin, key);
        file.metadata_.insert_or_assign(std::string{key}, std::string{said});
      }
      continue;
    }
    TROUPE_TRY(one, read_entry(origin, name, value));
    entries.push_back(std::move(one));
  }
  std::sort(entries.begin(), entries.end(),
            [](auto& a, auto& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  std::uint64_t at = 0;
  for (auto& one : entries) {
    if (one.begin != at)
      return fail(ec::corrupt, "cannot read {}: {} begins at byte {}, and the one before it ends at {}",
                  origin, one.name, one.begin, at);
    at = one.end;
    if (at > data.size())
      return fail(ec::corrupt, "cannot read {}: {} ends at byte {}, and the file holds {}", origin, one.name,
                  at, data.size());
    auto part = data.subspan(one.begin, one.end - one.begin);
    if (!file.tensors_.emplace(one.name, tensor_view{one.type, std::move(one.shape), part}).second)
      return fail(ec::corrupt, "cannot read {}: it holds {} twice", origin, one.name);
  }
  if (at != data.size())
    return fail(ec::corrupt, "cannot read {}: {} bytes behind the last tensor", origin, data.size() - at);
  file.bytes_ = std::move(bytes);
  file.origin_ = std::move(origin);
  return file;
}

expected<tensor_file> tensor_file::open(const std::filesystem::path& file) {
  TROUPE_TRY(fd, open_regular(file, O_RDONLY));
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    int number = errno;
    ::close(fd);
    return fail(errno_code(number), "cannot read the size of {}: {}", file.string(), errno_text(number));
  }
  auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) {
    ::close(fd);
    return parse({}, file.string());
  }
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  int failed = errno;
  ::close(fd);
  if (memory == MAP_FAILED)
    return fail(errno_code(failed), "cannot map {}: {}", file.string(), errno_text(failed));
  std::shared_ptr<const void> owner{memory, [size](void* mapped) { ::munmap(mapped, size); }};
  byte_view bytes{static_cast<const std::byte*>(memory), size};
  return parse(chunk{std::move(owner), bytes}, file.string());
}

const tensor_view* tensor_file::find(std::string_view name) const noexcept {
  auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

expected<tensor_view> tensor_file::get(std::string_view name, const std::vector<std::uint64_t>& shape) const {
  const auto* found = find(name);
  if (!found)
    return fail(ec::corrupt, "{} holds no tensor {}", origin_, name);
  bool fits = found->shape.size() == shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i)
    fits = shape[i] == 0 || shape[i] == found->shape[i];
  if (!fits)
    return fail(ec::corrupt, "the tensor {} in {} has the shape [{}], wanted is [{}]", name, origin_,
                fmt::join(found->shape, ", "), fmt::join(shape, ", "));
  return *found;
}

expected<std::uint64_t> tensor_file::length_of(std::string_view name, std::size_t dimension) const {
  const auto* found = find(name);
  if (!found)
    return fail(ec::corrupt, "{} holds no tensor {}", origin_, name);
  if (dimension >= found->shape.size())
    return fail(ec::corrupt, "the tensor {} in {} has no dimension {}", name, origin_, dimension);
  return found->shape[dimension];
}

expected<void> tensor_file::check_type(std::string_view name, const tensor_view& found, dtype wanted) const {
  if (found.type != wanted)
    return fail(ec::corrupt, "the tensor {} in {} holds {}, wanted is {}", name, origin_, name_of(found.type),
                name_of(wanted));
  if (reinterpret_cast<std::uintptr_t>(found.bytes.data()) % size_of(wanted) != 0)
    return fail(ec::corrupt, "the tensor {} in {} is not aligned to its elements", name, origin_);
  return {};
}

expected<std::string> encode_safetensors(const std::map<std::string, tensor_view, std::less<>>& tensors,
                                         const std::map<std::string, std::string, std::less<>>& metadata) {
  std::vector<std::pair<std::string_view, const tensor_view*>> order;
  for (auto& [name, one] : tensors) {
    std::uint64_t size = size_of(one.type);
    for (auto length : one.shape)
      if (__builtin_mul_overflow(size, length, &size))
        return fail(ec::invalid_argument, "cannot write the tensor {}: its shape is too large", name);
    if (size != one.bytes.size() || name == "__metadata__")
      return fail(ec::invalid_argument, "cannot write the tensor {}: {} bytes do not fit its shape", name,
                  one.bytes.size());
    order.emplace_back(name, &one);
  }
  // Wide types first, so that every tensor is aligned for its type.
  std::stable_sort(order.begin(), order.end(),
                   [](auto& a, auto& b) { return size_of(a.second->type) > size_of(b.second->type); });
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (auto& [key, value] : metadata)
      header += fmt::format("{}:{},", json_text(key), json_text(value));
    header.back() = '}';
    header += ',';
  }
  std::uint64_t at = 0;
  for (auto& [name, one] : order) {
    header += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}},", json_text(name),
                          name_of(one->type), fmt::join(one->shape, ","), at, at + one->bytes.size());
    at += one->bytes.size();
  }
  if (header.back() == ',')
    header.pop_back();
  header += '}';
  header.append((alignment - header.size() % alignment) % alignment, ' ');
  std::string out(length_bytes, '\0');
  std::uint64_t length = header.size();
  std::memcpy(out.data(), &length, length_bytes);
  out.reserve(out.size() + header.size() + at);
  out += header;
  for (auto& [name, one] : order)
    out += as_text(one->bytes);
  return out;
}

} // namespace troupe::tensor
