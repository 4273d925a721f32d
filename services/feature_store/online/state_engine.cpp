#include "services/feature_store/online/state_engine.hpp"

#include "common/core/hash.hpp"

#include <algorithm>
#include <optional>
#include <set>

namespace troupe::feature_store {

namespace {

std::string raw_prefix(const std::string& version) {
  std::string out;
  auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (std::size_t i = 0; i < 32; i += 2)
    out += static_cast<char>(digit(version[i]) * 16 + digit(version[i + 1]));
  return out;
}

constexpr std::uint32_t most_partitions = 4096;

} // namespace

state_engine::state_engine(std::unique_ptr<store::database> db, std::vector<feature_view> views,
                           engine_options options)
    : db_{std::move(db)}, views_{std::move(views)}, options_{options}, applied_(views_.size()) {
  for (auto& view : views_)
    prefixes_.push_back(raw_prefix(view.version));
  for (auto entity : {entity_kind::user, entity_kind::item})
    record_views_[static_cast<std::size_t>(entity)] = find_view(record_view(entity).name);
}

expected<std::unique_ptr<state_engine>> state_engine::open(const std::filesystem::path& path,
                                                           std::vector<feature_view> views,
                                                           engine_options options) {
  if (views.empty())
    return fail(ec::invalid_argument, "cannot open the feature states at {}: there are no views",
                path.string());
  store::options store_options;
  store_options.families = {"state", "meta"};
  store_options.layout = "feature-state 1";
  store_options.cache_bytes = options.block_cache_bytes;
  auto db = store::database::open(path, std::move(store_options));
  if (!db)
    return with_context("opening the feature states", std::move(db).error());
  std::unique_ptr<state_engine> made{new state_engine{std::move(*db), std::move(views), options}};
  TROUPE_CHECK(made->load());
  return made;
}
  store_options.point_lookups = {"state"};

expected<void> state_engine::load() {
  // How the entities are split decides what the states hold: another number of replicas means starting over,
  // as does another format.
  auto layout = fmt::format("{}/{} format {}", options_.replica, options_.replicas, state_format);
  TROUPE_TRY(known_layout, db_->find(meta, "layout"));
  store::write_batch changes;
  bool fresh = known_layout && *known_layout != layout;
  if (fresh) {
    changes.erase_range(states, std::string{}, std::string(40, '\xff'));
    changes.erase_range(meta, "a", "b");
    changes.erase_range(meta, "v", "w");
    changes.erase_range(meta, "x", "y"); // What the caller kept beside states that are gone.
  }
  changes.put(meta, "layout", layout);
  std::set<std::string> in_force{prefixes_.begin(), prefixes_.end()};
  if (!fresh) {
    auto at = db_->scan(meta, "v", "w");
    for (; at.valid(); at.next()) {
      std::string prefix{at.key().substr(1)};
      if (in_force.contains(prefix))
        continue;
      changes.erase_range(states, prefix, store::prefix_end(prefix));
      changes.erase_range(meta, "a" + prefix, store::prefix_end("a" + prefix));
      changes.erase(meta, at.key());
    }
    TROUPE_CHECK(at.check());
    for (std::size_t i = 0; i < views_.size(); ++i) {
      auto from = "a" + prefixes_[i];
      auto offsets = db_->scan(meta, from, store::prefix_end(from));
      for (; offsets.valid(); offsets.next()) {
        auto partition = store::read_u32(offsets.key(), from.size());
        if (offsets.key().size() != from.size() + 4 || offsets.value().size() != 8 ||
            partition >= most_partitions)
          return fail(ec::corrupt, "cannot read how far view {} has come: {} bytes", views_[i].name,
                      offsets.value().size());
        if (applied_[i].size() <= partition)
          applied_[i].resize(partition + 1);
        applied_[i][partition] = store::read_u64(offsets.value());
      }
      TROUPE_CHECK(offsets.check());
    }
    TROUPE_TRY(mark, db_->find(meta, "watermark"));
    if (mark && mark->size() == 8)
      watermark_ = static_cast<std::int64_t>(store::read_u64(*mark));
  }
  for (std::size_t i = 0; i < views_.size(); ++i)
    changes.put(meta, "v" + prefixes_[i], views_[i].name);
  return db_->write(changes, store::durability::synced);
}

std::optional<std::uint32_t> state_engine::find_view(std::string_view name) const noexcept {
  for (std::size_t i = 0; i < views_.size(); ++i)
    if (views_[i].name == name)
      return static_cast<std::uint32_t>(i);
  return std::nullopt;
}

std::uint64_t state_engine::applied(std::uint32_t view, std::uint32_t partition) const {
  std::lock_guard lock{applied_mutex_};
  return partition < applied_[view].size() ? applied_[view][partition] : 0;
}

std::vector<std::uint64_t> state_engine::applied() const {
  std::vector<std::uint32_t> all(views_.size());
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i] = static_cast<std::uint32_t>(i);
  return applied(all);
}

