#pragma once

#include "services/trainer/engine/neural/task.hpp"
#include "services/trainer/engine/train_config.hpp"

namespace troupe::trainer::neural {

/// SASRec (Kang and McAuley, 2018): a causal transformer over what a user took, trained to give the next item
/// by full softmax (Klenitskiy and Vasilev, 2023) or by sampled softmax with logQ correction (Bengio and
/// Senecal, 2008). Pre-norm blocks; the score of an item is its embedding's product with the last state.
///
/// A sample is a window of up to `length` steps of one user, so that every step is learnt once an epoch.
///
/// Weights, all float32: item_embedding [items, d]; position_embedding [length, d], the last row for the
/// newest item; for each block b `block.b.attention_norm`, `block.b.attention.{query,key,value,output}` [d,
/// d], `block.b.feed_norm`, `block.b.feed.in` [h, d], `block.b.feed.out` [d, h], each with `.weight` and
/// `.bias`; final_norm.{weight,bias} [d].
expected<std::unique_ptr<task>> make_sasrec(const train_config& config, const interactions& data,
                                            std::span<const ranking_case> validation);

expected<std::unique_ptr<scorer>> open_sasrec(std::shared_ptr<const trained_model> model);

} // namespace troupe::trainer::neural
