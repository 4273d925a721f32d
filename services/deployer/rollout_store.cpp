#include "services/deployer/rollout_store.hpp"

#include "common/core/hash.hpp"
#include "common/store/packed.hpp"

#include <algorithm>
#include <utility>

namespace troupe::deployer {

namespace {

namespace family {
enum : store::family_id {
  rollouts,  ///< id -> Rollout without decisions
  order,     ///< started (8 bytes) + id -> nothing
  decisions, ///< id 0 number (8 bytes) -> Decision
  facts,     ///< "routing" -> RoutingTable, "window" -> Window
  reports,   ///< gateway -> number of its last report (8 bytes)
  offsets,   ///< partition (4 bytes) -> one past the last record taken (8 bytes)
  answered   ///< hash of a request id (8 bytes) -> an `answer`: of the step under way
};
} // namespace family

constexpr std::size_t most_decisions = 1'000;         ///< Shown at once.
constexpr std::uint64_t most_kept_decisions = 10'000; ///< Of one rollout, the newest.
constexpr std::uint32_t most_listed = 1'000;
constexpr std::uint32_t write_offset_every = 64;
constexpr std::size_t most_early = 100'000; ///< Requests whose clicks may wait for their slates.

using store::packed;
using store::unpacked;

std::string number_key(std::uint64_t number) {
  std::string key;
  store::append_u64(key, number);
  return key;
}

std::string partition_key(std::uint32_t partition) {
  std::string key;
  store::append_u32(key, partition);
  return key;
}

std::string order_key(std::int64_t started, std::string_view id) {
  return number_key(static_cast<std::uint64_t>(started)) + std::string{id};
}

std::string decision_key(std::string_view id, std::uint64_t number) {
  return std::string{id} + '\0' + number_key(number);
}

} // namespace

chunk encode(const routing& from, std::uint64_t version) {
  wire::RoutingTableT out;
  out.version = version;
  for (auto& each : from.arms) {
    auto made = std::make_unique<wire::ArmT>();
    made->name = each.name;
    made->release = each.release;
    made->weight = each.weight;
    out.arms.push_back(std::move(made));
  }
  out.salt = from.salt;
  out.shadow = from.shadow;
  out.rollout = from.rollout;
  out.keep = from.keep;
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::RoutingTable::Pack(builder, &out), "TRPD");
  return chunk::copy({reinterpret_cast<const std::byte*>(builder.GetBufferPointer()), builder.GetSize()});
}

expected<std::unique_ptr<rollout_store>> rollout_store::open(const std::filesystem::path& path) {
  store::options options;
  options.families = {"rollouts", "order", "decisions", "facts", "reports", "offsets", "answered"};
  options.layout = "deployer 1";
  options.cache_bytes = std::size_t{8} << 20;
  options.write_buffer_bytes = std::size_t{16} << 20;
  TROUPE_TRY(db, store::database::open(path, std::move(options)));
  std::unique_ptr<rollout_store> made{new rollout_store{std::move(db)}};
  TROUPE_CHECK(made->load());
  return made;
}

expected<void> rollout_store::load() {
  TROUPE_TRY(kept, db_->find(family::facts, "routing"));
  if (kept) {
    TROUPE_TRY(from, unpacked<wire::RoutingTable>(*kept, "the routing table"));
    table_.version = from.version;
    for (auto& each : from.arms)
      table_.says.arms.push_back({each->name, each->release, each->weight});
    table_.says.salt = from.salt;
    table_.says.shadow = from.shadow;
    table_.says.rollout = from.rollout;
    table_.says.keep = from.keep;
  }
  table_.bytes = encode(table_.says, table_.version);
  TROUPE_TRY(counts, db_->find(family::facts, "window"));
  if (counts) {
    TROUPE_TRY(seen, window::unpacked(*counts));
    seen_ = std::move(seen);
  }
  auto at = db_->scan(family::offsets);
  for (; at.valid(); at.next())
    if (at.key().size() == 4 && at.value().size() == 8)
      offsets_[store::read_u32(at.key())] = store::read_u64(at.value());
  return at.check();
}

