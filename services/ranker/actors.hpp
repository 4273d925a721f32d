#pragma once

#include "services/ranker/config.hpp"
#include "services/ranker/items/item_scan.hpp"
#include "services/ranker/items/item_snapshot.hpp"
#include "services/ranker/metrics.hpp"
#include "services/ranker/release/bundle_fetcher.hpp"
#include "services/ranker/release/release_table.hpp"
#include "services/ranker/serving/scoring_pool.hpp"

#include "common/actor/blocking_pool.hpp"
#include "common/actor/health.hpp"
#include "common/actor/self_tick.hpp"
#include "common/core/published.hpp"
#include "common/net/actors.hpp"

#include <caf/fwd.hpp>
#include <caf/typed_actor.hpp>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::ranker {

/// A scan of all items under way. Its actor and the pool have it in turns.
struct item_scan {
  scan_plan plan;
  bool of_models = false;          ///< It asks for features of models, too.
  std::vector<std::string> places; ///< By replica: where its changes were before the first page.
  std::uint32_t replica = 0, replicas = 1;
  std::string after; ///< The last id that has come of this replica.
  item_space_ptr space;
  std::vector<item_attributes> items;
  std::vector<std::string> views;
  feature_store::applied_offsets applied; ///< By every page.
  deadline::clock::time_point began;
  std::optional<error> failed;
  item_snapshot_ptr built; ///< Once all pages have come.
};
using item_scan_ptr = std::shared_ptr<item_scan>;

/// A round of questions to the replicas for what has changed. Its actor and the pool have it in turns.
struct item_round {
  scan_plan plan;
  std::vector<std::string> places; ///< By replica, in the order of all changes.
  bool records_only = true;        ///< What events have changed is left for another round.
  bool of_scan = false;            ///< It brings what has changed since a scan began.
  std::vector<std::uint32_t> left; ///< Replicas that have not told everything; the first one is asked.
  bool whole = true;               ///< It leaves no replica out.
  item_snapshot_ptr items;         ///< With all that has come.
  std::size_t changed = 0;
  feature_store::applied_offsets applied; ///< By every replica.
  deadline::clock::time_point began;
  bool reset = false; ///< A replica does not know its place any more.
  std::optional<error> failed;
};
using item_round_ptr = std::shared_ptr<item_round>;

/// How far the loader got with one release.
struct load_outcome {
  std::string id;
  release_ptr release; ///< null where it failed.
  std::optional<error> failed;
};
using load_outcome_ptr = std::shared_ptr<const load_outcome>;

using feature_names_ptr = std::shared_ptr<const std::vector<std::string>>;

} // namespace troupe::ranker

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ranker::item_scan_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ranker::item_round_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ranker::load_outcome_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::ranker::feature_names_ptr)

