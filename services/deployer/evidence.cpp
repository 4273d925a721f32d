#include "services/deployer/evidence.hpp"

#include "common/core/hash.hpp"
#include "common/event/slate.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace troupe::deployer {

namespace {

/// Another seed than that of the arms: a bucket says nothing about an arm.
constexpr std::uint64_t bucket_seed = 0x7472'6f75'7065'6465;

std::size_t bucket_of(std::string_view user) {
  return hash64(user, bucket_seed) % user_buckets;
}

auto offsets_of(flatbuffers::FlatBufferBuilder& out, const latency_histogram& from) {
  return std::pair{out.CreateVector(from.bounds), out.CreateVector(from.counts)};
}

latency_histogram histogram_of(const flatbuffers::Vector<std::uint64_t>* bounds,
                               const flatbuffers::Vector<std::uint64_t>* counts) {
  latency_histogram out;
  if (bounds && counts && counts->size() == bounds->size() + 1) {
    out.bounds.assign(bounds->begin(), bounds->end());
    out.counts.assign(counts->begin(), counts->end());
  }
  return out;
}

} // namespace

void latency_histogram::add(const flatbuffers::Vector<std::uint64_t>* their_bounds,
                            const flatbuffers::Vector<std::uint64_t>* their_counts) {
  if (!their_bounds || !their_counts || their_counts->size() != their_bounds->size() + 1 ||
      their_bounds->size() > 1'000 || !std::is_sorted(their_bounds->begin(), their_bounds->end()))
    return;
  if (bounds.empty()) {
    bounds.assign(their_bounds->begin(), their_bounds->end());
    counts.assign(bounds.size() + 1, 0);
  }
  for (std::uint32_t i = 0; i < their_counts->size(); ++i) {
    auto place = bounds.size();
    if (i < their_bounds->size())
      place =
          static_cast<std::size_t>(std::ranges::lower_bound(bounds, their_bounds->Get(i)) - bounds.begin());
    counts[place] += their_counts->Get(i);
  }
}

std::uint64_t latency_histogram::total() const noexcept {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

const arm_evidence* window::find(std::string_view arm) const noexcept {
  for (auto& each : arms)
    if (each.arm == arm)
      return &each;
  return nullptr;
}

std::optional<std::size_t> window::count_shown(const wire::Record& from) {
  if (routing_version == 0 || arms.empty() || from.event_time() < begins)
    return std::nullopt;
  auto seen = slate::from_record(from);
  if (!seen || seen->routing_version != routing_version)
    return std::nullopt;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    if (arms[i].arm != seen->arm || arms[i].release != seen->release)
      continue;
    auto& cell = arms[i].cells[bucket_of(seen->user)];
    cell.impressions += static_cast<std::uint32_t>(seen->items.size());
    bool page = from.kind() == wire::RecordKind::slate;
    cell.answers += page || seen->items.front().position == 1; // Each answer of before has one first item.
    return i;
  }
  return std::nullopt;
}

void window::count_clicks(std::size_t arm, std::string_view user, std::uint32_t clicks) {
  if (arm < arms.size())
    arms[arm].cells[bucket_of(user)].clicks += clicks;
}

bool window::count(const wire::ArmReport& seen, std::int64_t now) {
  if (now < begins)
    return false;
  bool any = false;
  if (seen.arms())
    for (auto* from : *seen.arms())
      for (auto& to : arms)
        if (to.arm == text_of(from->arm()) && to.release == text_of(from->release())) {
          to.answers += from->answers();
          to.errors += std::min(from->errors(), from->answers());
          to.degraded += std::min(from->degraded(), from->answers());
          to.latency.add(from->latency_bounds_us(), from->latency_counts());
          any = true;
        }
  if (seen.shadow() && !shadow.release.empty())
    for (auto* from : *seen.shadow())
      if (text_of(from->release()) == shadow.release && std::isfinite(from->overlap_sum()) &&
          std::isfinite(from->rank_correlation_sum())) {
        shadow.compared += from->compared();
        shadow.errors += from->errors();
        shadow.overlap_sum += from->overlap_sum();
        shadow.correlation_sum += from->rank_correlation_sum();
        shadow.latency.add(from->latency_bounds_us(), from->latency_counts());
        any = true;
      }
  return any;
}

std::string window::packed() const {
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::ArmWindow>> list;
  for (auto& each : arms) {
    std::vector<std::uint32_t> cells;
    cells.reserve(each.cells.size() * 3);
    for (auto& cell : each.cells)
      cells.insert(cells.end(), {cell.answers, cell.impressions, cell.clicks});
    auto name = out.CreateString(each.arm), release = out.CreateString(each.release);
    auto [bounds, counts] = offsets_of(out, each.latency);
    auto packed_cells = out.CreateVector(cells);
    auto seen =
        wire::CreateArmCounts(out, name, release, each.answers, each.errors, each.degraded, bounds, counts);
    list.push_back(wire::CreateArmWindow(out, seen, packed_cells));
  }
  auto release = out.CreateString(shadow.release);
  auto [bounds, counts] = offsets_of(out, shadow.latency);
  auto other = wire::CreateShadowCounts(out, release, shadow.compared, shadow.overlap_sum,
                                        shadow.correlation_sum, shadow.errors, bounds, counts);
  auto id = out.CreateString(rollout);
  auto all = out.CreateVector(list);
  out.Finish(wire::CreateWindow(out, id, step, begins, all, other, routing_version));
  return {reinterpret_cast<const char*>(out.GetBufferPointer()), out.GetSize()};
}

expected<window> window::unpacked(std::string_view bytes) {
  flatbuffers::Verifier verifier{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  if (!verifier.VerifyBuffer<wire::Window>(nullptr))
    return fail(ec::corrupt, "the deployer's counts are damaged");
  auto* from = flatbuffers::GetRoot<wire::Window>(bytes.data());
  window out;
  out.rollout = text_of(from->rollout());
  out.step = from->step();
  out.begins = from->begins();
  out.routing_version = from->routing_version();
  if (from->arms())
    for (auto* each : *from->arms()) {
      auto* seen = each->seen();
      if (!seen || !each->cells() || each->cells()->size() != user_buckets * 3)
        return fail(ec::corrupt, "the deployer's counts of an arm are damaged");
      arm_evidence arm;
      arm.arm = text_of(seen->arm());
      arm.release = text_of(seen->release());
      arm.answers = seen->answers();
      arm.errors = seen->errors();
      arm.degraded = seen->degraded();
      arm.latency = histogram_of(seen->latency_bounds_us(), seen->latency_counts());
      for (std::uint32_t i = 0; i < user_buckets; ++i)
        arm.cells[i] = {each->cells()->Get(3 * i), each->cells()->Get(3 * i + 1),
                        each->cells()->Get(3 * i + 2)};
      out.arms.push_back(std::move(arm));
    }
  if (auto* seen = from->shadow()) {
    out.shadow = {std::string{text_of(seen->release())},
                  seen->compared(),
                  seen->errors(),
                  seen->overlap_sum(),
                  seen->rank_correlation_sum(),
                  histogram_of(seen->latency_bounds_us(), seen->latency_counts())};
  }
  return out;
}

} // namespace troupe::deployer
