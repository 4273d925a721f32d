#include "services/ranker/desk.hpp"

#include "common/net/payload.hpp"

#include "schemas/ranker_generated.h"

#include <algorithm>

namespace troupe::ranker {

namespace {

constexpr std::uint32_t most_items = 1000;

std::vector<std::string> texts(const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* from) {
  std::vector<std::string> out;
  if (from)
    for (auto* each : *from)
      out.push_back(each->str());
  return out;
}

expected<std::vector<condition>>
conditions(const flatbuffers::Vector<flatbuffers::Offset<wire::Filter>>* from) {
  std::vector<condition> out;
  if (!from)
    return out;
  for (auto* each : *from) {
    if (each->op() > wire::FilterOp::MAX)
      return fail(ec::unsupported_version, "filter on {} has operation {}, which is not known here",
                  each->attribute()->str(), static_cast<int>(each->op()));
    condition made;
    made.attribute = each->attribute()->str();
    made.op = static_cast<test>(each->op()); // The same order: see the test.
    made.negated = each->not_();
    made.text = each->text() ? each->text()->str() : "";
    made.number = each->number();
    made.list = texts(each->list());
    out.push_back(std::move(made));
  }
  return out;
}

expected<std::uint32_t> count_of(std::uint32_t n) {
  if (n > most_items)
    return fail(ec::invalid_argument, "n is {}, at most {} items are ranked", n, most_items);
  return n == 0 ? 10 : n;
}

std::int64_t micros(deadline::clock::duration span) {
  return std::chrono::duration_cast<std::chrono::microseconds>(span).count();
}

} // namespace

user_state_ptr near_cache::find(const std::string& key) {
  std::lock_guard lock{mutex_};
  auto found = places_.find(key);
  if (found == places_.end())
    return nullptr;
  by_use_.splice(by_use_.begin(), by_use_, found->second);
  return found->second->second;
}

void near_cache::put(const std::string& key, user_state_ptr state) {
  std::lock_guard lock{mutex_};
  if (auto found = places_.find(key); found != places_.end()) {
    found->second->second = std::move(state);
    by_use_.splice(by_use_.begin(), by_use_, found->second);
    return;
  }
  by_use_.emplace_front(key, std::move(state));
  places_.emplace(by_use_.front().first, by_use_.begin());
  if (by_use_.size() > bound_) {
    places_.erase(by_use_.back().first);
    by_use_.pop_back();
  }
}

desk::desk(std::shared_ptr<const config> settings, std::shared_ptr<release_shelf> shelf,
           std::function<catalogue_ptr()> catalogue, read_function read,
           std::shared_ptr<service_metrics> metrics)
    : settings_{std::move(settings)}, shelf_{std::move(shelf)}, catalogue_{std::move(catalogue)},
      read_{std::move(read)}, metrics_{std::move(metrics)}, cache_{settings_->near_cache_users} {}

desk::~desk() {
  stop();
}

void desk::start() {
  for (unsigned i = 0; i < settings_->workers; ++i)
    threads_.emplace_back([this] { work(); });
}

void desk::take(net::request asked) {
  auto made = std::make_shared<job>();
  made->asked = std::move(asked);
  push(std::move(made));
}

void desk::push(job_ptr next) {
  {
    std::lock_guard lock{mutex_};
    if (!stopping_) {
      waiting_.push_back(std::move(next));
      wake_.notify_one();
      return;
    }
  }
  refuse(*next, {ec::stopping, "the ranker is draining"});
}

void desk::refuse(job& of, error why) {
  metrics_->refused.add();
  metrics_->answer_seconds.observe(
      std::chrono::duration<double>(deadline::clock::now() - of.arrived).count());
  of.asked.respond.fail(std::move(why));
}

void desk::stop() {
  std::deque<job_ptr> left;
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
    left.swap(waiting_);
    wake_.notify_all();
  }
  for (auto& each : left)
    refuse(*each, {ec::stopping, "the ranker is draining"});
  for (auto& each : threads_)
    each.join();
  threads_.clear();
}

void desk::work() {
  std::unique_lock lock{mutex_};
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (stopping_)
      return;
    auto next = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    auto done = next->asked.until.passed()
                    ? expected<void>{fail(ec::too_late, "the deadline passed while the request waited")}
                    : handle(next);
    if (!done)
      refuse(*next, done.error());
    next.reset();
    lock.lock();
  }
}

