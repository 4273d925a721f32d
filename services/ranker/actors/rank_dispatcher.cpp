#include "services/feature_store/client/feature_client.hpp"
#include "services/ranker/actors.hpp"
#include "services/ranker/serving/rank_job.hpp"
#include "services/ranker/serving/user_cache.hpp"

#include "common/core/hash.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

namespace troupe::ranker {

namespace {

class dispatcher_state {
public:
  using pointer = dispatcher_actor::stateful_pointer<dispatcher_state>;
  explicit dispatcher_state(pointer self) : self_{self} {}

  /// `first`: the dispatcher whose end is the end of this one, and the other way round; null for the first.
  dispatcher_actor::behavior_type make_behavior(const dispatcher_deps& deps, std::size_t cached_users,
                                                const dispatcher_actor& first) {
    deps_ = deps;
    terms_ = std::make_shared<scoring_terms>(deps.metrics, deps.settings->answer_reserve);
    cache_.emplace(cached_users);
    if (first)
      self_->link_to(first);
    self_->set_exit_handler([this](caf::exit_msg& message) {
      for (auto& [tag, read] : std::exchange(reads_, {}))
        for (auto& each : read.jobs)
          each->refuse({ec::stopping, "the ranker is draining"});
      std::set<rank_job_ptr> behind; // One that reads of several replicas is answered once.
      for (auto& [tag, part] : std::exchange(item_reads_, {}))
        behind.insert(part.of->job);
      for (auto& each : behind)
        each->refuse({ec::stopping, "the ranker is draining"});
      self_->quit(std::move(message.reason));
    });
    return {[this](net::request_atom, net::request_ptr& asked) { on_request(*asked); },
            [this](net::reply_atom, std::uint64_t tag, const net::result_ptr& result) {
              if (auto found = item_reads_.find(tag); found != item_reads_.end())
                on_items(item_reads_.extract(found).mapped(), *result);
              else
                on_features(tag, *result);
            }};
  }

  const char* name = "rank_dispatcher";

private:
  /// One read of a user's features, and who waits for it.
  struct pending_read {
    std::string key;
    deadline until;
    std::vector<rank_job_ptr> jobs;
  };

  /// The newest state of the items that one request is about, of all replicas.
  struct item_read {
    rank_job_ptr job;
    scan_plan plan;
    std::size_t open = 0; ///< Replicas that have not answered.
    std::vector<item_attributes> found;
    std::optional<error> failed;
  };
  struct item_read_part {
    std::shared_ptr<item_read> of;
    std::vector<std::string> ids;
  };

  void on_request(net::request& asked) {
    auto job = std::make_shared<rank_job>(terms_, std::move(asked.respond), asked.until);
    if (job->until.passed())
      return job->refuse({ec::too_late, "the deadline passed while the request waited"});
    auto read = asked.info.kind == wire::Kind::similar ? decode_similar(asked.payload, deps_.readable)
                                                       : decode_rank(asked.payload, deps_.readable);
    if (!read)
      return job->refuse(std::move(read).error());
    job->request = std::move(*read);
    pin(*job);
    if (!job->release)
      return job->refuse({ec::unavailable, "no release is ready to answer"});
    if (follows_writes_of_items(*job))
      return catch_up(std::move(job));
    find_item(std::move(job));
  }

  /// The request comes after writes of items that its snapshot has not seen.
  static bool follows_writes_of_items(const rank_job& job) {
    auto& asked = job.request;
    return (!asked.written.empty() || asked.written_more) &&
           !std::ranges::all_of(asked.min_offsets, [&](auto& each) {
             return job.items->applied().reached(each.partition(), each.offset());
           });
  }

