#include "services/feature_store/online/state_engine.hpp"

#include "common/core/hash.hpp"

#include <algorithm>
#include <bit>
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

/// By view: it changes with the entity's own records alone.
std::vector<bool> of_records(const std::vector<feature_view>& views) {
  std::vector<bool> out;
  for (auto& each : views)
    out.push_back(each.sources.empty());
  return out;
}

} // namespace

state_engine::state_engine(std::unique_ptr<store::database> db, std::vector<feature_view> views,
                           engine_options options)
    : db_{std::move(db)}, views_{std::move(views)}, options_{options}, changes_{of_records(views_)},
      applied_(views_.size()) {
  for (auto& view : views_)
    prefixes_.push_back(raw_prefix(view.version));
  for (auto entity : {entity_kind::user, entity_kind::item})
    record_views_[static_cast<std::size_t>(entity)] = find_view(record_view(entity).name);
  for (auto& view : views_)
    open_.emplace_back(view);
  group_views();
}

void state_engine::group_views() {
  std::set<std::string> types;
  for (std::uint32_t v = 0; v < views_.size(); ++v) {
    auto& view = views_[v];
    types.insert(view.sources.begin(), view.sources.end());
    auto group = std::find_if(groups_.begin(), groups_.end(), [&](auto& each) {
      return each.entity == view.entity && each.views.size() < 32;
    });
    if (group == groups_.end())
      group = groups_.insert(group, {view.entity, {}, 0});
    auto bit = static_cast<std::uint32_t>(group->views.size());
    group->views.push_back(v);
    if (std::any_of(view.features.begin(), view.features.end(),
                    [](auto& each) { return each.op->of_entity(); }))
      group->of_own_records |= std::uint32_t{1} << bit;
    places_.push_back({static_cast<std::uint32_t>(group - groups_.begin()), bit});
    all_views_.push_back(v);
  }
  for (auto& name : types) {
    event_type type{name, std::vector<std::uint32_t>(groups_.size())};
    for (std::uint32_t v = 0; v < views_.size(); ++v)
      if (views_[v].has_source(name))
        type.views[places_[v].group] |= std::uint32_t{1} << places_[v].bit;
    types_.push_back(std::move(type));
  }
}

expected<std::unique_ptr<state_engine>> state_engine::open(const std::filesystem::path& path,
                                                           std::vector<feature_view> views,
                                                           engine_options options) {
  if (views.empty())
    return fail(ec::invalid_argument, "cannot open the feature states at {}: there are no views",
                path.string());
  store::options store_options;
  store_options.families = {"state", "meta"};
  store_options.point_lookups = {"state"};
  store_options.layout = "feature-state 1";
  store_options.cache_bytes = options.block_cache_bytes;
  auto db = store::database::open(path, std::move(store_options));
  if (!db)
    return with_context("opening the feature states", std::move(db).error());
  std::unique_ptr<state_engine> made{new state_engine{std::move(*db), std::move(views), options}};
  TROUPE_CHECK(made->load());
  return made;
}

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
  TROUPE_CHECK(db_->write(changes, store::durability::synced));
  auto any = db_->scan(states);
  more_on_disk_ = any.valid();
  return any.check();
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
  return applied(all_views_);
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

std::uint64_t state_engine::hash_of(std::uint32_t group, std::string_view id) noexcept {
  return hash64(id, group);
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
  while (from.entities.bytes() > limit) {
    more_on_disk_ = true;
    if (!from.entities.evict())
      return;
  }
}

entity_block* state_engine::put(shard& in, entity_block* old, std::uint64_t hash, std::uint32_t group,
                                std::string_view id, std::uint32_t known,
                                std::span<const state_change> changes) {
  auto before = old && old->changed != 0 ? old->bytes() : 0;
  auto* fresh = in.entities.put(old, hash, group, id, known, changes);
  if (fresh->changed != 0) {
    in.changed[fresh->changed_at] = fresh;
    changed_bytes_ += fresh->bytes() - before;
  }
  return fresh;
}

