#pragma once

#include "services/ranker/ranking/query.hpp"
#include "services/ranker/serving/user_features.hpp"

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include "schemas/ranker_generated.h"

#include <string>
#include <string_view>
#include <vector>

namespace troupe::ranker {

/// An item that the caller has written before.
struct written_item {
  std::string_view item;
  wire::ItemChange change = wire::ItemChange::written;
};

/// A request of kind rank or similar, without what the feature store and the clock know. Its texts lie in
/// `payload`.
struct rank_request {
  chunk payload;
  std::string_view release;
  std::string_view similar_to; ///< similar: the item. Empty: rank.
  query asked;
  std::vector<wire::PartitionOffset> min_offsets;
  std::vector<written_item> written; ///< Items that `min_offsets` are about...
  bool written_more = false;         ///< ...and there are others.
};

/// Verify and read. Fail with ec::corrupt on bytes that are no such request, ec::invalid_argument on more
/// than 1,000 items or a filter on an attribute that is not in `readable`, ec::unsupported_version on an
/// operation that is not known here.
expected<rank_request> decode_rank(const chunk& payload, const std::vector<std::string>& readable);
expected<rank_request> decode_similar(const chunk& payload, const std::vector<std::string>& readable);

/// The user of a request of kind rank, of which no more is verified than it takes to read that; empty where
/// it has none or is no such request. Good as long as the payload is.
std::string_view peek_user(const chunk& payload);

/// The bytes of a wire::RankReply. `explained`: the features of the user to show, or null; `space`: of the
/// items of the history.
chunk encode_ranking(const ranking& answer, const std::string& release, const user_features* explained,
                     const item_space* space, deadline::clock::time_point now);

} // namespace troupe::ranker
