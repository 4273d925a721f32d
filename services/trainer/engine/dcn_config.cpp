#include "services/trainer/engine/dcn_config.hpp"

namespace troupe::trainer {

void dcn_config::bind(config_keys& keys) {
  keys.add(
      "dcn.training_set", training_set,
      "A training set: the name that the feature store keeps it by (`troupe training-set build`), or the "
      "absolute path of its folder on the machine of the trainer.");
  keys.add("dcn.label", label, "Column that says how a row ended; a row without a value ended badly.");
  keys.add("dcn.positive_at_least", positive_at_least, "From this value of it on a row is a good one.");
  keys.add("dcn.ids", ids, "Learn of users and items by their ids too, not by their features alone.");
  keys.add("dcn.dimensions", dimensions, "Of the embeddings of categories.", between(1, 1024));
  keys.add("dcn.buckets", buckets, "Rows of the table of each category; words share them by hash.",
           between(2, 10'000'000));
  keys.add("dcn.cross_layers", cross_layers, "Crosses of up to one feature more than layers.",
           between(1, 16));
  keys.add("dcn.deep_layers", deep_layers, "Of the deep part.", between(1, 16));
  keys.add("dcn.hidden", hidden, "Width of the deep part.", between(1, 8192));
  keys.add("dcn.structure", structure, "The deep part stands beside the cross layers or follows them.",
           one_of({"parallel", "stacked"}));
  keys.add("dcn.validation", validation, "Share of the rows, by time, to stop early by.", between(0, 0.5));
  keys.add("dcn.test", test, "Share of the rows, the newest, that the model is measured on.",
           between(0, 0.5));
  loop.bind(keys, "dcn");
}

} // namespace troupe::trainer
