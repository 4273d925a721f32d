#pragma once

#include "services/ranker/ranking/ranking_state.hpp"

#include <span>

namespace troupe::ranker {

/// Says what is to be searched for the nearest items of the state's user: vectors, and which rows may be
/// found. Nothing where the request names its candidates.
void plan_nearest(ranking_state& state);

/// Searches what states of one release have planned, all in one pass over each model's items.
void search_nearest(std::span<ranking_state* const> states);

/// Fills the pool: with the candidates of the request where it names some, else with those of the sources
/// that the rules name, nearest ones as they were found. Popular items stand in where these give too little
/// to answer and explore.
void gather_candidates(ranking_state& state);

/// Fills the pool with items like `item`, scored by how like they are.
void gather_similar(ranking_state& state, item_ord item);

/// Counts what the nearest ones would have been, had all been allowed: an answer that is short says what was
/// left out of it.
void consider_nearest(ranking_state& state);

} // namespace troupe::ranker