  /// What was hidden or deleted counts as that; of what was written the newest state is read. The
  /// next question for changes brings it to all.
  void catch_up(rank_job_ptr job) {
    auto& asked = job->request;
    std::vector<std::string> ids;
    std::vector<item_attributes> closed;
    for (auto& each : asked.written)
      if (each.change == wire::ItemChange::written) {
        ids.emplace_back(each.item);
      } else {
        auto& one = closed.emplace_back(job->items->find(each.item).value_or(item_attributes{}));
        one.id = each.item;
        one.deleted = each.change == wire::ItemChange::deleted;
        one.hidden = !one.deleted;
      }
    if (!closed.empty())
      job->items = with_changes(job->items, {.changed = std::move(closed), .removed = {}, .passing = true});
    if (asked.written_more)
      job->degraded.push_back({"items_behind", 1,
                               "items_behind: not every item of the write that this answer comes after is "
                               "as it was written yet"});
    if (ids.empty())
      return find_item(std::move(job));
    if (waiting_ >= deps_.settings->max_waiting)
      return refuse_waiting(*job);
    ++waiting_;
    auto read = std::make_shared<item_read>();
    read->plan = plan_scan(deps_.settings->item_features, job->items->feature_names());
    auto until =
        earlier_by(job->until, deps_.settings->answer_reserve).within(deps_.settings->feature_timeout);
    std::vector<feature_store::feature_query> parts(std::max(1U, deps_.replicas));
    for (auto& each : ids)
      parts[rendezvous(each, parts.size())].ids.push_back(each);
    read->open =
        static_cast<std::size_t>(std::ranges::count_if(parts, [](auto& each) { return !each.ids.empty(); }));
    for (std::uint32_t replica = 0; replica < parts.size(); ++replica) {
      auto& query = parts[replica];
      if (query.ids.empty())
        continue;
      query.entity = "item";
      query.features = read->plan.names;
      query.min_offsets = asked.min_offsets;
      auto tag = next_tag_++;
      auto bytes = feature_store::encode(query);
      item_reads_.emplace(tag, item_read_part{read, std::move(query.ids)});
      net::call_for(deps_.features, replica, dispatcher_actor{self_}, tag, wire::Kind::read_features,
                    std::move(bytes), until);
    }
    read->job = std::move(job);
  }

  void on_items(item_read_part part, const expected<net::reply>& result) {
    auto& read = *part.of;
    auto got = result ? feature_store::decode_features(result->payload, part.ids.size())
                      : expected<feature_store::feature_answer>{unexpected<error>{result.error()}};
    auto added = got ? append_page({std::move(part.ids), std::move(*got), true}, read.plan, read.found)
                     : expected<void>{unexpected<error>{got.error()}};
    if (!added)
      read.failed = std::move(added).error();
    if (--read.open > 0)
      return;
    --waiting_;
    auto job = std::move(read.job);
    if (read.failed) {
      deps_.metrics->feature_failures.add();
      job->degraded.push_back({"items_behind", 1, "items_behind: " + read.failed->text});
      // That the snapshot calls it deleted is what its caller has just changed.
      auto again = [&](auto& each) {
        return each.item == job->request.similar_to && each.change == wire::ItemChange::written;
      };
      if (std::ranges::any_of(job->request.written, again))
        return find_user(std::move(job));
    } else {
      job->items =
          with_changes(job->items, {.changed = std::move(read.found), .removed = {}, .passing = true});
    }
    find_item(std::move(job));
  }

  void refuse_waiting(rank_job& job) const {
    job.refuse({ec::overloaded, fmt::format("{} requests wait for features", waiting_)});
  }

  void find_item(rank_job_ptr job) {
    auto& like = job->request.similar_to;
    if (!like.empty() && job->items->deleted(job->release->space->find(like)))
      return job->refuse({ec::not_found, "there is no item of this id: it was deleted"});
    find_user(std::move(job));
  }

  void find_user(rank_job_ptr job) {
    if (job->request.asked.user.empty())
      return score(job);
    find_features(std::move(job));
  }

  /// From here on the job has its release and its items, whatever becomes current meanwhile.
  void pin(rank_job& job) const {
    auto releases = deps_.releases->get();
    auto& wanted = job.request.release;
    job.release = releases->find(wanted);
    if (!job.release && releases->newest) {
      job.release = releases->newest;
      if (!wanted.empty())
        job.degraded.push_back({"release", 1,
                                fmt::format("release: {} is not ready, {} answers", wanted.substr(0, 12),
                                            job.release->manifest.id.substr(0, 12))});
    }
    job.items = deps_.items->get();
    auto age = deadline::clock::now() - job.items->taken();
    if (job.items->taken() == deadline::clock::time_point{})
      job.degraded.push_back({"items", 1, "items: their state is not known yet"});
    else if (age > deps_.settings->item_stale)
      job.degraded.push_back({"items", 1,
                              fmt::format("items: their state is {} s old",
                                          std::chrono::duration_cast<std::chrono::seconds>(age).count())});
  }

