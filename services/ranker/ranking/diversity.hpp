#pragma once

#include "services/ranker/ranking/candidate.hpp"

#include <string_view>
#include <vector>

namespace troupe::ranker {

/// The words of an attribute that is a list of them; nullptr where the item has none.
const text_list* words_of(const item_attributes* about, std::string_view attribute);

/// The share of the words of both that are in both (Jaccard); 0 where one has none.
double word_overlap(const text_list* a, const text_list* b);

/// Gives `pool`, best first, the order of the answer: by maximal marginal relevance (Carbonell and Goldstein
/// 1998) among the first 5 n, so that `n` items stand before the others which are good and, by the words of
/// the rules' attribute, unlike each other. Without `mmr` it stays as it is.
std::vector<candidate> diversify(std::vector<candidate> pool, const ruleset& rules, std::size_t n,
                                 bool explain);

} // namespace troupe::ranker