std::vector<std::uint64_t> state_engine::applied(std::span<const std::uint32_t> views) const {
  std::lock_guard lock{applied_mutex_};
  std::size_t partitions = 0;
  for (auto view : views)
    partitions = std::max(partitions, applied_[view].size());
  std::vector<std::uint64_t> least(partitions, ~std::uint64_t{0});
  for (auto view : views)
    for (std::size_t p = 0; p < partitions; ++p)
      least[p] = std::min(least[p], p < applied_[view].size() ? applied_[view][p] : 0);
  return least;
}

std::uint64_t state_engine::hash_of(std::uint32_t view, std::string_view id) noexcept {
  return hash64(id, view);
}

bool state_engine::owns(std::string_view id) const noexcept {
  return options_.replicas == 1 || rendezvous(id, options_.replicas) == options_.replica;
}

std::string state_engine::state_key(std::uint32_t view, std::string_view id) const {
  std::string key;
  key.reserve(16 + id.size());
  return key.append(prefixes_[view]).append(id);
}

void state_engine::evict(shard& from) {
  auto limit = options_.cache_bytes / shard_count;
  for (std::size_t steps = 0; from.bytes > limit && steps < 64 && !from.ring.empty(); ++steps) {
    if (from.hand >= from.ring.size())
      from.hand = 0;
    auto* each = from.ring[from.hand];
    if (each->dirty || each->used) {
      each->used = false;
      ++from.hand;
      continue;
    }
    from.bytes -= each->charged;
    from.ring[from.hand] = from.ring.back();
    from.ring.pop_back();
    from.entries.erase(from.entries.find(probe{each->hash, each->view, each->id}));
  }
}

state_engine::entry& state_engine::insert(shard& into, const probe& key, entity_state state) {
  evict(into);
  auto fresh = std::make_unique<entry>(
      entry{key.hash, key.view, false, true, 0, std::string{key.id}, std::move(state)});
  fresh->charged = sizeof(entry) + fresh->id.capacity() + fresh->state.bytes() + 48;
  into.bytes += fresh->charged;
  into.ring.push_back(fresh.get());
  return **into.entries.insert(std::move(fresh)).first;
}

expected<state_engine::entry*> state_engine::find_or_load(shard& in, const probe& key) {
  if (auto found = in.entries.find(key); found != in.entries.end()) {
    (*found)->used = true;
    ++in.hits;
    return found->get();
  }
  ++in.misses;
  TROUPE_TRY(bytes, db_->find(states, state_key(key.view, key.id)));
  if (!bytes)
    return nullptr;
  TROUPE_TRY(state, entity_state::decode(views_[key.view], *bytes));
  return &insert(in, key, std::move(state));
}

expected<void> state_engine::apply_to(std::uint32_t view, std::string_view id, const feature_event& from) {
  probe key{hash_of(view, id), view, id};
  auto& in = shard_of(key.hash);
  std::lock_guard lock{in.mutex};
  TROUPE_TRY(found, find_or_load(in, key));
  entry* target = found ? found : &insert(in, key, entity_state{views_[view]});
  target->state.apply(views_[view], from);
  if (!target->dirty) {
    target->dirty = true;
    dirty_.push_back(target);
  }
  return {};
}

