#pragma once

#include "services/ranker/ranking/ranking_state.hpp"

#include <span>

namespace troupe::ranker {

/// The share of the words of both that are in both (Jaccard); 0 where one has none.
double word_overlap(std::span<const word_id> a, std::span<const word_id> b);

/// Gives the pool, of which as many as compete are sorted, the order of the answer: by maximal marginal
/// relevance (Carbonell and Goldstein 1998) among the first 5 n, so that `n` items stand before the others
/// which are good and, by the words of the rules' attribute, unlike each other. Without `mmr` it stays as it
/// is.
void diversify(ranking_state& state);

/// How many of the best may stand before others that are better.
std::size_t competitors(const ranking_state& state);

} // namespace troupe::ranker
