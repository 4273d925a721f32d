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

/// A flush copies them twice: into the batch, and into what RocksDB has not yet made files of.
constexpr std::size_t most_changed_bytes = std::size_t{64} << 20;

/// How long after its newest event a state of the view may give a value; for ever where there is no ttl, or a
/// feature that forgets nothing.
std::optional<std::int64_t> reach_of(const feature_view& view) {
  if (!view.ttl)
    return std::nullopt;
  auto reach = view.ttl->count();
  for (auto& each : view.features) {
    if (each.op->of_entity() || !each.op->forgets(each))
      return std::nullopt;
    if (auto hop = each.hop.count(); hop > 0) {
      auto end = hop - 1; // Of a tile: from there the first that is seen lies the furthest back.
      reach = std::max(reach, end - each.op->first_tile(each, end) * hop);
    }
  }
  return reach;
}

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
      return each.entity == view.entity && each.views.size() < entity_table::views_per_group;
    });
    if (group == groups_.end())
      group = groups_.insert(group, {view.entity, {}});
    auto bit = static_cast<std::uint32_t>(group->views.size());
    group->views.push_back(v);
    places_.push_back({static_cast<std::uint32_t>(group - groups_.begin()), bit});
    reaches_.push_back(reach_of(view));
    all_views_.push_back(v);
  }
  auto add_type = [this](const std::string& name, record_kind kind) {
    event_type type{name, std::vector<std::uint32_t>(groups_.size()), {}};
    for (std::uint32_t v = 0; v < views_.size(); ++v) {
      auto& view = views_[v];
      bool own = (kind == record_kind::user) == (view.entity == entity_kind::user);
      bool looks = kind == record_kind::event ? view.has_source(name) : own;
      type.features.push_back(looks ? features_that_take(view, kind, name) : std::vector<std::uint16_t>{});
      // An event that no feature takes is the newest of its entity all the same.
      if (kind == record_kind::event ? looks : !type.features.back().empty())
        type.views[places_[v].group] |= std::uint32_t{1} << places_[v].bit;
    }
    types_.push_back(std::move(type));
  };
  add_type("", record_kind::user);
  add_type("", record_kind::item);
  for (auto& name : types)
    add_type(name, record_kind::event);
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
  auto before = old && old->changed() != 0 ? old->bytes() : 0;
  auto* fresh = in.entities.put(old, hash, group, id, known, changes);
  if (fresh->changed() != 0) {
    in.changed[fresh->changed_at] = fresh;
    changed_bytes_ += fresh->bytes() - before;
  }
  return fresh;
}

/// In `types_`; behind them where no view takes it.
std::size_t state_engine::type_of(const feature_event& from) {
  if (from.kind != record_kind::event)
    return from.kind == record_kind::user ? 0 : 1;
  if (last_type_ < 2 || last_type_ >= types_.size() || types_[last_type_].name != from.type)
    for (last_type_ = 2; last_type_ < types_.size() && types_[last_type_].name != from.type;)
      ++last_type_;
  return last_type_;
}

/// Applies `events_` to these views, each event from the offset given for the view on. All events for an
/// entity are applied at once, so that a state is opened once.
expected<void> state_engine::apply_events(std::span<const std::uint32_t> views,
                                          std::span<const std::uint64_t> from) {
  asked_.assign(groups_.size(), {});
  for (std::size_t v = 0; v < views.size(); ++v) {
    auto [group, bit] = places_[views[v]];
    auto& of = asked_[group];
    of.views |= std::uint32_t{1} << bit;
    of.from[bit] = from.empty() ? 0 : from[v];
    of.from_all = std::max(of.from_all, of.from[bit]);
  }
  auto used = group_events();
  order_runs();
  TROUPE_CHECK(load_untouched());
  std::size_t loaded = 0;
  for (std::size_t begin = 0; begin < order_.size();) {
    // A few entities of one shard at a time: fetched together, under one lock.
    auto& in = shard_of(runs_[order_[begin]].hash);
    auto end = begin;
    std::lock_guard lock{in.mutex};
    for (; end < order_.size() && end - begin < 16 && &shard_of(runs_[order_[end]].hash) == &in; ++end)
      in.entities.prefetch_slot(runs_[order_[end]].hash);
    for (auto i = begin; i < end; ++i)
      in.entities.prefetch_block(runs_[order_[i]].hash);
    for (; begin < end; ++begin)
      if (auto done = apply_run(begin, loaded); !done) {
        if (begin == 0) // Nothing has changed: it can be tried again.
          return done;
        half_applied_ = std::move(done).error();
        return check_whole();
      }
  }
  records_ += used;
  return {};
}