expected<void> state_engine::apply(std::span<const std::uint32_t> views, const batch& records) {
  std::lock_guard writing{writer_};
  auto partition = records.partition();
  if (partition >= most_partitions)
    return fail(ec::invalid_argument, "partition {} is above {}", partition, most_partitions);
  auto base = records.base_offset(), end = base + records.size();
  std::vector<std::uint64_t> from(views.size());
  for (std::size_t v = 0; v < views.size(); ++v) {
    from[v] = applied(views[v], partition);
    if (base > from[v])
      return fail(ec::conflict,
                  "cannot apply partition {} from offset {} to view {}: offsets from {} on are missing",
                  partition, base, views_[views[v]].name, from[v]);
  }
  auto newest = watermark_.load();
  std::uint64_t used = 0;
  bool taken = false;
  auto take = [&](const feature_event& each) -> expected<void> {
    for (std::size_t v = 0; v < views.size(); ++v) {
      if (each.offset < from[v])
        continue;
      auto id = entity_of(views_[views[v]], each);
      if (id.empty() || !owns(id))
        continue;
      TROUPE_CHECK(apply_to(views[v], id, each));
      taken = true;
    }
    if (each.kind == record_kind::event)
      newest = std::max(newest, each.event_time);
    return {};
  };
  for (std::size_t i = 0; i < records.size(); ++i) {
    taken = false;
    TROUPE_CHECK(each_feature_event(records[i], partition, base + i, take));
    used += taken;
  }
  watermark_ = newest;
  records_ += used;
  {
    std::lock_guard lock{applied_mutex_};
    for (auto view : views) {
      auto& offsets = applied_[view];
      if (offsets.size() <= partition)
        offsets.resize(partition + 1);
      offsets[partition] = std::max(offsets[partition], end);
    }
  }
  return dirty_.size() >= options_.flush_states ? flush_locked({}) : expected<void>{};
}

expected<void> state_engine::apply(const feature_event& from) {
  std::lock_guard writing{writer_};
  for (std::size_t v = 0; v < views_.size(); ++v)
    if (auto id = entity_of(views_[v], from); !id.empty())
      TROUPE_CHECK(apply_to(static_cast<std::uint32_t>(v), id, from));
  ++records_;
  if (from.kind == record_kind::event && from.event_time > watermark_)
    watermark_ = from.event_time;
  return {};
}

expected<void> state_engine::flush(std::span<const std::pair<std::string, std::string>> extra) {
  std::lock_guard writing{writer_};
  return flush_locked(extra);
}

expected<void> state_engine::flush_locked(std::span<const std::pair<std::string, std::string>> extra) {
  store::write_batch changes;
  for (auto* each : dirty_) {
    auto& in = shard_of(each->hash);
    std::lock_guard lock{in.mutex};
    changes.put(states, state_key(each->view, each->id), each->state.encode(views_[each->view]));
  }
  {
    std::lock_guard lock{applied_mutex_};
    for (std::size_t v = 0; v < views_.size(); ++v)
      for (std::size_t p = 0; p < applied_[v].size(); ++p) {
        auto key = "a" + prefixes_[v];
        store::append_u32(key, static_cast<std::uint32_t>(p));
        std::string offset;
        store::append_u64(offset, applied_[v][p]);
        changes.put(meta, key, offset);
      }
  }
  std::string mark;
  store::append_u64(mark, static_cast<std::uint64_t>(watermark_.load()));
  changes.put(meta, "watermark", mark);
  for (auto& [key, value] : extra)
    changes.put(meta, "x" + key, value);
  if (auto written = db_->write(changes, store::durability::buffered); !written)
    return with_context(fmt::format("writing {} feature states", dirty_.size()), std::move(written).error());
  // Only now may they leave the memory: a reader that finds them gone reads the disk.
  ++flushes_;
  for (auto* each : dirty_) {
    auto& in = shard_of(each->hash);
    std::lock_guard lock{in.mutex};
    each->dirty = false;
    auto charged = sizeof(entry) + each->id.capacity() + each->state.bytes() + 48;
    in.bytes += charged - each->charged;
    each->charged = charged;
  }
  dirty_.clear();
  return {};
}