expected<std::uint64_t> rollout_store::next_decision(std::string_view id) const {
  auto prefix = std::string{id} + '\0';
  auto at = db_->scan(family::decisions, prefix, store::prefix_end(prefix));
  at.seek_at_or_before(decision_key(id, ~std::uint64_t{0}));
  TROUPE_CHECK(at.check());
  return at.valid() ? store::read_u64(at.key(), at.key().size() - 8) + 1 : 1;
}

expected<void> rollout_store::write(const commit& what) {
  store::write_batch batch;
  batch.put(family::rollouts, what.next.id, packed<wire::Rollout>(to_wire(what.next)));
  batch.put(family::order, order_key(what.next.started, what.next.id), {});
  if (!what.decisions.empty()) {
    TROUPE_TRY(number, next_decision(what.next.id));
    auto next = number;
    for (auto& each : what.decisions)
      batch.put(family::decisions, decision_key(what.next.id, next++), packed<wire::Decision>(each));
    if (next > most_kept_decisions)
      batch.erase_range(family::decisions, decision_key(what.next.id, 0),
                        decision_key(what.next.id, next - most_kept_decisions));
  }
  auto table = table_;
  if (what.publishes) {
    table.says = table_of(what.next);
    ++table.version;
    table.bytes = encode(table.says, table.version);
    batch.put(family::facts, "routing", table.bytes.text());
  }
  std::optional<window> counts;
  if (what.counts_from) {
    counts = window_of(what.next, *what.counts_from);
    counts->routing_version = table.version;
    batch.erase_range(family::answered, {}, std::string(9, '\xff'));
    batch.put(family::facts, "window", counts->packed());
  }
  TROUPE_CHECK(db_->write(batch, store::durability::synced));
  table_ = std::move(table);
  if (counts) {
    seen_ = std::move(*counts);
    early_ = 0;
  }
  return {};
}

std::optional<std::string> rollout_store::newest() const {
  auto at = db_->scan(family::order);
  at.seek_at_or_before(std::string(9, '\xff'));
  return at.valid() ? std::optional{std::string{at.key().substr(8)}} : std::nullopt;
}

expected<rollout> rollout_store::find(std::string_view id) const {
  std::string which{id};
  if (id == "current") {
    auto last = newest();
    if (!last)
      return fail(ec::not_found, "there was no rollout yet");
    which = *last;
  }
  TROUPE_TRY(bytes, db_->find(family::rollouts, which));
  if (!bytes)
    return fail(ec::not_found, "there is no rollout '{}'", id);
  TROUPE_TRY(kept, unpacked<wire::Rollout>(*bytes, fmt::format("rollout {}", which)));
  return from_wire(kept);
}

expected<wire::RolloutT> rollout_store::show(std::string_view id) const {
  TROUPE_TRY(found, find(id));
  auto out = to_wire(found);
  auto prefix = found.id + '\0';
  auto at = db_->scan(family::decisions, prefix, store::prefix_end(prefix));
  at.seek_at_or_before(decision_key(found.id, ~std::uint64_t{0}));
  for (; at.valid() && out.decisions.size() < most_decisions; at.previous()) {
    TROUPE_TRY(each, unpacked<wire::Decision>(at.value(), fmt::format("a decision on {}", found.id)));
    out.decisions.push_back(std::make_unique<wire::DecisionT>(std::move(each)));
  }
  TROUPE_CHECK(at.check());
  std::ranges::reverse(out.decisions);
  return out;
}

expected<wire::RolloutPageT> rollout_store::list(std::string_view before, std::uint32_t limit) const {
  limit = std::clamp<std::uint32_t>(limit == 0 ? 100 : limit, 1, most_listed);
  std::string end;
  if (!before.empty()) {
    TROUPE_TRY(last, find(before));
    end = order_key(last.started, last.id);
  }
  wire::RolloutPageT page;
  auto at = db_->scan(family::order, {}, end);
  for (at.seek_at_or_before(end.empty() ? std::string(9, '\xff') : end); at.valid(); at.previous()) {
    if (page.rollouts.size() == limit)
      return page;
    TROUPE_TRY(each, find(at.key().substr(8)));
    page.rollouts.push_back(std::make_unique<wire::RolloutT>(to_wire(each)));
  }
  TROUPE_CHECK(at.check());
  page.last = true;
  return page;
}

