#pragma once

#include "common/core/error.hpp"
#include "common/model/kernels.hpp"
#include "common/tensor/safetensors.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
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

/// The value of a feature, owned by who asks; nothing where it is missing or stale.
using feature = std::variant<std::monostate, double, std::string_view, std::span<const std::string_view>>;

/// The features that a model scores by, "view.feature" each, in the order in which it is given them. The
/// names `user` and `item` stand for the ids themselves.
struct feature_needs {
  std::vector<std::string> user, item;
  std::vector<std::string> views; ///< "view@version" that the model was trained on.
};

/// What a model is told about the one it scores for.
struct user_context {
  std::vector<row> history;      ///< Known items, oldest first.
  std::optional<row> user;       ///< Where the model has factors of this user.
  std::vector<feature> features; ///< As many as features().user, or none: all are missing.
  std::vector<float> vector;     ///< What user_vector() gave; empty: the model works it out.
};

/// What is to be scored. Rows are below items(), where that is not 0.
struct candidates {
  candidates(std::span<const row> of) : rows{of} {}
  candidates(const std::vector<row>& of) : rows{of} {}
  candidates(std::span<const row> of, std::span<const float* const> by) : rows{of}, inputs{by} {}

  std::span<const row> rows;
  std::span<const float* const>
      inputs; ///< Of each what item_input() made of it; where input_width() is not 0.
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

  /// 0: it knows items by their features alone.
  virtual std::size_t items() const noexcept = 0;

  /// The score of each candidate, in their order; `out` has as many elements.
  virtual void score(const user_context& context, const candidates& of, std::span<float> out) const = 0;

  /// What it wants to be told beside the history.
  virtual const feature_needs& features() const noexcept;

  /// How many numbers it makes of the features of one item, before anybody asks for a score: what is dear in
  /// them (texts to be hashed) is done once for an item, not for every request. 0: it wants none.
  virtual std::size_t input_width() const noexcept { return 0; }

  /// Makes these numbers of an item's features, which are as features().item.
  virtual void item_input(std::span<const feature>, std::span<float>) const {}

  /// Candidates that it scores well within a millisecond: between two such calls somebody may look at the
  /// clock.
  virtual std::size_t batch() const noexcept { return 128; }

  /// Whether a candidate costs it much more than a look into a table or one product of vectors.
  virtual bool dear() const noexcept { return false; }

  /// Whether its scores say anything where nothing is known of the user.
  virtual bool supports_cold_start() const noexcept { return false; }

  /// For each of these items, `most` places of `into` each: those of the history that raised its score most,
  /// heaviest first. Places that are left have weight 0: all of them where the model cannot tell.
  virtual void attributions(const user_context& context, std::span<const row> of, std::size_t most,
                            std::span<reason> into) const;

  /// `into` becomes the items that stand nearest to `item` in the model's own table, nearest first where that
  /// is more than `most`, of which only so many are given; empty where it has none.
  virtual void similar_items(row item, std::size_t most, std::vector<reason>& into) const;

  /// The space in which score = dot product of a user's and an item's vector: its width, 0 where there is
  /// none, the vectors of all items, row-major, and that of a user; empty where nothing is known of the user.
  virtual std::size_t width() const noexcept { return 0; }
  virtual std::vector<float> item_vectors() const { return {}; }
  virtual std::vector<float> user_vector(const user_context&) const { return {}; }
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
expected<std::unique_ptr<scorer>> load_ials(tensor_file weights, fold_in options);

/// item_factors [N,D], item_bias [N], user_factors [M,D]. A user without factors gets the mean of the items
/// of the history; without either the bias alone.
expected<std::unique_ptr<scorer>> load_bpr(tensor_file weights);

struct sasrec_shape {
  std::size_t heads = 1;
  activation between = activation::gelu;
  float norm_epsilon = 1e-5f;
};

/// Self-attention over the history (SASRec; Kang and McAuley 2018) with pre-norm blocks. item_embedding
/// [N,d], position_embedding [L,d]; of each block b block.b.attention_norm,
/// block.b.attention.{query,key,value,output} [d,d], block.b.feed_norm, block.b.feed.in [h,d],
/// block.b.feed.out [d,h]; final_norm: each with .weight and .bias. The newest L items of the history stand
/// at the last positions; positions before them do not exist. score = the last state . item_embedding; 0
/// without history.
expected<std::unique_ptr<scorer>> load_sasrec(tensor_file weights, sasrec_shape shape);

struct two_tower_shape {
  activation between = activation::relu;
  bool normalised = true; ///< The user's vector has length 1, as have those of items.
};

/// The item tower's outputs item_vectors [N,w]; of the user tower history_embedding [N,d], user_embedding
/// [M,d] or none, pooling.query [d] and pooling.recency [L] (the last is the newest item's),
/// user_tower.k.weight and .bias (k = 0, 1, ...). The newest L items of the history are pooled by
/// softmax(query . e + recency), the user's embedding is added where there is one, layers follow. score =
/// user vector . item vector; 0 where nothing is known of the user.
expected<std::unique_ptr<scorer>> load_two_tower(tensor_file weights, two_tower_shape shape);

/// One input of a DCN.
struct dcn_feature {
  enum class entity : std::uint8_t { user, item };
  enum class kind : std::uint8_t { number, category }; ///< A category is a text or a list of them.
  std::string name;                                    ///< "view.feature", or `user` and `item`: their ids.
  entity of = entity::user;
  kind is = kind::number;
  bool logarithm = false; ///< number: sign(x) log(1 + |x|) is taken first.
};

struct dcn_shape {
  std::vector<dcn_feature> features; ///< In the order of the inputs.
  std::vector<std::string> views;    ///< "view@version".
  bool stacked = false;              ///< The deep part follows the cross layers; else it stands beside them.
};

/// Deep and cross network, version 2 (Wang et al. 2021): the logit of a click from features. Inputs: of a
/// number
/// ((x - mean) / deviation cut at +-8, 0) or, where it is missing, (0, 1); of a category the mean of the rows
/// 1 + hash mod (buckets - 1) of its table, row 0 where it is missing. number.mean and number.deviation [F of
/// numbers], embedding.NAME [buckets,e]; cross.l.weight [D,D] and .bias: x' = x0 * (W x + b) + x;
/// deep.k.weight and .bias; head.weight [1, ...] over (cross, deep), or over deep where stacked, and .bias.
expected<std::unique_ptr<scorer>> load_dcn(tensor_file weights, dcn_shape shape);

/// The row of a table of `buckets` rows that a word of a category has. Row 0 is that of what is missing.
std::size_t category_row(std::string_view word, std::size_t buckets) noexcept;

} // namespace troupe::model