expected<void> state_engine::visit(std::uint32_t view, std::span<const std::string_view> ids,
                                   const std::function<void(std::size_t, entity_state&)>& look) {
  std::vector<std::size_t> missing;
  auto flushes_before = flushes_.load();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    probe key{hash_of(view, ids[i]), view, ids[i]};
    auto& in = shard_of(key.hash);
    std::lock_guard lock{in.mutex};
    auto found = in.entries.find(key);
    if (found == in.entries.end()) {
      missing.push_back(i);
      continue;
    }
    ++in.hits;
    (*found)->used = true;
    look(i, (*found)->state);
  }
  if (missing.empty())
    return {};
  std::vector<std::string> keys;
  std::vector<std::string_view> views_of_keys;
  for (auto i : missing)
    keys.push_back(state_key(view, ids[i]));
  views_of_keys.assign(keys.begin(), keys.end());
  TROUPE_TRY(found, db_->find_many(states, views_of_keys));
  for (std::size_t m = 0; m < missing.size(); ++m) {
    auto i = missing[m];
    probe key{hash_of(view, ids[i]), view, ids[i]};
    auto& in = shard_of(key.hash);
    std::lock_guard lock{in.mutex};
    auto present = in.entries.find(key);
    if (present != in.entries.end()) {
      look(i, (*present)->state);
      continue;
    }
    if (flushes_.load() !=
        flushes_before) { // what was read may be older than what has been written and evicted since
      TROUPE_TRY(entry, find_or_load(in, key));
      if (entry)
        look(i, entry->state);
      continue;
    }
    ++in.misses;
    if (!found[m])
      continue;
    TROUPE_TRY(state, entity_state::decode(views_[view], *found[m]));
    look(i, insert(in, key, std::move(state)).state);
  }
  return {};
}

expected<std::vector<std::string>> state_engine::ids(std::span<const std::uint32_t> views,
                                                     std::string_view after, std::size_t limit, bool& last) {
  TROUPE_CHECK(flush());
  auto snapshot = db_->take_snapshot();
  std::vector<store::cursor> cursors;
  for (auto view : views) {
    auto from = state_key(view, after);
    if (!after.empty())
      from += '\0';
    cursors.push_back(db_->scan(states, from, store::prefix_end(prefixes_[view]), {&snapshot, false, 0}));
  }
  auto id_at = [](const store::cursor& at) { return at.key().substr(16); };
  std::vector<std::string> found;
  for (;;) {
    std::optional<std::string> least;
    for (auto& at : cursors)
      if (at.valid() && (!least || id_at(at) < *least))
        least = std::string{id_at(at)};
    last = !least;
    if (!least || found.size() == limit)
      break;
    for (auto& at : cursors)
      if (at.valid() && id_at(at) == *least)
        at.next();
    found.push_back(std::move(*least));
  }
  for (auto& at : cursors)
    TROUPE_CHECK(at.check());
  return found;
}

expected<std::vector<state_engine::raw_state>> state_engine::dump(std::string_view after, std::size_t limit,
                                                                  bool& last) {
  TROUPE_CHECK(flush());
  // Views in the order of their names, so that the pages do not depend on hashes.
  std::vector<std::size_t> order(views_.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return views_[a].name < views_[b].name; });
  std::vector<raw_state> page;
  last = false;
  auto snapshot = db_->take_snapshot();
  bool reached = after.empty();
  for (auto view : order) {
    auto head = views_[view].name + "@" + views_[view].version.substr(0, 12) + "/";
    std::string from = prefixes_[view];
    if (!reached) {
      if (!after.starts_with(head))
        continue;
      reached = true;
      from += after.substr(head.size());
      from += '\0';
    }
    auto at = db_->scan(states, from, store::prefix_end(prefixes_[view]), {&snapshot, false, 0});
    for (; at.valid(); at.next()) {
      if (page.size() == limit)
        return page;
      TROUPE_TRY(state, entity_state::decode(views_[view], at.value()));
      page.push_back({head + std::string{at.key().substr(16)},
                      sha256_hex(as_bytes(state.encode(views_[view], form::content)))});
    }
    TROUPE_CHECK(at.check());
  }
  last = true;
  return page;
}

engine_counters state_engine::counters() const {
  engine_counters out;
  out.records = records_;
  out.flushes = flushes_;
  for (auto& each : shards_) {
    std::lock_guard lock{const_cast<std::mutex&>(each.mutex)};
    out.hits += each.hits;
    out.misses += each.misses;
    out.cached += each.entries.size();
    out.cached_bytes += each.bytes;
  }
  return out;
}

} // namespace troupe::feature_store
