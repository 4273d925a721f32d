#pragma once

#include "common/core/error.hpp"
#include "common/tensor/safetensors.hpp"

#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace troupe::model::testing {

/// Tests build the bytes of a safetensors file with it, tensor by tensor.
class test_weights {
public:
  template <class T>
  test_weights& add(const std::string& name, const std::string& shape, const std::vector<T>& values) {
    auto from = data_.size();
    data_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    header_ += fmt::format(R"({}"{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})",
                           header_.empty() ? "" : ",", name, std::is_same_v<T, float> ? "F32" : "I32", shape,
                           from, data_.size());
    return *this;
  }

  static std::string file(std::string header, const std::string& data) {
    while (header.size() % 8 != 0)
      header += ' ';
    std::string out;
    for (int i = 0; i < 8; ++i)
      out += static_cast<char>(header.size() >> (8 * i));
    return out + header + data;
  }

  std::string bytes() const { return file("{" + header_ + "}", data_); }

  tensor::tensor_file done() const {
    auto parsed = tensor::tensor_file::parse(chunk::own(bytes()), "test");
    if (!parsed)
      throw std::runtime_error{parsed.error().text};
    return *parsed;
  }

private:
  std::string header_, data_;
};

} // namespace troupe::model::testing
