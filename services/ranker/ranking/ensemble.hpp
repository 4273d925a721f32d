#pragma once

#include "services/ranker/ranking/candidate.hpp"
#include "services/ranker/ranking/query.hpp"
#include "services/ranker/ranking/scratch.hpp"
#include "services/ranker/release/load.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace troupe::ranker {

/// The models of a release before one request: what each is told of the user, and their scores together. One
/// thread; everything it is made of must outlive it.
class ensemble {
public:
  /// The history in `room`: with the session, oldest first.
  ensemble(const loaded_release& release, const item_snapshot& items, const item_binding& binding,
           const query& asked, ranking_scratch& room);

  const model::user_context& user(std::size_t model) const { return room_.users[model]; }

  /// The user in the space of a model that has one; worked out once. Empty where nothing is known of the
  /// user.
  const std::vector<float>& user_vector(std::size_t model);

  /// True where a model has factors of this very user.
  bool knows_user() const;

  /// Adds to each candidate's score those of all models: each model's scores are brought to mean 0 and
  /// deviation 1 over the candidates it knows, then weighted. Models score in batches; where the deadline
  /// passes between two of them, the candidates left stand at the model's mean and `degraded` says so. Gives
  /// false where no model has said anything of this user.
  ///
  /// Where the rules say `rerank`, dear models score the best of the others alone, in the order of memory;
  /// who is not among these stands behind them.
  bool score(candidate_pool& pool, std::vector<degradation>& degraded);

  /// Says which features of items models want in vain, and where features come from another version of their
  /// view than a model was trained on.
  void check_features(std::vector<degradation>& degraded) const;

private:
  bool score_by(std::size_t model, std::span<candidate> all, std::vector<degradation>& degraded);
  std::span<candidate> best_of(std::span<candidate> all) const;
  void choose(std::size_t model, std::span<const candidate> from);
  void give_inputs(std::size_t model, std::span<const candidate> from);
  void add(std::size_t model, std::span<candidate> to);
  void explain(std::size_t model, std::span<const candidate> all, bool whole);

  const loaded_release& release_;
  const item_snapshot& items_;
  const item_binding& binding_;
  const query& asked_;
  ranking_scratch& room_;
  bool nothing_known_ = true;
};

/// The scores where no model says anything: the order of popularity, live trends before it.
void score_by_popularity(std::span<candidate> pool, const loaded_release& release,
                         const item_snapshot& items);

} // namespace troupe::ranker
