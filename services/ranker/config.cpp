#include "services/ranker/config.hpp"

namespace troupe::ranker {

void config::bind(config_keys& keys) {
  using namespace std::chrono_literals;
  keys.add("release_folder", release_folder,
           "Folder of release bundles, relative to the catalog: each folder in it with a release.json is "
           "loaded at "
           "the start and needs no registry.");
  keys.add("workers", workers, "Threads that rank.", between(1, 256));
  keys.add("max_queued", max_queued, "Requests that may wait for such a thread; more are refused.",
           between(1, 1'000'000));
  keys.add("dispatchers", dispatchers, "Actors that take requests in, each for its share of the users.",
           between(1, 64));
  keys.add("max_waiting", max_waiting, "Requests that may wait for features, of each dispatcher.",
           between(1, 1'000'000));
  keys.add("item_changes", item_changes,
           "How often the feature store is asked which items were written, hidden or deleted.",
           between(10ms, 1h));
  keys.add(
      "item_trends", item_trends,
      "How often it is asked, too, which items events have changed: how they trend, and other features of "
      "events. Less often where that takes more than a tenth of the time.",
      between(100ms, 1h));
  keys.add(
      "item_refresh", item_refresh,
      "Pause between two readings of all items, for what changes with time alone. Longer where a reading "
      "takes more than a tenth of it.",
      between(100ms, 24h));
  keys.add("item_stale", item_stale, "Age of that state from which answers say that it is old.",
           between(1s, 24h));
  keys.add("item_page", item_page, "Items a page of that reading.", between(100, 10'000));
  keys.add("page_timeout", page_timeout, "How long one page may take.", between(100ms, 60s));
  keys.add("feature_timeout", feature_timeout, "How long the features of a user may take.",
           between(1ms, 10s));
  keys.add(
      "answer_reserve", answer_reserve,
      "Time kept of the deadline for ranking and answering: features are given up when only this is left. "
      "When no further model scores begins at half of it and is learned from answers that were cut.",
      between(0ms, 1s));
  keys.add("near_cache_ttl", near_cache_ttl,
           "How long the features of a user are used again. New events change answers after at most this.",
           between(0ms, 1h));
  keys.add("near_cache_users", near_cache_users, "Users in that cache; the one unused longest goes first.",
           between(1, 10'000'000));
  keys.add("user_features", user_features, "Features of users read beside the history, for explanations.",
           between(0, 100));
  keys.add(
      "item_features", item_features,
      "Features of items read beside item_attributes and item_trend; rules and filters name them by what "
      "stands after "
      "the dot.",
      between(0, 100));
  keys.add("flat_up_to", flat_up_to,
           "Items up to which nearest neighbours are searched exactly; beyond: in lists of near ones.",
           between(0, 10'000'000));
  keys.add("fetch_timeout", fetch_timeout, "How long one part of an artefact may take to come.",
           between(1s, 10min));
  keys.add("load_retry", load_retry, "How long after a failed fetch of a release it is tried again.",
           between(100ms, 1h));
}

} // namespace troupe::ranker