/// Under writer_.
expected<void> state_engine::check_whole() const {
  if (!half_applied_)
    return {};
  return fail(half_applied_->code,
              "some entities have records of a batch that others do not have: nothing is applied or written "
              "until the feature store is started again, which applies the batch to what is on disk: {}",
              half_applied_->text);
}

/// Gathers `events_` by entity. Gives how many records were for anybody.
std::uint64_t state_engine::group_events() {
  touches_.clear();
  runs_.clear();
  run_slots_.assign(std::bit_ceil(events_.size() * groups_.size() * 2 + 2), 0);
  struct last {
    std::string_view id;
    std::uint32_t run = 0;
  };
  std::array<last, 2> before{}; // Items of a slate are of one user: their ids are the same bytes.
  std::uint64_t used = 0, last_used = ~std::uint64_t{0};
  for (std::uint32_t e = 0; e < events_.size(); ++e) {
    auto& event = events_[e];
    auto type = type_of(event);
    if (type == types_.size())
      continue;
    for (std::uint32_t g = 0; g < groups_.size(); ++g) {
      auto& asked = asked_[g];
      auto takes = types_[type].views[g] & asked.views;
      if (takes != 0 && event.offset < asked.from_all)
        for (auto left = takes; left != 0; left &= left - 1)
          if (event.offset < asked.from[static_cast<std::size_t>(std::countr_zero(left))])
            takes &= ~(left & -left);
      auto id = event.entity(groups_[g].entity);
      if (takes == 0 || id.empty())
        continue;
      auto* known = g < before.size() ? &before[g] : nullptr;
      if (!known || known->id.data() != id.data() || known->id.size() != id.size()) {
        if (!owns(id))
          continue;
        auto& run = run_of(hash_of(g, id), g, id);
        if (known)
          *known = {id, static_cast<std::uint32_t>(&run - runs_.data())};
        add_touch(run, {e, static_cast<std::uint32_t>(type), takes, no_touch});
      } else {
        add_touch(runs_[known->run], {e, static_cast<std::uint32_t>(type), takes, no_touch});
      }
      used += std::exchange(last_used, event.offset) != event.offset;
    }
  }
  return used;
}

void state_engine::add_touch(entity_run& run, const touch& fresh) {
  auto at = static_cast<std::uint32_t>(touches_.size());
  touches_.push_back(fresh);
  if (run.first == no_touch)
    run.first = at;
  else
    touches_[run.last].next = at;
  run.last = at;
  run.views |= fresh.views;
}

/// The run of an entity, made where there is none.
state_engine::entity_run& state_engine::run_of(std::uint64_t hash, std::uint32_t group, std::string_view id) {
  auto mask = run_slots_.size() - 1;
  for (auto at = hash & mask;; at = (at + 1) & mask) {
    auto& slot = run_slots_[at];
    if (slot == 0) {
      slot = static_cast<std::uint32_t>(runs_.size() + 1);
      return runs_.emplace_back(entity_run{hash, group, 0, no_touch, no_touch});
    }
    auto& run = runs_[slot - 1];
    if (run.hash == hash && run.group == group && id_of(run) == id)
      return run;
  }
}

