#include "services/gateway/store/idempotency_store.hpp"

#include "common/log/log.hpp"

#include <unordered_set>

namespace troupe::gateway {

namespace {

constexpr std::chrono::hours remembered{24};

} // namespace

idempotency_store::idempotency_store(std::shared_ptr<store::database> in)
    : in_{[in](std::span<const std::string_view> ids) { return in->find_many(row_times, ids); },
          [in](store::write_batch& batch) { return in->write(batch, store::durability::buffered); }} {}

std::vector<timestamp> idempotency_store::first_times(std::span<const std::string_view> ids, timestamp now) {
  std::vector<timestamp> out(ids.size(), now);
  if (ids.empty())
    return out;
  std::lock_guard lock{mutex_};
  auto known = in_.read(ids);
  if (!known) {
    log::warn("row-times-unread", "gateway cannot say when rows were first seen: {}", render(known.error()));
    return out;
  }
  store::write_batch fresh;
  std::unordered_set<std::string_view> seen; // A row may stand twice in one request.
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (const auto& kept = (*known)[i]; kept && kept->size() == 8)
      out[i] = from_micros(static_cast<std::int64_t>(store::read_u64(*kept)));
    else if (seen.insert(ids[i]).second) {
      fresh.put(row_times, ids[i], number_key(static_cast<std::uint64_t>(micros_of(now))));
      fresh.put(expiry, expiry_key(now + remembered, row_times, ids[i]), "");
    }
  }
  if (fresh.empty())
    return out;
  if (auto done = in_.write(fresh); !done)
    log::warn("row-times-lost", "gateway cannot keep when rows were first seen: {}", render(done.error()));
  return out;
}

} // namespace troupe::gateway