std::uint32_t state_engine::views_that_take(const feature_event& from, std::uint32_t group) {
  if (from.kind != record_kind::event) {
    bool same = (from.kind == record_kind::user) == (groups_[group].entity == entity_kind::user);
    return same ? groups_[group].of_own_records : 0;
  }
  if (last_type_ >= types_.size() || types_[last_type_].name != from.type)
    for (last_type_ = 0; last_type_ < types_.size() && types_[last_type_].name != from.type;)
      ++last_type_;
  return last_type_ < types_.size() ? types_[last_type_].views[group] : 0;
}

/// Applies `events_` to these views, each event from the offset given for the view on: sorted by entity, so
/// that a state is opened once.
expected<void> state_engine::apply_events(std::span<const std::uint32_t> views,
                                          std::span<const std::uint64_t> from) {
  struct asked {
    std::uint32_t views = 0;
    std::uint64_t from_all = 0; ///< From here on all of them take an event.
    std::array<std::uint64_t, 32> from{};
  };
  std::vector<asked> of_group(groups_.size());
  for (std::size_t v = 0; v < views.size(); ++v) {
    auto [group, bit] = places_[views[v]];
    auto& of = of_group[group];
    of.views |= std::uint32_t{1} << bit;
    of.from[bit] = from[v];
    of.from_all = std::max(of.from_all, from[v]);
  }
  touches_.clear();
  std::uint64_t used = 0, last_used = ~std::uint64_t{0};
  for (std::uint32_t e = 0; e < events_.size(); ++e) {
    auto& event = events_[e];
    for (std::uint32_t g = 0; g < groups_.size(); ++g) {
      auto takes = views_that_take(event, g) & of_group[g].views;
      if (takes != 0 && event.offset < of_group[g].from_all)
        for (auto left = takes; left != 0; left &= left - 1)
          if (event.offset < of_group[g].from[static_cast<std::size_t>(std::countr_zero(left))])
            takes &= ~(left & -left);
      auto id = event.entity(groups_[g].entity);
      if (takes == 0 || id.empty() || !owns(id))
        continue;
      touches_.push_back({hash_of(g, id), e, g, takes});
      used += std::exchange(last_used, event.offset) != event.offset;
    }
  }
  std::sort(touches_.begin(), touches_.end(), [](auto& a, auto& b) {
    return std::tie(a.hash, a.group, a.event) < std::tie(b.hash, b.group, b.event);
  });
  TROUPE_CHECK(load_untouched());
  std::size_t loaded = 0;
  for (std::size_t begin = 0; begin < touches_.size();) {
    // A few entities of one shard at a time: fetched together, under one lock.
    auto& in = shard_of(touches_[begin].hash);
    auto end = begin;
    std::lock_guard lock{in.mutex};
    for (; end < touches_.size() && end - begin < 32 && &shard_of(touches_[end].hash) == &in; ++end)
      in.entities.prefetch_slot(touches_[end].hash);
    for (auto i = begin; i < end; ++i)
      in.entities.prefetch_block(touches_[i].hash);
    for (; begin < end; begin += run_at(begin).size())
      TROUPE_CHECK(apply_run(run_at(begin), loaded));
  }
  records_ += used;
  return {};
}

/// Of those sorted, the events from this one on that are about the same entity.
std::span<const state_engine::touch> state_engine::run_at(std::size_t begin) const noexcept {
  auto& first = touches_[begin];
  auto end = begin + 1;
  while (end < touches_.size() && touches_[end].hash == first.hash && touches_[end].group == first.group &&
         id_of(touches_[end]) == id_of(first))
    ++end;
  return std::span{touches_}.subspan(begin, end - begin);
}

namespace {

std::uint32_t views_of(std::span<const auto> run) noexcept {
  std::uint32_t all = 0;
  for (auto& each : run)
    all |= each.views;
  return all;
}

} // namespace