namespace troupe::ranker {

using ensure_atom = caf::atom_constant<caf::atom("ensure")>;
using page_atom = caf::atom_constant<caf::atom("page")>;
using loaded_atom = caf::atom_constant<caf::atom("loaded")>;
using warmed_atom = caf::atom_constant<caf::atom("warmed")>;
using written_atom = caf::atom_constant<caf::atom("written")>;
using tidied_atom = caf::atom_constant<caf::atom("tidied")>;
using retry_atom = caf::atom_constant<caf::atom("retry")>;

/// Answers rank and similar. There are several; a user always goes to the same one, which reads the features
/// of its users once for all who wait for them, and keeps those read last. Owned by the root.
using dispatcher_actor = caf::typed_actor<
    // Answer one request. Its release and items are those of this moment, but for items that its caller has
    // written since. overloaded where `max_waiting` wait for features.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // The features of a user or of written items have come, or have not; the tag is the number of the read.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>>;

/// Holds the releases: has them fetched, loaded and warmed one at a time, publishes those that are ready,
/// lets go of those no longer wanted once every wanted one is. Owned by the root.
using release_manager_actor = caf::typed_actor<
    // Answer one request of kind prepare or loaded.
    caf::reacts_to<net::request_atom, net::request_ptr>,
    // The pool has fetched and loaded a release, or has not.
    caf::reacts_to<loaded_atom, load_outcome_ptr>,
    // The feature store's answer whether it has what models want of users.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>,
    // The pool has warmed a release, or has not.
    caf::reacts_to<warmed_atom, load_outcome_ptr>,
    // Time to try one that failed again.
    caf::reacts_to<retry_atom, std::string>,
    // The list of wanted releases is on the disk; false: it could not be written.
    caf::reacts_to<written_atom, bool>,
    // Files that nobody needs are gone.
    caf::reacts_to<tidied_atom>>;

/// Keeps the snapshot of all items fresh: scans the feature store page by page, then asks every
/// `item_changes` what own records have changed and every `item_trends` what events have changed, too, and
/// publishes the snapshot with that. What events have changed is left for later where it takes longer than
/// `item_changes`: own records never wait for it. Every `item_refresh` it scans again, for what changes with
/// time alone: what was scanned replaces the snapshot once it has caught up with what own records have
/// changed since. A scan or a question that fails leaves the snapshot in force; a replica that fails is left
/// out until it answers again, which a question beside the others finds out every second. A feature store
/// that has forgotten where we were is scanned at once. Where it does not have a feature that models want, a
/// scan goes without those of models. Owned by the root.
using item_sync_actor = caf::typed_actor<
    // Begin what is due.
    caf::reacts_to<tick_atom, std::uint64_t>,
    // A page has come, or has not; the tag is the number of the question.
    caf::reacts_to<net::reply_atom, std::uint64_t, net::result_ptr>,
    // The pool has read a page into the scan.
    caf::reacts_to<page_atom, item_scan_ptr>,
    // The pool has read a page of changes into the items of the round.
    caf::reacts_to<page_atom, item_round_ptr>,
    // From now on read these features too, until another call names others; answered once the snapshot has
    // them, or with the reason why it cannot.
    caf::replies_to<ensure_atom, feature_names_ptr>::with<bool>>;

struct dispatcher_deps {
  std::shared_ptr<const config> settings;
  std::shared_ptr<const published<release_table>> releases;
  std::shared_ptr<const published<item_snapshot>> items;
  std::shared_ptr<scoring_pool> scoring;
  std::shared_ptr<service_metrics> metrics;
  net::ask_function features;
  std::uint32_t replicas = 1;        ///< Of the feature store.
  std::vector<std::string> readable; ///< Attributes of items that filters may name.
};
/// All end when one does.
std::vector<dispatcher_actor> spawn_dispatchers(caf::actor_system& system, const dispatcher_deps& deps,
                                                std::size_t count);

struct item_sync_deps {
  std::shared_ptr<const config> settings;
  std::shared_ptr<published<item_snapshot>> items;
  std::shared_ptr<const published<release_table>> releases;
  std::shared_ptr<service_metrics> metrics;
  net::ask_function features;
  std::uint32_t replicas = 1; ///< Of the feature store.
  post_function post;
  health::report report;
};
item_sync_actor spawn_item_sync(caf::actor_system& system, item_sync_deps deps);

struct release_manager_deps {
  std::shared_ptr<const config> settings;
  std::shared_ptr<published<release_table>> releases;
  std::shared_ptr<service_metrics> metrics;
  std::shared_ptr<bundle_fetcher> bundles;
  item_sync_actor items;
  std::shared_ptr<const published<item_snapshot>>
      snapshot; ///< Releases are bound to its space and its items.
  net::ask_function features;
  post_function post;
  std::filesystem::path wanted_file; ///< The list of wanted releases, a name a line.
  std::vector<std::string> wanted;   ///< At the start: it says "not ready" until each is ready or has failed.
  std::vector<std::string> readable; ///< Attributes of items that rules may name.
  health::report report;
};
release_manager_actor spawn_release_manager(caf::actor_system& system, release_manager_deps deps);

} // namespace troupe::ranker