expected<void> desk::handle(const job_ptr& of) {
  return of->asked.info.kind == wire::Kind::similar ? answer_similar(of) : answer_rank(of);
}

release_ptr desk::release_for(const std::string& id, std::vector<std::string>& degraded) const {
  if (auto found = shelf_->find(id))
    return found;
  auto other = shelf_->newest();
  if (other && !id.empty())
    degraded.push_back(fmt::format("release: {} is not ready, {} answers", id.substr(0, 12),
                                   other->manifest.id.substr(0, 12)));
  return other;
}

catalogue_ptr desk::catalogue_for(std::vector<std::string>& degraded) const {
  auto catalogue = catalogue_();
  auto age = deadline::clock::now() - catalogue->taken();
  if (catalogue->taken() == deadline::clock::time_point{})
    degraded.emplace_back("catalogue: the state of items is not known yet");
  else if (age > settings_->catalogue_stale)
    degraded.push_back(fmt::format("catalogue: the state of items is {} s old",
                                   std::chrono::duration_cast<std::chrono::seconds>(age).count()));
  return catalogue;
}

expected<void> desk::answer_rank(const job_ptr& of) {
  TROUPE_TRY(from, net::read_as<wire::Rank>(of->asked.payload, "TRPK", "Rank"));
  TROUPE_TRY(n, count_of(from->n()));
  TROUPE_TRY(filters, conditions(from->filters()));
  std::vector<std::string> degraded;
  auto by = release_for(from->release()->str(), degraded);
  if (!by)
    return fail(ec::unavailable, "no release is ready to answer");
  query asked;
  asked.user = from->user() ? from->user()->str() : "";
  if (!asked.user.empty() && !of->user) {
    auto key = by->user_key + asked.user;
    auto known = cache_.find(key);
    bool own_writes = from->min_offsets() && from->min_offsets()->size() > 0;
    if (known && !own_writes && deadline::clock::now() - known->read < settings_->near_cache_ttl) {
      metrics_->cache_hits.add();
      of->user = known;
    } else {
      metrics_->cache_misses.add();
      feature_read read{asked.user, by->user_features, {}, of->asked.until};
      for (auto& each : settings_->user_features)
        if (std::find(read.features.begin(), read.features.end(), each) == read.features.end())
          read.features.push_back(each);
      if (own_writes)
        for (auto* each : *from->min_offsets())
          read.min_offsets.emplace_back(each->partition(), each->offset());
      auto latest = of->asked.until.at() == deadline::clock::time_point::max()
                        ? of->asked.until
                        : deadline{of->asked.until.at() - settings_->answer_reserve};
      read.until = latest.within(settings_->feature_timeout);
      read_(std::move(read), [weak = weak_from_this(), of, key](expected<user_state> got) {
        if (auto self = weak.lock())
          self->came(of, key, std::move(got));
        else
          of->asked.respond.fail({ec::stopping, "the ranker has stopped"});
      });
      return {};
    }
  }
  if (!of->lack.empty())
    degraded.push_back(of->lack);
  if (of->user && *of->user) {
    asked.history = (*of->user)->history;
    asked.features = (*of->user)->values;
    asked.views = (*of->user)->views;
    if ((*of->user)->deleted) // Models that were trained before know the id.
      asked.user.clear();
  }
  auto catalogue = catalogue_for(degraded);
  asked.session = texts(from->session());
  asked.filters = std::move(filters);
  asked.exclude = texts(from->exclude());
  asked.candidates = texts(from->candidates());
  asked.n = n;
  asked.explain = from->explain();
  asked.seed = from->seed();
  asked.now = micros_of(wall_now());
  asked.until = of->asked.until.at() == deadline::clock::time_point::max()
                    ? of->asked.until
                    : deadline{of->asked.until.at() - settings_->answer_reserve / 2};
  auto since = deadline::clock::now();
  auto answer = rank(*by, *catalogue, asked);
  metrics_->rank_seconds.observe(std::chrono::duration<double>(deadline::clock::now() - since).count());
  answer.stages.insert(answer.stages.begin(), {"features", of->features_took,
                                               of->user && *of->user ? (*of->user)->features.size() : 0});
  answer.degraded.insert(answer.degraded.begin(), degraded.begin(), degraded.end());
  send(of, *by, answer, asked.explain);
  return {};
}

