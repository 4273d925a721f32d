#pragma once

#include "services/ranker/ranking/ranking_state.hpp"

#include <string>

namespace troupe::ranker {

/// Fills the pool: with the candidates of the request where it names some, else with those of the sources
/// that the rules name. Popular items stand in where these give too little to answer and explore.
void gather_candidates(ranking_state& state);

/// Fills the pool with items like `item`, scored by how like they are.
void gather_similar(ranking_state& state, const std::string& item);

} // namespace troupe::ranker