  void find_features(rank_job_ptr job) {
    auto key = job->release->user_key;
    key += job->request.asked.user;
    bool own_writes = !job->request.min_offsets.empty();
    if (!own_writes) {
      auto known = cache_->find(key);
      if (known && deadline::clock::now() - known->read < deps_.settings->near_cache_ttl) {
        deps_.metrics->cache_hits.add();
        job->user = std::move(known);
        return score(job);
      }
    }
    if (waiting_ >= deps_.settings->max_waiting)
      return refuse_waiting(*job);
    ++waiting_;
    auto latest = earlier_by(job->until, deps_.settings->answer_reserve);
    if (auto found = shared_reads_.find(key); found != shared_reads_.end() && !own_writes) {
      auto& under_way = reads_.at(found->second);
      if (under_way.until.at() <= latest.at()) { // It ends in time for this one, too.
        deps_.metrics->cache_joined.add();
        under_way.jobs.push_back(std::move(job));
        return;
      }
    }
    begin_read(std::move(job), std::move(key), latest.within(deps_.settings->feature_timeout));
  }

  void begin_read(rank_job_ptr job, std::string key, deadline until) {
    deps_.metrics->cache_misses.add();
    auto& user = job->request.asked.user;
    feature_store::feature_query query;
    query.ids.emplace_back(user);
    query.features = job->release->user_features;
    for (auto& each : deps_.settings->user_features)
      if (std::find(query.features.begin(), query.features.end(), each) == query.features.end())
        query.features.push_back(each);
    query.min_offsets = job->request.min_offsets;
    auto replica = rendezvous(user, deps_.replicas); // Before the job goes, and the user with it.
    auto tag = next_tag_++;
    if (query.min_offsets.empty())
      shared_reads_[key] = tag;
    reads_.emplace(tag, pending_read{std::move(key), until, {std::move(job)}});
    net::call_for(deps_.features, replica, dispatcher_actor{self_}, tag, wire::Kind::read_features,
                  feature_store::encode(query), until);
  }

  void on_features(std::uint64_t tag, const expected<net::reply>& result) {
    auto found = reads_.find(tag);
    if (found == reads_.end())
      return;
    auto read = std::move(found->second);
    reads_.erase(found);
    if (auto at = shared_reads_.find(read.key); at != shared_reads_.end() && at->second == tag)
      shared_reads_.erase(at);
    waiting_ -= read.jobs.size();
    auto now = deadline::clock::now();
    auto& space = *read.jobs.front()->release->space;
    auto got = result ? decode_user_features(result->payload, space)
                      : expected<user_features>{unexpected<error>{result.error()}};
    user_features_ptr user;
    std::string degraded;
    if (got) {
      got->read = now;
      user = std::make_shared<const user_features>(std::move(*got));
      cache_->put(read.key, user);
    } else {
      deps_.metrics->feature_failures.add();
      user = cache_->find(read.key);
      degraded =
          user ? fmt::format("features: those of {} ms ago, {}",
                             std::chrono::duration_cast<std::chrono::milliseconds>(now - user->read).count(),
                             got.error().text)
               : "features: " + got.error().text;
    }
    for (auto& job : read.jobs) {
      job->user = user;
      job->features_took = std::chrono::duration_cast<std::chrono::microseconds>(now - job->arrived);
      if (!degraded.empty())
        job->degraded.insert(job->degraded.begin(), {"features", 1, degraded});
      score(job);
    }
  }

  void score(const rank_job_ptr& job) { deps_.scoring->post(job->until, job); }

  pointer self_;
  dispatcher_deps deps_;
  std::shared_ptr<scoring_terms> terms_;
  std::optional<user_cache> cache_;
  std::uint64_t next_tag_ = 1;
  std::map<std::uint64_t, pending_read> reads_;
  std::unordered_map<std::string, std::uint64_t> shared_reads_; ///< By key: the newest that others may join.
  std::map<std::uint64_t, item_read_part> item_reads_;
  std::size_t waiting_ = 0; ///< Jobs in `reads_` and `item_reads_`.
};

} // namespace

std::vector<dispatcher_actor> spawn_dispatchers(caf::actor_system& system, const dispatcher_deps& deps,
                                                std::size_t count) {
  auto cached_users = std::max<std::size_t>(1, deps.settings->near_cache_users / count);
  auto behaviour = [cached_users](dispatcher_state::pointer self,
                                  const std::shared_ptr<const dispatcher_deps>& from,
                                  const dispatcher_actor& first) {
    return self->state.make_behavior(*from, cached_users, first);
  };
  auto shared = std::make_shared<const dispatcher_deps>(deps);
  std::vector<dispatcher_actor> all;
  for (std::size_t i = 0; i < count; ++i)
    all.push_back(system.spawn(behaviour, shared, all.empty() ? dispatcher_actor{} : all.front()));
  return all;
}

} // namespace troupe::ranker