/// Reads what `touches_` needs and the memory does not have from disk, all of it at once.
expected<void> state_engine::load_untouched() {
  wanted_.clear();
  loaded_.clear();
  if (!more_on_disk_)
    return {};
  for (std::size_t begin = 0; begin < touches_.size(); begin += run_at(begin).size()) {
    auto& first = touches_[begin];
    auto& in = shard_of(first.hash);
    auto id = id_of(first);
    auto unknown = views_of(run_at(begin));
    {
      std::lock_guard lock{in.mutex};
      if (auto* block = in.entities.find(first.hash, first.group, id))
        unknown &= ~block->known();
    }
    for (; unknown != 0; unknown &= unknown - 1) {
      auto bit = static_cast<std::uint32_t>(std::countr_zero(unknown));
      wanted_.push_back({state_key(groups_[first.group].views[bit], id), begin, bit});
    }
  }
  if (wanted_.empty())
    return {};
  std::vector<std::string_view> keys;
  keys.reserve(wanted_.size());
  for (auto& each : wanted_)
    keys.push_back(each.key);
  loaded_.resize(wanted_.size());
  return db_->visit_many(states, keys, [&](std::size_t i, std::string_view value) { loaded_[i] = value; });
}

/// Applies the events of one entity; its shard is locked. `loaded` is how many of `wanted_` are behind it.
expected<void> state_engine::apply_run(std::span<const touch> run, std::size_t& loaded) {
  auto& first = run.front();
  auto& group = groups_[first.group];
  auto& in = shard_of(first.hash);
  auto id = id_of(first);
  auto* block = in.entities.find(first.hash, first.group, id);
  auto begin = static_cast<std::size_t>(&first - touches_.data());
  auto touched = views_of(run);
  struct part {
    std::uint32_t view;
    std::size_t begin, size;
  };
  std::array<part, 32> parts;
  std::size_t count = 0;
  encoded_.clear();
  while (loaded < wanted_.size() && wanted_[loaded].run < begin)
    ++loaded;
  for (auto left = touched; left != 0; left &= left - 1) {
    auto bit = static_cast<std::uint32_t>(std::countr_zero(left));
    auto& view = views_[group.views[bit]];
    auto& open = open_[group.views[bit]];
    std::string_view before;
    std::optional<std::string> read;
    if (block && (block->known() >> bit & 1)) {
      before = block->state(bit);
    } else if (more_on_disk_) {
      auto at = loaded;
      while (at < wanted_.size() && wanted_[at].run == begin && wanted_[at].bit != bit)
        ++at;
      if (at < wanted_.size() && wanted_[at].run == begin) {
        before = loaded_[at];
      } else { // It has left the memory since.
        TROUPE_TRY(found, db_->find(states, state_key(group.views[bit], id)));
        read = std::move(found);
        before = read ? *read : std::string_view{};
      }
    }
    if (before.empty())
      open.clear();
    else
      TROUPE_CHECK(open.open(view, before));
    for (auto& each : run)
      if (each.views >> bit & 1)
        TROUPE_CHECK(open.apply(view, events_[each.event]));
    auto from = encoded_.size();
    TROUPE_CHECK(open.encode(view, encoded_));
    parts[count++] = {bit, from, encoded_.size() - from};
  }
  std::array<state_change, 32> changes;
  for (std::size_t i = 0; i < count; ++i)
    changes[i] = {parts[i].view, std::string_view{encoded_}.substr(parts[i].begin, parts[i].size)};
  block = put(in, block, first.hash, first.group, id, touched, std::span{changes}.first(count));
  if (block->changed == 0) {
    block->changed_at = static_cast<std::uint32_t>(in.changed.size());
    in.changed.push_back(block);
    changed_bytes_ += block->bytes();
  }
  changed_states_ += static_cast<std::size_t>(std::popcount(touched & ~block->changed));
  block->changed |= touched;
  block->used = true;
  for (std::size_t i = 0; i < count; ++i)
    changes_.note(group.views[parts[i].view], id);
  evict(in);
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
  events_.clear();
  auto take = [&](const feature_event& each) -> expected<void> {
    events_.push_back(each);
    if (each.kind == record_kind::event)
      newest = std::max(newest, each.event_time);
    return {};
  };
  for (std::size_t i = 0; i < records.size(); ++i)
    TROUPE_CHECK(each_feature_event(records[i], partition, base + i, take));
  TROUPE_CHECK(apply_events(views, from));
  watermark_ = newest;
  {
    std::lock_guard lock{applied_mutex_};
    for (auto view : views) {
      auto& offsets = applied_[view];
      if (offsets.size() <= partition)
        offsets.resize(partition + 1);
      offsets[partition] = std::max(offsets[partition], end);
    }
  }
  return changed_states_ >= options_.flush_states || changed_bytes_ >= options_.cache_bytes / 4
           ? flush_locked({})
           : expected<void>{};
}

