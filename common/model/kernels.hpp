#pragma once

#include "common/core/error.hpp"
#include "common/tensor/safetensors.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

using tensor::tensor_file; ///< The weights of a model.

/// Columns of a layer whose weights lie together, and rows that are multiplied with them at once at most.
inline constexpr std::size_t panel_width = 16, most_rows = 12;

/// The parts that networks are served with, on the thread of the caller: compiled for each instruction set
/// (AVX-512, AVX2, SSE4 and older) that Highway knows and chosen at the first call. Sums are of floats in an
/// order that depends on the processor: results agree to rounding. Immutable once made; any thread.

/// The dot product of `n` numbers.
float dot(const float* a, const float* b, std::size_t n) noexcept;

/// The dot products of `with` and some rows of a table that are as wide: out[i] is that of row rows[i].
void products_of(std::span<const float> table, std::span<const std::uint32_t> rows,
                 std::span<const float> with, std::span<float> out) noexcept;

/// to += factor * from, `n` numbers.
void add_scaled(float* to, const float* from, float factor, std::size_t n) noexcept;

/// Turns `n` logits into weights that add up to 1.
void softmax(float* values, std::size_t n) noexcept;

/// The place of the greatest of some numbers, the first of equal ones.
std::size_t greatest(std::span<const float> of) noexcept;

/// Scales to length 1; what has no length stays.
void normalise(std::span<float> vector) noexcept;

enum class activation { relu, gelu }; ///< gelu: x * P(N(0,1) <= x), exactly (Hendrycks and Gimpel 2016).

expected<activation> activation_named(std::string_view name);
void activate(activation function, std::span<float> values) noexcept;

/// Queries, keys and values of one sequence, [rows or length, width] each, row-major; the heads lie side by
/// side in a row.
struct attention_rows {
  const float *query, *key, *value;
  std::size_t rows;   ///< Queries: the last ones of the sequence.
  std::size_t length; ///< Of the sequence.
  std::size_t width, heads;
};

/// Causal attention of each head (Vaswani et al. 2017, 3.2.1): the softmax of query . key / sqrt(width of a
/// head) over all rows up to the query's own weighs the values. `out` [rows,width] is none of the inputs.
void attend(const attention_rows& of, float* out) noexcept;

/// y = W x + b.
class linear {
public:
  linear() = default;

  /// weight [out,in], bias [out] or empty.
  linear(std::span<const float> weight, std::span<const float> bias, std::size_t in, std::size_t out);

  /// The tensors NAME.weight [out,in] and NAME.bias [out]; an `out` of 0 takes any. Fails with ec::corrupt
  /// naming the tensor.
  static expected<linear> load(const tensor_file& from, const std::string& name, std::size_t in,
                               std::size_t out);

  std::size_t in() const noexcept { return in_; }
  std::size_t out() const noexcept { return out_; }

  /// x [rows,in] to y [rows,out]; they do not overlap.
  void apply(const float* x, std::size_t rows, float* y) const noexcept;

private:
  std::size_t in_ = 0, out_ = 0;
  std::vector<float> panels_; ///< Columns by sixteens: panel, input, sixteen numbers; padded with 0.
  std::vector<float> bias_;   ///< Padded likewise.
};

/// Layers with an activation between them: NAME.0, NAME.1, ...
class layers {
public:
  /// Takes as many as there are, at least `least`. Fails with ec::corrupt where one does not fit the one
  /// before it.
  static expected<layers> load(const tensor_file& from, const std::string& name, std::size_t in,
                               activation between, std::size_t least);

  std::size_t out() const noexcept { return all_.empty() ? in_ : all_.back().out(); }

  /// x [rows,in] to [rows,out()]; with `last_too` the activation follows the last layer as well.
  std::vector<float> apply(std::vector<float> x, std::size_t rows, bool last_too) const;

private:
  std::size_t in_ = 0;
  activation between_ = activation::relu;
  std::vector<linear> all_;
};

/// Brings each row to mean 0 and deviation 1, then scales and moves it (Ba, Kiros and Hinton 2016).
class layer_norm {
public:
  /// The tensors NAME.weight and NAME.bias, [width].
  static expected<layer_norm> load(const tensor_file& from, const std::string& name, std::size_t width,
                                   float epsilon);

  /// x [rows,width] to y of the same shape, which may be x.
  void apply(const float* x, std::size_t rows, float* y) const noexcept;

private:
  std::vector<float> weight_, bias_;
  float epsilon_ = 0;
};

} // namespace troupe::model