void desk::came(const job_ptr& of, const std::string& key, expected<user_state> got) {
  of->features_took = std::chrono::microseconds{micros(deadline::clock::now() - of->arrived)};
  if (got) {
    got->read = deadline::clock::now();
    auto state = std::make_shared<const user_state>(std::move(*got));
    cache_.put(key, state);
    of->user = std::move(state);
  } else {
    metrics_->feature_failures.add();
    of->user = cache_.find(key);
    of->lack = *of->user
                   ? fmt::format("features: those of {} ms ago, {}",
                                 micros(deadline::clock::now() - (*of->user)->read) / 1000, got.error().text)
                   : "features: " + got.error().text;
  }
  push(of);
}

expected<void> desk::answer_similar(const job_ptr& of) {
  TROUPE_TRY(from, net::read_as<wire::Similar>(of->asked.payload, "TRPK", "Similar"));
  TROUPE_TRY(n, count_of(from->n()));
  TROUPE_TRY(filters, conditions(from->filters()));
  std::vector<std::string> degraded;
  auto by = release_for(from->release()->str(), degraded);
  if (!by)
    return fail(ec::unavailable, "no release is ready to answer");
  auto catalogue = catalogue_for(degraded);
  if (auto* card = catalogue->find(from->item()->str()); card && card->deleted)
    return fail(ec::not_found, "there is no item of this id: it was deleted");
  query asked;
  asked.filters = std::move(filters);
  asked.exclude = texts(from->exclude());
  asked.n = n;
  asked.now = micros_of(wall_now());
  asked.until = of->asked.until;
  auto answer = similar(*by, *catalogue, from->item()->str(), asked);
  answer.degraded.insert(answer.degraded.begin(), degraded.begin(), degraded.end());
  send(of, *by, answer, false);
  return {};
}

void desk::send(const job_ptr& of, const release& by, const ranking& answer, bool explain) {
  flatbuffers::FlatBufferBuilder out{4096};
  std::vector<flatbuffers::Offset<wire::RankedItem>> items;
  for (auto& each : answer.items) {
    std::vector<flatbuffers::Offset<wire::ModelScore>> models;
    for (auto& [name, score] : each.models)
      models.push_back(wire::CreateModelScoreDirect(out, name.c_str(), score));
    auto id = out.CreateString(each.item);
    auto sources = out.CreateVectorOfStrings(each.sources), because = out.CreateVectorOfStrings(each.because);
    auto title = out.CreateString(each.title);
    auto scores = out.CreateVector(models);
    auto notes = out.CreateVectorOfStrings(each.notes);
    items.push_back(
        wire::CreateRankedItem(out, id, each.score, each.propensity, sources, because, title, scores, notes));
  }
  std::vector<flatbuffers::Offset<wire::Stage>> stages;
  for (auto& each : answer.stages)
    stages.push_back(wire::CreateStageDirect(out, each.name.c_str(),
                                             static_cast<std::uint64_t>(each.took.count()), each.count));
  std::vector<flatbuffers::Offset<wire::UsedFeature>> features;
  if (explain && of->user && *of->user) {
    // Ages grow while a state lies in the near cache.
    auto since = micros(deadline::clock::now() - (*of->user)->read);
    for (auto& each : (*of->user)->features)
      features.push_back(wire::CreateUsedFeatureDirect(
          out, each.name.c_str(), static_cast<wire::FeatureStatus>(each.status),
          each.age_us < 0 ? each.age_us : each.age_us + since, each.value.c_str()));
  }
  auto release = out.CreateString(by.manifest.id);
  auto all = out.CreateVector(items);
  auto lacks = out.CreateVectorOfStrings(answer.degraded);
  auto times = out.CreateVector(stages);
  auto used = out.CreateVector(features);
  out.Finish(wire::CreateRankReply(out, release, all, lacks, times, used), "TRPK");
  metrics_->answers.add();
  if (!answer.degraded.empty())
    metrics_->degraded.add();
  metrics_->answer_seconds.observe(
      std::chrono::duration<double>(deadline::clock::now() - of->arrived).count());
  of->asked.respond.reply(net::bytes_of(out));
}

} // namespace troupe::ranker