expected<void> state_engine::apply(const feature_event& from) {
  std::lock_guard writing{writer_};
  events_.assign(1, from);
  TROUPE_CHECK(apply_events(all_views_, std::vector<std::uint64_t>(all_views_.size())));
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
  std::string state_at;
  for (auto& in : shards_) {
    std::lock_guard lock{in.mutex};
    for (auto* each : in.changed)
      for (auto left = each->changed; left != 0; left &= left - 1) {
        auto bit = static_cast<std::uint32_t>(std::countr_zero(left));
        state_at.assign(prefixes_[groups_[each->group()].views[bit]]).append(each->id());
        changes.put(states, state_at, each->state(bit));
      }
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
    return with_context(fmt::format("writing {} feature states", changed()), std::move(written).error());
  // Only now may they leave the memory: a reader that finds them gone reads the disk.
  ++flushes_;
  for (auto& in : shards_) {
    std::lock_guard lock{in.mutex};
    for (auto* each : in.changed)
      each->changed = 0;
    in.changed.clear();
    evict(in);
  }
  changed_states_ = 0;
  changed_bytes_ = 0;
  return {};
}

expected<void> state_engine::visit(std::span<const std::uint32_t> views,
                                   std::span<const std::string_view> ids, const look& look_at) {
  std::array<std::size_t, 32> places;
  for (std::uint32_t g = 0; g < groups_.size(); ++g) {
    std::uint32_t wanted = 0;
    for (std::size_t v = 0; v < views.size(); ++v)
      if (auto [group, bit] = places_[views[v]]; group == g) {
        wanted |= std::uint32_t{1} << bit;
        places[bit] = v;
      }
    if (wanted != 0)
      TROUPE_CHECK(visit_group(g, places, wanted, ids, look_at));
  }
  return {};
}

namespace {

/// Shows the states of an entity under the views wanted.
expected<void> show(const entity_block& block, std::size_t id, std::span<const std::size_t> places,
                    std::uint32_t wanted, const state_engine::look& look_at) {
  for (auto left = wanted & block.held(); left != 0; left &= left - 1) {
    auto bit = static_cast<std::uint32_t>(std::countr_zero(left));
    TROUPE_CHECK(look_at(id, places[bit], block.state(bit)));
  }
  return {};
}

} // namespace

expected<void> state_engine::visit_group(std::uint32_t group, std::span<const std::size_t> places,
                                         std::uint32_t wanted, std::span<const std::string_view> ids,
                                         const look& look_at) {
  auto flushes = flushes_.load();
  // By shard: those of one are fetched together, under one lock.
  std::vector<std::uint64_t> hashes(ids.size());
  std::array<std::uint32_t, shard_count + 1> ends{};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    hashes[i] = hash_of(group, ids[i]);
    ++ends[(hashes[i] >> 59) + 1];
  }
  for (std::size_t s = 0; s < shard_count; ++s)
    ends[s + 1] += ends[s];
  std::vector<std::uint32_t> order(ids.size()), missing;
  for (std::uint32_t i = 0; i < ids.size(); ++i)
    order[ends[hashes[i] >> 59]++] = i;
  std::uint32_t begin = 0;
  for (std::size_t s = 0; s < shard_count; begin = ends[s++]) {
    auto of_shard = std::span{order}.subspan(begin, ends[s] - begin);
    if (of_shard.empty())
      continue;
    auto& in = shards_[s];
    std::lock_guard lock{in.mutex};
    for (auto i : of_shard)
      in.entities.prefetch_slot(hashes[i]);
    for (auto i : of_shard)
      in.entities.prefetch_block(hashes[i]);
    for (auto i : of_shard) {
      auto* block = in.entities.find(hashes[i], group, ids[i]);
      if ((!block || (wanted & ~block->known()) != 0) && more_on_disk_) {
        missing.push_back(i);
        continue;
      }
      ++in.hits;
      if (!block)
        continue;
      block->used = true;
      TROUPE_CHECK(show(*block, i, places, wanted, look_at));
    }
  }
  return missing.empty() ? expected<void>{}
                         : read_missing(group, places, wanted, ids, missing, flushes, look_at);
}

