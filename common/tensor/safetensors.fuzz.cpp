#include "common/tensor/safetensors.hpp"

#include <cstdlib>

/// Any bytes are a file of tensors or an error; what was read is written and read back the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace troupe;
  byte_view bytes{reinterpret_cast<const std::byte*>(data), size};
  auto read = tensor::tensor_file::parse(chunk::copy(bytes), "input");
  if (!read)
    return 0;
  auto again = tensor::encode_safetensors(read->tensors(), read->metadata());
  if (!again)
    std::abort();
  auto twice = tensor::tensor_file::parse(chunk::own(*again), "again");
  if (!twice || twice->tensors().size() != read->tensors().size())
    std::abort();
  return 0;
}
