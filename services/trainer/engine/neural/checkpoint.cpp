#include "services/trainer/engine/neural/checkpoint.hpp"

#include "common/core/file.hpp"
#include "common/core/hash.hpp"
#include "common/log/log.hpp"
#include "common/tensor/safetensors.hpp"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace troupe::trainer::neural {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kept = 2;
constexpr std::string_view prefix = "step-";
constexpr std::string_view suffix = ".safetensors";

struct file_name {
  std::uint64_t step = 0;
  std::string hash;
  fs::path path;
};

/// Newest first.
std::vector<file_name> files_in(const fs::path& folder) {
  std::vector<file_name> out;
  std::error_code err;
  for (auto& entry : fs::directory_iterator{folder, err}) {
    auto name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(suffix))
      continue;
    auto body = std::string_view{name}.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
    auto dash = body.find('-');
    file_name one;
    auto [end, problem] = std::from_chars(body.data(), body.data() + std::min(dash, body.size()), one.step);
    if (problem != std::errc{} || dash == std::string_view::npos || end != body.data() + dash)
      continue;
    one.hash = body.substr(dash + 1);
    one.path = entry.path();
    out.push_back(std::move(one));
  }
  std::sort(out.begin(), out.end(), [](auto& a, auto& b) { return a.step > b.step; });
  return out;
}

expected<tensor::dtype> type_of(const torch::Tensor& of, const std::string& name) {
  if (of.scalar_type() == torch::kFloat32)
    return tensor::dtype::f32;
  if (of.scalar_type() == torch::kFloat64)
    return tensor::dtype::f64;
  if (of.scalar_type() == torch::kInt64)
    return tensor::dtype::i64;
  return fail(ec::internal, "checkpoints do not hold tensors of {}'s type", name);
}

} // namespace

expected<void> checkpoint_folder::save(const checkpoint& what) const {
  std::error_code err;
  fs::create_directories(folder_, err);
  if (err)
    return fail(errno_code(err.value()), "cannot create {}: {}", folder_.string(), err.message());
  std::map<std::string, torch::Tensor> here;
  std::map<std::string, tensor::tensor_view, std::less<>> views;
  for (auto& [name, value] : what.tensors) {
    auto& at = here[name] = value.detach().to(torch::kCPU).contiguous();
    TROUPE_TRY(type, type_of(at, name));
    views.emplace(name, tensor::tensor_view{type,
                                            {at.sizes().begin(), at.sizes().end()},
                                            {static_cast<const std::byte*>(at.data_ptr()), at.nbytes()}});
  }
  std::map<std::string, std::string, std::less<>> facts{what.facts.begin(), what.facts.end()};
  facts["step"] = std::to_string(what.step);
  TROUPE_TRY(bytes, tensor::encode_safetensors(views, facts));
  auto hash = sha256_hex(as_bytes(bytes));
  TROUPE_CHECK(write_file_atomically(
      folder_ / fmt::format("{}{}-{}{}", prefix, what.step, hash.substr(0, 32), suffix), as_bytes(bytes)));
  auto files = files_in(folder_);
  for (std::size_t i = kept; i < files.size(); ++i)
    fs::remove(files[i].path, err);
  return {};
}

expected<std::optional<checkpoint>> checkpoint_folder::load() const {
  for (auto& file : files_in(folder_)) {
    auto content = read_file(file.path);
    auto bytes = chunk::own(content ? std::move(*content) : std::string{});
    if (!sha256_hex(bytes.view()).starts_with(file.hash)) {
      log::warn("checkpoint-damaged", "trainer passes over {}: its bytes are not those of its name",
                file.path.string());
      continue;
    }
    TROUPE_TRY(read, tensor::tensor_file::parse(bytes, file.path.string()));
    checkpoint out;
    out.step = file.step;
    for (auto& [name, value] : read.metadata())
      out.facts.emplace(name, value);
    for (auto& [name, view] : read.tensors()) {
      auto type = view.type == tensor::dtype::f32   ? torch::kFloat32
                  : view.type == tensor::dtype::f64 ? torch::kFloat64
                                                    : torch::kInt64;
      std::vector<std::int64_t> sizes{view.shape.begin(), view.shape.end()};
      // A copy: the file's bytes end with this function.
      auto* data = const_cast<std::byte*>(view.bytes.data());
      out.tensors.emplace(name, at::from_blob(data, sizes, torch::dtype(type)).clone());
    }
    return std::optional<checkpoint>{std::move(out)};
  }
  return std::optional<checkpoint>{};
}

} // namespace troupe::trainer::neural