expected<std::uint64_t> rollout_store::count_report(const wire::ArmReport& report, std::int64_t now,
                                                    bool& again) {
  std::string gateway{text_of(report.gateway())};
  TROUPE_TRY(kept, db_->find(family::reports, gateway));
  auto last = kept && kept->size() == 8 ? store::read_u64(*kept) : 0;
  again = report.number() <= last;
  if (again)
    return last + 1;
  auto seen = seen_;
  store::write_batch batch;
  batch.put(family::reports, gateway, number_key(report.number()));
  bool counted = seen.count(report, now);
  if (counted)
    batch.put(family::facts, "window", seen.packed());
  TROUPE_CHECK(db_->write(batch, store::durability::synced));
  if (counted)
    seen_ = std::move(seen);
  return report.number() + 1;
}

expected<rollout_store::answer*> rollout_store::answer_to(std::string_view request, answers& fresh) const {
  auto key = number_key(hash64(request));
  auto [at, is_new] = fresh.try_emplace(key);
  if (is_new) {
    TROUPE_TRY(kept, db_->find(family::answered, key));
    if (kept && kept->size() == 2)
      at->second = {static_cast<std::uint8_t>((*kept)[0]), static_cast<std::uint8_t>((*kept)[1])};
  }
  return &at->second;
}

expected<bool> rollout_store::count(const wire::Record& seen, window& into, answers& fresh) {
  auto request = text_of(seen.request_id());
  if (auto arm = into.count_shown(seen)) {
    if (request.empty())
      return true;
    TROUPE_TRY(to, answer_to(request, fresh));
    to->arm = static_cast<std::uint8_t>(*arm);
    into.count_clicks(*arm, text_of(seen.user()), std::exchange(to->early_clicks, std::uint8_t{0}));
    return true;
  }
  bool click = seen.kind() == wire::RecordKind::event && text_of(seen.type()) == "click";
  if (!click || request.empty() || into.arms.empty() || seen.event_time() < into.begins)
    return false;
  TROUPE_TRY(to, answer_to(request, fresh));
  if (to->arm != answer::no_arm) {
    into.count_clicks(to->arm, text_of(seen.user()), 1);
    return true;
  }
  if (to->early_clicks == 0 && ++early_ > most_early)
    return false;
  to->early_clicks += to->early_clicks < 255;
  return false;
}

expected<std::uint64_t> rollout_store::count_records(std::uint32_t partition, std::span<const batch> batches,
                                                     std::uint64_t end) {
  auto from = offsets_.contains(partition) ? offsets_[partition] : end;
  auto seen = seen_;
  answers fresh;
  std::uint64_t counted = 0;
  for (auto& each : batches)
    for (std::size_t i = 0; i < each.size(); ++i)
      if (auto offset = each.base_offset() + i; offset >= from && offset < end) {
        TROUPE_TRY(counts, count(each[i], seen, fresh));
        counted += counts;
      }
  bool first = !offsets_.contains(partition);
  if (first || counted > 0 || !fresh.empty() || ++unwritten_[partition] >= write_offset_every) {
    store::write_batch batch;
    for (auto& [key, to] : fresh)
      batch.put(family::answered, key,
                std::string{static_cast<char>(to.arm), static_cast<char>(to.early_clicks)});
    batch.put(family::offsets, partition_key(partition), number_key(end));
    if (counted > 0)
      batch.put(family::facts, "window", seen.packed());
    TROUPE_CHECK(db_->write(batch, store::durability::buffered));
    unwritten_[partition] = 0;
  }
  offsets_[partition] = end;
  if (counted > 0)
    seen_ = std::move(seen);
  return counted;
}

} // namespace troupe::deployer
