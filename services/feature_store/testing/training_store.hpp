#pragma once

#include "services/feature_store/training/training_set.hpp"
#include "services/feature_store/training/training_set_repository.hpp"
#include "services/feature_store/training/training_wire.hpp"
#include "services/feature_store/views/view.hpp"

#include "common/net/client.hpp"
#include "common/net/endpoint.hpp"

#include "schemas/feature_store_generated.h"

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace troupe::feature_store::testing {

/// `count` clicks of four users on three items, a second apart.
inline std::vector<record> clicks(int count) {
  std::vector<record> events;
  for (int i = 0; i < count; ++i) {
    record each;
    each.id = "e" + std::to_string(i);
    each.type = "click";
    each.user = "u" + std::to_string(i % 4);
    each.item = "i" + std::to_string(i % 3);
    each.event_time = from_micros(1'000'000 * (i + 1));
    events.push_back(each);
  }
  return events;
}

inline std::vector<feature_view> click_views() {
  auto views = parse_views("[[view]]\nname = \"a\"\nentity = \"user\"\nsource = [\"click\"]\nttl = \"90d\"\n"
                           "[[view.feature]]\nname = \"n\"\noperator = \"count\"\nwindow = \"7d\"\n",
                           "views");
  REQUIRE_MESSAGE(views, (views ? std::string{} : render(views.error())));
  return *views;
}

/// A specification of one row a click; `more` is TOML before its labels.
inline std::string click_spec(const std::string& name, const std::string& more = {}) {
  return "name = \"" + name + "\"\nfeatures = [\"a.n\"]\n" + more + "[labels]\nevent = \"click\"\n";
}

/// Builds the set of `click_spec` in `folder`; its manifest.
inline training_manifest build_clicks(const std::filesystem::path& folder, const std::string& name, int count,
                                      const std::string& more = {}) {
  auto spec = parse_training_spec(click_spec(name, more), "spec");
  REQUIRE_MESSAGE(spec, (spec ? std::string{} : render(spec.error())));
  ingest::memory_stream log{clicks(count), 1};
  auto built = build_training_set(*spec, click_views(), log, folder);
  REQUIRE_MESSAGE(built, (built ? std::string{} : render(built.error())));
  return *parse_training_manifest(*built, "manifest");
}

/// Keeps such a set in `kept`.
inline training_manifest keep_clicks(training_set_repository& kept, const std::string& name, int count,
                                     const std::string& more = {}) {
  auto made = build_clicks(kept.workshop(name), name, count, more);
  auto published = kept.publish(name);
  REQUIRE_MESSAGE(published, (published ? std::string{} : render(published.error())));
  return made;
}

/// A feature store that does no more than give out what it keeps.
class training_store {
public:
  explicit training_store(const std::filesystem::path& folder)
      : address_{"ipc://" + (folder / "store.sock").string()}, kept{*training_set_repository::open(folder /
                                                                                                   "kept")} {
    start();
    net::client_options options;
    options.service = "feature-store";
    options.addresses = {address_};
    options.caller = "test";
    client = *net::client::open(std::move(options));
  }

  void start() {
    stopped = false;
    net::endpoint_options options;
    options.address = address_;
    options.identity = "feature-store/0";
    net::handler read = [this](net::request asked) {
      auto* query = flatbuffers::GetRoot<wire::TrainingRead>(asked.payload.data());
      if (before_page)
        before_page(++pages);
      if (stopped)
        return asked.respond.fail({ec::stopping, "the store of the test stops"});
      auto most = std::min<std::size_t>(query->max_bytes(), page_bytes);
      auto page = kept->read(query->name()->str(), query->file()->str(), query->offset(), most,
                             std::string{troupe::text_of(query->content_sha256())});
      asked.respond.finish(page ? expected<chunk>{encode_page(query->offset(), *page)}
                                : expected<chunk>{unexpected<error>{page.error()}});
    };
    endpoint_ = *net::endpoint::open(std::move(options), {{wire::Kind::training_read, read}});
  }

  /// As if killed: whoever asks finds nobody, and no page is given out any more.
  void stop() {
    stopped = true;
    stopped.notify_all();
    endpoint_.reset();
  }

private:
  std::string address_;
  std::unique_ptr<net::endpoint> endpoint_;

public:
  std::unique_ptr<training_set_repository> kept;
  std::shared_ptr<net::client> client;
  std::size_t page_bytes = 500; ///< So that a small set has many pages.
  std::atomic<int> pages{0};
  std::atomic<bool> stopped{false};
  std::function<void(int)> before_page; ///< Hears of each page asked for, on the thread of the sockets.
};

} // namespace troupe::feature_store::testing
