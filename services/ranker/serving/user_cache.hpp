#pragma once

#include "services/ranker/serving/user_features.hpp"

#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace troupe::ranker {

/// The users read last. Bounded; the one unused longest goes first. One thread.
class user_cache {
public:
  explicit user_cache(std::size_t bound) : bound_{bound} {}

  /// null where it is not there.
  user_features_ptr find(const std::string& key);
  void put(const std::string& key, user_features_ptr user);

private:
  std::size_t bound_;
  std::list<std::pair<std::string, user_features_ptr>> by_use_; ///< Used last first.
  std::unordered_map<std::string_view, decltype(by_use_)::iterator> places_;
};

} // namespace troupe::ranker
