#pragma once

#include "common/core/error.hpp"
#include "common/model/safetensors.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace troupe::model {

/// An item's row in the tensors of one model: its line in items.txt.
using row = std::uint32_t;

/// Ids and the rows they stand for, as `items.txt` and `users.txt` give them: one id a line.
class vocabulary {
public:
  /// Fails with ec::corrupt on an empty id or one that stands twice.
  static expected<vocabulary> parse(std::string_view text, std::string_view origin);

  std::size_t size() const noexcept { return ids_.size(); }
  const std::string& id(row at) const { return *ids_[at]; }
  std::optional<row> find(std::string_view id) const;

private:
  struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  std::unordered_map<std::string, row, text_hash, std::equal_to<>> rows_;
  std::vector<const std::string*> ids_; ///< Into the keys of rows_, which stay where they are.
};

/// What a model is told about the one it scores for.
struct taste {
  std::vector<row> history; ///< Known items, oldest first.
  std::optional<row> user;  ///< Where the model has factors of this user.
};

/// One part of a score and the item of the history that it comes from.
struct reason {
  row item;
  double weight;
};

/// A trained model as serving sees it. Immutable; any thread.
class scorer {
public:
  virtual ~scorer() = default;

  virtual std::size_t items() const noexcept = 0;

  /// The score of each candidate, in their order; `out` has as many elements. Every row must be below
  /// items().
  virtual void score(const taste& who, std::span<const row> candidates, std::span<float> out) const = 0;

  /// Items of the history that raised the score of `item` most, heaviest first; empty where the model cannot
  /// tell.
  virtual std::vector<reason> because(const taste& who, row item, std::size_t most) const;

  /// Items that stand nearest to `item` in the model's own table, nearest first; empty where it has none.
  virtual std::vector<reason> like(row item, std::size_t most) const;

  /// The space in which score = dot product of a user's and an item's vector: its width, 0 where there is
  /// none, the vectors of all items, row-major, and that of a user; empty where nothing is known of the user.
  virtual std::size_t width() const noexcept { return 0; }
  virtual std::vector<float> item_vectors() const { return {}; }
  virtual std::vector<float> user_vector(const taste&) const { return {}; }
};

/// item_score [N].
expected<std::unique_ptr<scorer>> load_popularity(tensor_file weights);

/// neighbours [N,K], similarity [N,K]: item_knn and ease. The score is the sum, over the history, of the
/// similarity that its item gives the candidate. A neighbour below 0 is no neighbour.
expected<std::unique_ptr<scorer>> load_neighbours(tensor_file weights);

struct fold_in {
  double alpha = 1;           ///< Weight of every item beside 1 more for an observed one.
  double regularization = 1;  ///< Ridge, times...
  double frequency_power = 0; ///< ...(items of the history + alpha * all items) to this power.
};

/// item_factors [N,D], user_factors [M,D], gram [D,D]. A user is solved for from the history where there is
/// one, as in training: (alpha G + Y'Y + ridge I) x = Y'1 with the rows Y of the history (Hu, Koren and
/// Volinsky 2008; ridge of Rendle et al. 2021); without history the stored factors serve, or nothing: scores
/// of 0.
expected<std::unique_ptr<scorer>> load_ials(tensor_file weights, fold_in how);

/// item_factors [N,D], item_bias [N], user_factors [M,D]. A user without factors gets the mean of the items
/// of the history; without either the bias alone.
expected<std::unique_ptr<scorer>> load_bpr(tensor_file weights);

/// Solves A x = b in place for a symmetric positive definite A [n,n] by Cholesky; `b` becomes x and `a` the
/// factor. False where A is not positive definite.
bool solve_positive(std::span<double> a, std::span<double> b);

} // namespace troupe::model
