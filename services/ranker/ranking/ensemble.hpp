#pragma once

#include "services/ranker/ranking/candidate.hpp"
#include "services/ranker/ranking/query.hpp"
#include "services/ranker/release/load.hpp"

#include <string>
#include <vector>

namespace troupe::ranker {

/// The models of a release before one request: what each is told of the user, and their scores together. One
/// thread; everything it is made of must outlive it.
class ensemble {
public:
  /// `history` with the session, oldest first.
  ensemble(const loaded_release& release, const item_snapshot& items, const query& asked,
           const std::vector<std::string>& history);

  const model::user_context& user(std::size_t model) const { return users_[model]; }

  /// The user in the space of a model that has one; worked out once. Empty where nothing is known of the
  /// user.
  const std::vector<float>& user_vector(std::size_t model);

  /// True where a model has factors of this very user.
  bool knows_user() const;

  /// Adds to each candidate's score those of all models: each model's scores are brought to mean 0 and
  /// deviation 1 over the candidates it knows, then weighted. Models score in micro-batches; where the
  /// deadline passes between two of them, the candidates left stand at the model's mean and `degraded` says
  /// so. Gives false where no model has said anything of this user.
  bool score(std::vector<candidate>& pool, std::vector<std::string>& degraded);

  /// Says which features of items models want in vain, and where features come from another version of their
  /// view than a model was trained on.
  void check_features(std::vector<std::string>& degraded) const;

private:
  struct batch;
  void fill(const loaded_model& model, const std::vector<candidate>& pool, std::size_t from, std::size_t to,
            batch& into) const;

  const loaded_release& release_;
  const item_snapshot& items_;
  const query& asked_;
  bool nothing_known_ = true;
  std::vector<model::user_context> users_;
  std::vector<bool> vector_known_;
  std::vector<std::vector<std::size_t>> item_columns_; ///< Of each model: its features in the snapshot.
};

/// The scores where no model says anything: the order of popularity, live trends before it.
void score_by_popularity(std::vector<candidate>& pool, const loaded_release& release,
                         const item_snapshot& items);

} // namespace troupe::ranker
