#include "services/ranker/release_shelf.hpp"

#include "services/ranker/rank.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

namespace troupe::ranker {

expected<void> warm(const release& with) {
  auto requests = with.warmup;
  if (requests.empty())
    requests.push_back(
        {"", with.popular.empty() ? std::vector<std::string>{} : std::vector{with.popular.front()}, 10});
  item_catalogue nothing;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    query asked;
    asked.user = requests[i].user;
    asked.history = requests[i].history;
    asked.n = requests[i].n;
    asked.explain = true;
    auto answer = rank(with, nothing, asked);
    if (answer.items.empty() && with.items > requests[i].history.size())
      return fail(ec::corrupt, "warm-up request {} has no answer", i + 1);
    for (auto& each : answer.items)
      if (!std::isfinite(each.score) || !std::all_of(each.models.begin(), each.models.end(),
                                                     [](auto& by) { return std::isfinite(by.second); }))
        return fail(ec::corrupt, "warm-up request {} scores item {} with a number that is not finite", i + 1,
                    each.item);
  }
  return {};
}

release_shelf::release_shelf(fetch_function fetch, load_options how, std::chrono::milliseconds retry,
                             told_function told, check_function check)
    : fetch_{std::move(fetch)}, how_{how}, retry_{retry}, told_{std::move(told)}, check_{std::move(check)},
      thread_{[this] { work(); }} {}

release_shelf::~release_shelf() {
  stop();
}

void release_shelf::prepare(const std::vector<std::string>& ids) {
  std::lock_guard lock{mutex_};
  wanted_.clear();
  for (auto& each : ids) {
    if (std::find(wanted_.begin(), wanted_.end(), each) != wanted_.end())
      continue;
    wanted_.push_back(each);
    auto& at = places_[each];
    if (at.about.id.empty() || at.about.state == "failed") {
      at.about = {each, "loading", "", 0, 0, {}, 0};
      at.again = {};
      at.retry = true;
    }
  }
  wake_.notify_one();
}

release_ptr release_shelf::find(const std::string& id) const {
  std::lock_guard lock{mutex_};
  auto found = places_.find(id);
  return found == places_.end() ? nullptr : found->second.held;
}

release_ptr release_shelf::newest() const {
  std::lock_guard lock{mutex_};
  const place* best = nullptr;
  for (auto& [id, each] : places_)
    if (each.held && (!best || each.order > best->order))
      best = &each;
  return best ? best->held : nullptr;
}

std::vector<release_shelf::entry> release_shelf::entries() const {
  std::lock_guard lock{mutex_};
  std::vector<entry> out;
  for (auto& [id, each] : places_) {
    out.push_back(each.about);
    if (each.held)
      out.back().in_use = static_cast<std::uint32_t>(each.held.use_count() - 1);
  }
  return out;
}

std::vector<std::string> release_shelf::item_features() const {
  std::lock_guard lock{mutex_};
  std::vector<std::string> out;
  for (auto& [id, each] : places_)
    if (each.held)
      out.insert(out.end(), each.held->item_features.begin(), each.held->item_features.end());
  return out;
}

void release_shelf::stop() {
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable())
    thread_.join();
}

void release_shelf::work() {
  std::unique_lock lock{mutex_};
  while (!stopping_) {
    auto now = std::chrono::steady_clock::now();
    std::optional<std::string> next;
    std::optional<std::chrono::steady_clock::time_point> later;
    for (auto& id : wanted_) {
      auto& at = places_[id];
      if (at.held || !at.retry)
        continue;
      if (at.again <= now) {
        next = id;
        break;
      }
      later = later ? std::min(*later, at.again) : at.again;
    }
    if (next) {
      lock.unlock();
      bring(*next);
      lock.lock();
      continue;
    }
    std::vector<release_ptr> old;
    bool settled =
        std::all_of(wanted_.begin(), wanted_.end(), [&](auto& id) { return places_[id].held != nullptr; });
    if (settled && !wanted_.empty())
      for (auto at = places_.begin(); at != places_.end();) {
        if (std::find(wanted_.begin(), wanted_.end(), at->first) == wanted_.end()) {
          old.push_back(std::move(at->second.held));
          at = places_.erase(at);
        } else {
          ++at;
        }
      }
    if (!old.empty()) {
      lock.unlock();
      old.clear(); // Freed here, off the serving threads, unless somebody still reads it.
      lock.lock();
      continue;
    }
    if (later)
      wake_.wait_until(lock, *later);
    else
      wake_.wait(lock);
  }
}

void release_shelf::bring(const std::string& id) {
  auto since = std::chrono::steady_clock::now();
  auto say = [&](const char* state) {
    std::lock_guard lock{mutex_};
    places_[id].about.state = state;
  };
  say("loading");
  std::optional<error> failed;
  release_ptr made;
  auto folder = fetch_(id);
  if (!folder) {
    failed = folder.error();
  } else if (auto loaded = load_release(*folder, how_); !loaded) {
    failed = loaded.error();
  } else if ((*loaded)->manifest.id != id) {
    failed = error{ec::corrupt, fmt::format("folder {} holds release {}, asked was {}", folder->string(),
                                            (*loaded)->manifest.id, id)};
  } else {
    say("warming");
    if (auto checked = check_ ? check_(**loaded) : expected<void>{}; !checked)
      failed = checked.error();
    else if (auto warmed = warm(**loaded); !warmed)
      failed = warmed.error();
    else
      made = *loaded;
  }
  {
    std::lock_guard lock{mutex_};
    auto& at = places_[id];
    at.about.load_time =
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - since);
    if (failed) {
      at.about.state = "failed";
      at.about.error = render(*failed);
      at.retry = remedy_of(failed->code) == remedy::retry_later || failed->code == ec::not_found;
      at.again = std::chrono::steady_clock::now() + retry_;
    } else {
      at.about.state = "ready";
      at.about.error.clear();
      at.about.items = made->items;
      at.about.bytes = made->bytes;
      at.held = std::move(made);
      at.order = next_order_++;
    }
  }
  told_(id, failed ? &*failed : nullptr);
}

} // namespace troupe::ranker