void state_engine::order_runs() {
  std::array<std::uint32_t, shard_count + 1> ends{};
  for (auto& each : runs_)
    ++ends[(each.hash >> 59) + 1];
  for (std::size_t s = 0; s < shard_count; ++s)
    ends[s + 1] += ends[s];
  order_.resize(runs_.size());
  for (std::uint32_t i = 0; i < runs_.size(); ++i)
    order_[ends[runs_[i].hash >> 59]++] = i;
}

/// Reads what the runs need and the memory does not have from disk, all of it at once.
expected<void> state_engine::load_untouched() {
  wanted_.clear();
  loaded_.clear();
  if (!more_on_disk_)
    return {};
  for (std::size_t at = 0; at < order_.size(); ++at) {
    auto& run = runs_[order_[at]];
    auto& in = shard_of(run.hash);
    auto id = id_of(run);
    auto unknown = run.views;
    {
      std::lock_guard lock{in.mutex};
      if (auto* block = in.entities.find(run.hash, run.group, id))
        unknown &= ~block->known();
    }
    for (; unknown != 0; unknown &= unknown - 1) {
      auto bit = static_cast<std::uint32_t>(std::countr_zero(unknown));
      wanted_.push_back({state_key(groups_[run.group].views[bit], id), at, bit});
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
expected<void> state_engine::apply_run(std::size_t at, std::size_t& loaded) {
  auto& run = runs_[order_[at]];
  auto& group = groups_[run.group];
  auto& in = shard_of(run.hash);
  auto id = id_of(run);
  auto* block = in.entities.find(run.hash, run.group, id);
  struct part {
    std::uint32_t view;
    std::size_t begin, size;
  };
  std::array<part, entity_table::views_per_group> parts;
  std::size_t count = 0;
  encoded_.clear();
  while (loaded < wanted_.size() && wanted_[loaded].run < at)
    ++loaded;
  for (auto left = run.views; left != 0; left &= left - 1) {
    auto bit = static_cast<std::uint32_t>(std::countr_zero(left));
    auto& view = views_[group.views[bit]];
    auto& open = open_[group.views[bit]];
    std::string_view before;
    std::optional<std::string> read;
    if (block && (block->known() >> bit & 1)) {
      before = block->state(bit);
    } else if (more_on_disk_) {
      auto place = loaded;
      while (place < wanted_.size() && wanted_[place].run == at && wanted_[place].bit != bit)
        ++place;
      if (place < wanted_.size() && wanted_[place].run == at) {
        before = loaded_[place];
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
    for (auto each = run.first; each != no_touch; each = touches_[each].next)
      if (touches_[each].views >> bit & 1)
        TROUPE_CHECK(open.apply(view, events_[touches_[each].event],
                                types_[touches_[each].type].features[group.views[bit]]));
    auto from = encoded_.size();
    TROUPE_CHECK(open.encode(view, encoded_));
    parts[count++] = {bit, from, encoded_.size() - from};
  }
  std::array<state_change, entity_table::views_per_group> changes;
  for (std::size_t i = 0; i < count; ++i)
    changes[i] = {parts[i].view, std::string_view{encoded_}.substr(parts[i].begin, parts[i].size)};
  block = put(in, block, run.hash, run.group, id, run.views, std::span{changes}.first(count));
  if (block->changed() == 0) {
    block->changed_at = static_cast<std::uint32_t>(in.changed.size());
    in.changed.push_back(block);
    changed_bytes_ += block->bytes();
  }
  changed_states_ += static_cast<std::size_t>(std::popcount(run.views & ~block->changed()));
  block->set_changed(block->changed() | run.views);
  block->used = true;
  for (std::size_t i = 0; i < count; ++i)
    changes_.note(group.views[parts[i].view], id);
  evict(in);
  return {};
}

expected<void> state_engine::apply(std::span<const std::uint32_t> views, const batch& records) {
  std::lock_guard writing{writer_};
  TROUPE_CHECK(check_whole());
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
  return changed_states_ >= options_.flush_states ||
                 changed_bytes_ >= std::min(options_.cache_bytes / 4, most_changed_bytes)
             ? flush_locked({})
             : expected<void>{};
}

expected<void> state_engine::apply(const feature_event& from) {
  std::lock_guard writing{writer_};
  TROUPE_CHECK(check_whole());
  events_.assign(1, from);
  TROUPE_CHECK(apply_events(all_views_, {}));
  if (from.kind == record_kind::event && from.event_time > watermark_)
    watermark_ = from.event_time;
  return {};
}

expected<void> state_engine::flush(std::span<const std::pair<std::string, std::string>> extra) {
  std::lock_guard writing{writer_};
  return flush_locked(extra);
}

expected<void> state_engine::flush_locked(std::span<const std::pair<std::string, std::string>> extra) {
  TROUPE_CHECK(check_whole());
  store::write_batch changes;
  std::string state_at;
  for (auto& in : shards_) {
    std::lock_guard lock{in.mutex};
    for (auto* each : in.changed)
      for (auto left = each->changed(); left != 0; left &= left - 1) {
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
      each->set_changed(0);
    in.changed.clear();
    evict(in);
  }
  changed_states_ = 0;
  changed_bytes_ = 0;
  return {};
}

expected<void> state_engine::visit(std::span<const std::uint32_t> views,
                                   std::span<const std::string_view> ids, const look& look_at) {
  std::array<std::size_t, entity_table::views_per_group> places;
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
  if (ids.size() == 1) { // Training sets and callers who serve one user ask so: nothing need be sorted.
    auto hash = hash_of(group, ids[0]);
    auto& in = shard_of(hash);
    std::unique_lock lock{in.mutex};
    auto* block = in.entities.find(hash, group, ids[0]);
    if ((!block || (wanted & ~block->known()) != 0) && more_on_disk_) {
      lock.unlock();
      std::uint32_t only = 0;
      return read_missing(group, places, wanted, ids, {&only, 1}, flushes, look_at);
    }
    ++in.hits;
    if (!block)
      return {};
    block->used = true;
    return show(*block, 0, places, wanted, look_at);
  }
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

expected<std::size_t> state_engine::expire(std::int64_t now, std::size_t most) {
  std::lock_guard writing{writer_};
  store::write_batch gone;
  std::size_t dropped = 0, looked = 0;
  auto at = db_->scan(states, expire_from_, {}, {nullptr, false, 0});
  for (; at.valid() && looked < most; ++looked) {
    auto v = static_cast<std::uint32_t>(
        std::find(prefixes_.begin(), prefixes_.end(), at.key().substr(0, 16)) - prefixes_.begin());
    if (v == views_.size() || !reaches_[v]) { // Nothing of this view goes: on to the next.
      auto next = store::prefix_end(at.key().substr(0, 16));
      at.seek(next.empty() ? std::string(17, '\xff') : next);
      continue;
    }
    if (auto newest = newest_of(at.value()); newest != never && newest < now - *reaches_[v]) {
      auto [group, bit] = places_[v];
      auto id = at.key().substr(16);
      auto hash = hash_of(group, id);
      auto& in = shard_of(hash);
      std::lock_guard lock{in.mutex};
      auto* block = in.entities.find(hash, group, id);
      bool here = block && (block->known() >> bit & 1);
      if (!here || (block->changed() >> bit & 1) == 0) { // Else it is newer than what is on disk.
        state_change none{bit, {}};
        if (here)
          put(in, block, hash, group, id, 0, {&none, 1});
        gone.erase(states, at.key());
        ++dropped;
      }
    }
    at.next();
  }
  TROUPE_CHECK(at.check());
  expire_from_ = at.valid() ? std::string{at.key()} : std::string{};
  if (dropped > 0) {
    TROUPE_CHECK(db_->write(gone, store::durability::buffered));
    ++flushes_; // What a reader has read from disk meanwhile it reads again.
  }
  return dropped;
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
      // When it is dropped depends on when states are written, not on the records alone.
      if (auto newest = newest_of(at.value());
          reaches_[view] && newest != never && newest < watermark_ - *reaches_[view])
        continue;
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
