#include "services/feature_store/online/change_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <random>
#include <unordered_set>
#include <utility>

namespace troupe::feature_store {

namespace {

/// A place as it travels: the epoch, and the last change that is known, of own records and of events.
using place_parts = std::array<std::uint64_t, 3>;

std::string write_place(const place_parts& parts) {
  return fmt::format("{:x}.{}.{}", parts[0], parts[1], parts[2]);
}

std::optional<place_parts> read_place(std::string_view text) {
  place_parts parts{};
  auto* at = text.data();
  auto* end = at + text.size();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0 && (at == end || *at++ != '.'))
      return std::nullopt;
    auto [rest, problem] = std::from_chars(at, end, parts[i], i == 0 ? 16 : 10);
    if (problem != std::errc{})
      return std::nullopt;
    at = rest;
  }
  return at == end ? std::optional{parts} : std::nullopt;
}

std::uint64_t random_epoch() {
  std::random_device random;
  return std::uint64_t{random()} << 32 | random();
}

} // namespace

change_log::change_log(std::vector<bool> of_records, std::size_t most)
    : epoch_{random_epoch()}, most_{most}, views_(of_records.size()) {
  for (std::size_t i = 0; i < views_.size(); ++i)
    views_[i].of_records = of_records[i];
}

bool change_log::listens(std::span<const std::uint32_t> views) const {
  std::lock_guard lock{mutex_};
  return std::all_of(views.begin(), views.end(), [&](auto view) { return views_[view].listened; });
}

void change_log::listen(std::span<const std::uint32_t> views) {
  std::lock_guard lock{mutex_};
  for (auto view : views)
    if (auto& each = views_[view]; !each.listened) {
      each.listened = true;
      each.forgotten = ++last_; // A place from before does not know what this view has changed by now.
    }
}

void change_log::note(std::uint32_t view, std::string_view id) {
  auto& in = views_[view];
  if (!in.listened)
    return;
  std::lock_guard lock{mutex_};
  auto known = in.newest.find(id);
  if (known == in.newest.end())
    known = in.newest.emplace(id, 0).first;
  else
    in.order[known->second].of = nullptr;
  known->second = in.order.size();
  in.order.push_back({++last_, &*known});
  if (in.newest.size() > most_)
    forget_oldest(in);
  if (in.order.size() > 2 * in.newest.size() + 1000)
    compact(in);
}

void change_log::forget_oldest(view_changes& in) {
  while (!in.order[in.oldest].of)
    ++in.oldest;
  auto& change = in.order[in.oldest++];
  in.forgotten = change.number;
  in.newest.erase(in.newest.find(std::exchange(change.of, nullptr)->first));
}

void change_log::compact(view_changes& in) {
  std::erase_if(in.order, [](auto& each) { return !each.of; });
  in.oldest = 0;
  for (std::size_t i = 0; i < in.order.size(); ++i)
    in.order[i].of->second = i;
}

changed_entities change_log::since(std::string_view place, std::span<const std::uint32_t> views, bool events,
                                   std::size_t limit) const {
  std::lock_guard lock{mutex_};
  changed_entities out;
  auto from = read_place(place);
  auto known = [&](auto view) {
    auto& each = views_[view];
    if (!each.of_records && !events)
      return true; // Nobody asks.
    return (*from)[each.of_records ? 1 : 2] >= each.forgotten;
  };
  if (!from || (*from)[0] != epoch_ || (*from)[1] > last_ || (*from)[2] > last_ ||
      !std::all_of(views.begin(), views.end(), known)) {
    out.reset = !place.empty();
    out.next = write_place({epoch_, last_, last_});
    return out;
  }
  // What each view has, the oldest first: one of them is next.
  struct reading {
    std::vector<change>::const_iterator at, end;
    bool of_records;

    void skip_gone() {
      while (at != end && !at->of)
        ++at;
    }
  };
  std::vector<reading> readings;
  for (auto view : views)
    if (auto& each = views_[view]; each.of_records || events) {
      auto first =
          std::ranges::upper_bound(each.order, (*from)[each.of_records ? 1 : 2], {}, &change::number);
      readings.push_back({first, each.order.end(), each.of_records});
      readings.back().skip_gone();
    }
  std::unordered_set<std::string_view> taken;
  for (;;) {
    reading* next = nullptr;
    for (auto& each : readings)
      if (each.at != each.end && (!next || each.at->number < next->at->number))
        next = &each;
    if (!next)
      break;
    std::string_view id = next->at->of->first;
    if (!taken.contains(id)) {
      if (out.ids.size() == limit) {
        out.more = true;
        break;
      }
      taken.insert(id);
      out.ids.emplace_back(id);
    }
    (*from)[next->of_records ? 1 : 2] = next->at->number;
    ++next->at;
    next->skip_gone();
  }
  // Behind changes of other views, too: they need not be looked at again.
  if (!out.more) {
    (*from)[1] = last_;
    if (events)
      (*from)[2] = last_;
  }
  out.next = write_place(*from);
  return out;
}

} // namespace troupe::feature_store
