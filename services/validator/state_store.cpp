#include "services/validator/state_store.hpp"

#include <unordered_map>

namespace troupe::validator {

namespace {

enum family : store::family_id { unique_values, profiles };

constexpr std::size_t holder_bytes = 24;

std::string key_of(const hash128& value) {
  std::string key;
  store::append_u64(key, value.high);
  store::append_u64(key, value.low);
  return key;
}

std::string bytes_of(const unique_holder& holder) {
  std::string bytes;
  store::append_u64(bytes, holder.source);
  store::append_u64(bytes, holder.row);
  store::append_u64(bytes, holder.record);
  return bytes;
}

expected<unique_holder> holder_of(std::string_view bytes) {
  if (bytes.size() != holder_bytes)
    return fail(ec::corrupt, "the holder of a unique value has {} bytes, {} are expected", bytes.size(),
                holder_bytes);
  return unique_holder{store::read_u64(bytes), store::read_u64(bytes, 8), store::read_u64(bytes, 16)};
}

} // namespace

expected<std::shared_ptr<store::database>> open_state(const std::filesystem::path& folder,
                                                      std::size_t cache_bytes) {
  store::options with;
  with.families = {"unique", "profile"};
  with.large_values = {"profile"};
  with.point_lookups = {"unique"};
  with.layout = "validator-state 1";
  with.cache_bytes = cache_bytes;
  with.write_buffer_bytes = std::size_t{32} << 20;
  TROUPE_TRY(db, store::database::open(folder, with));
  return std::shared_ptr<store::database>{std::move(db)};
}

expected<std::vector<std::optional<unique_holder>>>
unique_store::claim(std::span<const unique_claim> claims) {
  std::vector<std::string> keys;
  keys.reserve(claims.size());
  for (auto& each : claims)
    keys.push_back(key_of(each.value));
  std::vector<std::string_view> views{keys.begin(), keys.end()};
  TROUPE_TRY(stored, db_->find_many(unique_values, views));
  std::unordered_map<std::string_view, unique_holder> taken_now;
  std::vector<std::optional<unique_holder>> answers(claims.size());
  store::write_batch out;
  for (std::size_t i = 0; i < claims.size(); ++i) {
    if (stored[i]) {
      TROUPE_TRY(holder, holder_of(*stored[i]));
      if (!holder.same_as(claims[i].by))
        answers[i] = holder;
      continue;
    }
    auto [at, first] = taken_now.emplace(views[i], claims[i].by);
    if (first)
      out.put(unique_values, views[i], bytes_of(claims[i].by));
    else if (!at->second.same_as(claims[i].by))
      answers[i] = at->second;
  }
  if (!out.empty())
    TROUPE_CHECK(db_->write(out, durability_));
  return answers;
}

expected<profile_store> profile_store::open(std::shared_ptr<store::database> db, settings with) {
  profile_store made{std::move(db), with};
  auto at = made.db_->scan(profiles);
  for (; at.valid(); at.next()) {
    store::decoder in{at.value()};
    auto each = std::make_unique<entry>();
    each->taken = row_ranges::load(in);
    auto bytes = in.text();
    auto seen = profile::load(bytes);
    if (!in.ok() || !seen)
      return with_context(fmt::format("reading the stored profile of source {}", at.key()),
                          seen ? error{ec::corrupt, "it is malformed"} : std::move(seen).error());
    each->seen = std::move(*seen);
    made.sources_.emplace(at.key(), std::move(each));
  }
  TROUPE_CHECK(at.check());
  return made;
}

expected<void> profile_store::add(batch_place place, const batch& rows, const validation& judged) {
  auto at = sources_.find(place.source);
  if (at == sources_.end()) {
    if (sources_.size() >= settings_.max_sources) {
      not_profiled_ += rows.size();
      return {};
    }
    at = sources_.emplace(std::string{place.source}, std::make_unique<entry>()).first;
  }
  auto& to = *at->second;
  auto end = place.first_row + rows.size();
  bool known = to.taken.touches(place.first_row, end);
  std::uint64_t added = 0;
  auto line = judged.lines.begin();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    bool skip = known && to.taken.contains(place.first_row + i);
    added += skip ? 0 : 1;
    if (!skip && !judged.refused[i])
      to.seen.add(rows[i]);
    for (; line != judged.lines.end() && line->record == i; ++line)
      if (!skip)
        to.seen.add_refused(line->rule);
  }
  to.taken.add(place.first_row, end);
  to.not_written += added;
  return to.not_written > 0 && to.not_written >= settings_.persist_rows ? write(at->first, to)
                                                                        : expected<void>{};
}

expected<void> profile_store::write(const std::string& source, entry& from) {
  store::encoder out;
  from.taken.save(out);
  out.text(from.seen.save());
  TROUPE_CHECK(db_->put(profiles, source, out.bytes(), store::durability::buffered));
  from.not_written = 0;
  return {};
}

expected<void> profile_store::flush() {
  for (auto& [source, each] : sources_)
    if (each->not_written > 0)
      TROUPE_CHECK(write(source, *each));
  return {};
}

expected<profile> profile_store::read(std::string_view source) const {
  profile merged;
  for (auto& [name, each] : sources_)
    if (source.empty() || name == source)
      merged.merge(each->seen);
  if (!source.empty() && !sources_.contains(source))
    return fail(ec::not_found, "no row of source {} was judged here", source);
  return merged;
}

} // namespace troupe::validator