/// Reads entities from disk into the memory, and shows them.
expected<void> state_engine::read_missing(std::uint32_t group, std::span<const std::size_t> places,
                                          std::uint32_t wanted, std::span<const std::string_view> ids,
                                          std::span<const std::uint32_t> missing, std::uint64_t flushes,
                                          const look& look_at) {
  std::vector<std::uint32_t> bits;
  for (auto left = wanted; left != 0; left &= left - 1)
    bits.push_back(static_cast<std::uint32_t>(std::countr_zero(left)));
  std::vector<std::string> keys;
  for (auto i : missing)
    for (auto bit : bits)
      keys.push_back(state_key(groups_[group].views[bit], ids[i]));
  std::vector<std::string_view> views_of_keys{keys.begin(), keys.end()};
  TROUPE_TRY(found, db_->find_many(states, views_of_keys));
  for (std::size_t m = 0; m < missing.size(); ++m) {
    auto id = ids[missing[m]];
    auto hash = hash_of(group, id);
    auto& in = shard_of(hash);
    std::lock_guard lock{in.mutex};
    ++in.misses;
    auto* block = in.entities.find(hash, group, id);
    std::vector<state_change> changes;
    for (std::size_t b = 0; b < bits.size(); ++b) {
      if (block && (block->known() >> bits[b] & 1))
        continue;
      auto at = m * bits.size() + b;
      if (flushes_.load() != flushes) { // What was read may be older than what was written and evicted since.
        TROUPE_TRY(now, db_->find(states, keys[at]));
        found[at] = std::move(now);
      }
      if (found[at])
        changes.push_back({bits[b], *found[at]});
    }
    if (!block && changes.empty())
      continue;
    block = put(in, block, hash, group, id, wanted, changes);
    TROUPE_CHECK(show(*block, missing[m], places, wanted, look_at));
    evict(in);
  }
  return {};
}

changed_entities state_engine::changes(std::string_view since, std::span<const std::uint32_t> views,
                                       bool events, std::size_t limit) {
  if (!changes_.listens(views)) {
    std::lock_guard writing{writer_};
    changes_.listen(views);
  }
  return changes_.since(since, views, events, limit);
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
      std::string content;
      entity_state state{views_[view]};
      TROUPE_CHECK(state.open(views_[view], at.value()));
      TROUPE_CHECK(state.encode(views_[view], content, form::content));
      page.push_back({head + std::string{at.key().substr(16)}, sha256_hex(as_bytes(content))});
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
    std::lock_guard lock{each.mutex};
    out.hits += each.hits;
    out.misses += each.misses;
    out.cached += each.entities.states();
    out.cached_bytes += each.entities.bytes();
  }
  return out;
}

} // namespace troupe::feature_store
