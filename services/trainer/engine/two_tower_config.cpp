#include "services/trainer/engine/two_tower_config.hpp"

namespace troupe::trainer {

void two_tower_config::bind(config_keys& keys) {
  keys.add("two_tower.dimensions", dimensions, "Of the embeddings.", between(1, 4096));
  keys.add("two_tower.hidden", hidden, "Of the layer in the middle of each tower; 0: one layer only.",
           between(0, 8192));
  keys.add("two_tower.output", output, "Of the vectors that meet.", between(1, 4096));
  keys.add("two_tower.history", history, "Items of a user looked at: the newest.", between(1, 10'000));
  keys.add(
      "two_tower.context", context,
      "What a user's item is predicted from: the items before it, or, where there is no order, any others.",
      one_of({"before", "others"}));
  keys.add("two_tower.user_embedding", user_embedding, "Learn a vector of each user beside the history.");
  keys.add("two_tower.user_dropout", user_dropout,
           "Share of the samples that do without it, so that new users are served too.", between(0, 1));
  keys.add("two_tower.normalised", normalised, "Vectors of length 1: their product is a cosine.");
  keys.add("two_tower.temperature", temperature, "What products are divided by in the loss.",
           between(1e-4, 100));
  keys.add(
      "two_tower.logq", logq,
      "Take the logarithm of an item's frequency off its score in the loss: as a negative of the batch it "
      "is as frequent as it is popular.");
  keys.add("two_tower.activation", activation, "Between the layers of a tower.", one_of({"relu", "gelu"}));
  loop.bind(keys, "two_tower");
}

} // namespace troupe::trainer
