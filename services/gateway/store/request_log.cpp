#include "services/gateway/store/request_log.hpp"

namespace troupe::gateway {

std::vector<store_row> request_log::put(const std::string& request_id, std::string inspection,
                                        timestamp now) {
  if (options_.recent > 0) {
    std::lock_guard lock{mutex_};
    order_.push_back(request_id);
    recent_[request_id] = inspection;
    while (order_.size() > options_.recent) {
      recent_.erase(order_.front());
      order_.pop_front();
    }
  }
  std::vector<store_row> out;
  out.push_back({requests, request_id, std::move(inspection)});
  out.push_back({expiry, expiry_key(now + options_.ttl, requests, request_id), {}});
  return out;
}

expected<std::optional<std::string>> request_log::get(const std::string& request_id) const {
  {
    std::lock_guard lock{mutex_};
    if (auto found = recent_.find(request_id); found != recent_.end())
      return found->second;
  }
  return db_->find(requests, request_id);
}

} // namespace troupe::gateway
