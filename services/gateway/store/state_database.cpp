#include "services/gateway/store/state_database.hpp"

namespace troupe::gateway {

expected<std::shared_ptr<store::database>> open_state_database(const std::filesystem::path& path) {
  store::options options;
  options.families = {"impressions", "requests", "expiry", "times",
                      "facts"}; // As they were first called on disk.
  options.point_lookups = {"times", "requests"};
  options.layout = "gateway 1";
  TROUPE_TRY(opened, store::database::open(path, std::move(options)));
  return std::shared_ptr<store::database>{std::move(opened)};
}

std::string number_key(std::uint64_t number) {
  std::string key;
  store::append_u64(key, number);
  return key;
}

std::string expiry_key(timestamp when, family of, std::string_view key) {
  auto out = number_key(static_cast<std::uint64_t>(micros_of(when)));
  out += of == requests ? 'r' : 't';
  out += key;
  return out;
}

expected<void> forget_expired(store::database& in, timestamp now) {
  store::write_batch batch;
  auto end = number_key(static_cast<std::uint64_t>(micros_of(now)));
  auto at = in.scan(expiry, {}, end, {.fill_cache = false});
  for (; at.valid() && batch.count() < 200'000; at.next()) {
    auto key = at.key();
    batch.erase(key[8] == 'r' ? requests : row_times, key.substr(9));
    batch.erase(expiry, key);
  }
  TROUPE_CHECK(at.check());
  return batch.empty() ? expected<void>{} : in.write(batch, store::durability::buffered);
}

} // namespace troupe::gateway
