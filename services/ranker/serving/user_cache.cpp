#include "services/ranker/serving/user_cache.hpp"

namespace troupe::ranker {

user_features_ptr user_cache::find(const std::string& key) {
  auto found = places_.find(key);
  if (found == places_.end())
    return nullptr;
  by_use_.splice(by_use_.begin(), by_use_, found->second);
  return found->second->second;
}

void user_cache::put(const std::string& key, user_features_ptr user) {
  if (auto found = places_.find(key); found != places_.end()) {
    found->second->second = std::move(user);
    by_use_.splice(by_use_.begin(), by_use_, found->second);
    return;
  }
  by_use_.emplace_front(key, std::move(user));
  places_.emplace(by_use_.front().first, by_use_.begin());
  if (by_use_.size() > bound_) {
    places_.erase(by_use_.back().first);
    by_use_.pop_back();
  }
}

} // namespace troupe::ranker
