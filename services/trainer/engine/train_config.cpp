#include "services/trainer/engine/train_config.hpp"

#include <type_traits>

namespace troupe::trainer {

void train_config::bind(config_keys& keys) {
  keys.add("model", model, "What to train.",
           one_of({"popularity", "item_knn", "ease", "ials", "bpr", "sasrec", "two_tower", "dcn"}));
  keys.add("seed", seed, "Of every random number.");
  keys.add("threads", threads, "Of one process; 0: one a processor, divided by the ranks.", between(0, 1024));
  keys.add("memory_cap", memory_cap,
           "Of one process. What a training is about to take is reckoned before its first step and refused "
           "where it "
           "is more; a network that turns out to hold more is ended. Memory of a GPU is not counted.",
           at_least(1 << 20), "bytes");
  keys.add("device", device,
           "Where networks are trained; the same bytes each time are promised on cpu alone.",
           one_of({"cpu", "cuda"}));
  keys.add("evaluation.split", evaluation.split,
           "How a run on the fleet measures its model before it trains on everything: by the last item that "
           "each user took, or not at all.",
           one_of({"leave-last-out", "none"}));
  keys.add("evaluation.users", evaluation.users, "Asked at most; drawn by the seed where there are more.",
           at_least(1));
  keys.add("evaluation.production", evaluation.production,
           "Measure what is in production on the same questions, as the quality gate needs it; a network is "
           "trained once more for that.");
  keys.add("item_knn.neighbours", item_knn.neighbours, "Items that a candidate is compared with.",
           between(1, 100'000));
  keys.add("item_knn.serve_neighbours", item_knn.serve_neighbours,
           "Candidates kept of each item that is taken.", between(1, 100'000));
  keys.add("item_knn.shrink", item_knn.shrink, "Draws similarities with little support to zero.",
           at_least(0));
  keys.add("item_knn.popularity_power", item_knn.popularity_power,
           "How far the recommended item's popularity is divided out: 0.5 is the cosine.", between(0, 1));
  keys.add("item_knn.user_power", item_knn.user_power,
           "How far the length of a user's history is divided out.", between(0, 2));
  keys.add("ease.l2", ease.l2, "Ridge on the weights.", between(1e-6, 1e9));
  keys.add("ease.serve_neighbours", ease.serve_neighbours, "Weights kept of each item.", between(1, 100'000));
  keys.add("ials.dimensions", ials.dimensions, "Of the factors.", between(1, 1024));
  keys.add("ials.iterations", ials.iterations, "Over users and items.", between(1, 10'000));
  keys.add(
      "ials.cg_steps", ials.cg_steps,
      "Of conjugate gradient, a row and iteration. 0: rows are solved exactly, at several times the cost.",
      between(0, 1000));
  keys.add("ials.alpha", ials.alpha, "Weight of what was not taken beside what was.", between(1e-6, 1e3));
  keys.add("ials.regularization", ials.regularization, "Ridge on the factors.", between(0, 1e6));
  keys.add("ials.frequency_power", ials.frequency_power, "How the ridge grows with the length of a row.",
           between(0, 2));
  keys.add("ials.deviation", ials.deviation,
           "Of the first factors, times one over the root of the dimensions.", between(1e-6, 10));
  keys.add("bpr.dimensions", bpr.dimensions, "Of the factors.", between(1, 1024));
  keys.add("bpr.epochs", bpr.epochs, "Passes over the interactions.", between(1, 100'000));
  keys.add("bpr.learning_rate", bpr.learning_rate, "Of the first pass.", between(1e-9, 10));
  keys.add("bpr.last_learning_rate", bpr.last_learning_rate, "Of the last pass; linear between.",
           between(0, 10));
  keys.add("bpr.regularization", bpr.regularization, "Ridge on users and the items taken.", between(0, 10));
  keys.add("bpr.item_regularization", bpr.item_regularization, "Ridge on the items not taken.",
           between(0, 10));
  sasrec.loop.bind(keys, "sasrec");
  keys.add("sasrec.dimensions", sasrec.dimensions, "Of the embeddings; a multiple of heads.",
           between(1, 4096));
  keys.add("sasrec.blocks", sasrec.blocks, "Of the transformer.", between(1, 64));
  keys.add("sasrec.heads", sasrec.heads, "Of the attention.", between(1, 64));
  keys.add("sasrec.feed", sasrec.feed, "Width of the feed-forward layer.", between(1, 65'536));
  keys.add("sasrec.length", sasrec.length, "Newest items that the model looks at.", between(1, 4096));
  keys.add("sasrec.dropout", sasrec.dropout, "Share of the numbers set to zero while training.",
           between(0, 0.95));
  keys.add("sasrec.activation", sasrec.activation, "Of the feed-forward layer.", one_of({"gelu", "relu"}));
  keys.add("sasrec.norm_epsilon", sasrec.norm_epsilon, "Of the layer norms.", between(1e-12, 1));
  keys.add("sasrec.softmax", sasrec.softmax, "Over all items, or over sampled ones with logQ correction.",
           one_of({"full", "sampled"}));
  keys.add("sasrec.negatives", sasrec.negatives, "Items sampled a step.", between(1, 1 << 20));
  keys.add("sasrec.negative_power", sasrec.negative_power,
           "How far items are sampled by popularity: 0 is uniform, 1 by how often they were taken.",
           between(0, 1));
  keys.add("sasrec.recompute", sasrec.recompute,
           "Compute the inside of a block again in the backward pass, to save memory.");
  two_tower.bind(keys);
  dcn.bind(keys);
}

expected<void> train_config::validate() const {
  if (sasrec.dimensions % sasrec.heads != 0)
    return fail(ec::invalid_argument, "sasrec.dimensions = {} is no multiple of sasrec.heads = {}",
                sasrec.dimensions, sasrec.heads);
  return {};
}

std::string train_config::json() const {
  auto copy = *this;
  config_keys keys;
  copy.bind(keys);
  std::string out = fmt::format("{{\"seed\":{}", seed);
  auto mine = model + ".";
  for (auto& key : keys.keys()) {
    // Waiting and saving have no part in what comes out.
    if (!key.name.starts_with(mine) || std::holds_alternative<std::chrono::seconds*>(key.value))
      continue;
    out += fmt::format(",\"{}\":", key.name.substr(mine.size()));
    std::visit(
        [&](auto* value) {
          using type = std::remove_pointer_t<decltype(value)>;
          if constexpr (std::is_arithmetic_v<type>)
            out += fmt::format("{}", *value);
          else if constexpr (std::is_same_v<type, std::string>)
            out += fmt::format("\"{}\"", *value);
          else
            out += "null"; // no key of a model is a duration or a list
        },
        key.value);
  }
  return out + "}";
}

} // namespace troupe::trainer
