#include "services/cli/training_build.hpp"

#include "services/feature_store/testing/training_store.hpp"
#include "services/feature_store/training/training_jobs.hpp"

#include "common/metrics/metrics.hpp"
#include "common/testing/temp_dir.hpp"

#include <atomic>
#include <future>

using namespace troupe;
using namespace troupe::cli;
using namespace troupe::feature_store::testing;

namespace {

/// A feature store that does no more than build training sets; a build stays at its begin until `go`.
class build_store {
public:
  explicit build_store(const std::filesystem::path& folder)
      : address_{"ipc://" + (folder / "store.sock").string()},
        kept_{*feature_store::training_set_repository::open(folder / "kept")} {
    restart();
    net::client_options options;
    options.service = "feature-store";
    options.addresses = {address_};
    options.caller = "test";
    client = *net::client::open(std::move(options));
  }
  ~build_store() {
    stop();
    let_go();
  }

  /// Whoever asks finds nobody. What is being built goes on.
  void stop() { endpoint_.reset(); }

  void start() {
    net::endpoint_options options;
    options.address = address_;
    options.identity = "feature-store/0";
    net::handler begin = [this](net::request asked) {
      ++starts;
      auto* start = flatbuffers::GetRoot<wire::TrainingStart>(asked.payload.data());
      asked.respond.finish(jobs_->start(start->spec()->str(), start->out()->str()));
    };
    net::handler look = [this](net::request asked) {
      auto* query = flatbuffers::GetRoot<wire::TrainingQuery>(asked.payload.data());
      bool cancel = asked.info.kind == wire::Kind::training_cancel;
      asked.respond.finish(jobs_->query(query->training_id()->str(), cancel));
      if (cancel)
        let_go();
    };
    endpoint_ = *net::endpoint::open(std::move(options), {{wire::Kind::training_start, begin},
                                                          {wire::Kind::training_status, look},
                                                          {wire::Kind::training_cancel, look}});
  }

  /// As if killed and started again: it knows of no build.
  void restart() {
    stop();
    let_go();
    jobs_.reset();
    go_ = std::make_shared<std::promise<void>>();
    jobs_ = std::make_unique<feature_store::training_jobs>(
        click_views(),
        [hold = go_->get_future().share()] {
          hold.wait();
          return std::make_unique<ingest::memory_stream>(clicks(40), 1);
        },
        kept_, std::uint64_t{64} << 20, registry_.counter("rows", ""));
    start();
  }

  void let_go() {
    if (auto go = std::exchange(go_, nullptr))
      go->set_value();
  }

  std::atomic<int> starts{0};
  std::unique_ptr<net::client> client;

private:
  std::string address_;
  metrics::registry registry_;
  std::shared_ptr<feature_store::training_set_repository> kept_;
  std::shared_ptr<std::promise<void>> go_;
  std::unique_ptr<feature_store::training_jobs> jobs_;
  std::unique_ptr<net::endpoint> endpoint_;
};

const wire::TrainingStatus& read(const chunk& bytes) {
  return *flatbuffers::GetRoot<wire::TrainingStatus>(bytes.data());
}

constexpr int patience_of_test = 20; ///< Looks at a build, after which it is let go whatever happens.

} // namespace

TEST_CASE("a build is canceled by Ctrl-C also while the feature store is away") {
  troupe::testing::temp_dir dir;
  build_store store{dir.path()};
  int looks = 0, away = 0, heard = 0;
  build_watch watch;
  watch.tell = [&](auto&) {
    if (++looks == 1)
      store.stop();
    else if (looks == patience_of_test)
      store.let_go();
  };
  watch.interrupted = [&] {
    if (++away == 3) // Twice it was asked to cancel and did not answer.
      store.start();
    return true;
  };
  watch.waits = [&](auto&) { ++heard; };

  auto last = follow_training_build(*store.client, click_spec("clicks"), watch);

  REQUIRE_MESSAGE(last, (last ? std::string{} : render(last.error())));
  CHECK(read(*last).state() == wire::TrainingState::canceled);
  CHECK(heard == 1);
  CHECK(store.starts == 1);
}

TEST_CASE("a feature store that was started again goes on with a build, but not with one that was canceled") {
  troupe::testing::temp_dir dir;
  build_store store{dir.path()};
  bool ctrl_c = false;
  int looks = 0;
  build_watch watch;
  watch.tell = [&](auto&) {
    if (++looks == 1)
      store.restart();
    else
      store.let_go();
  };
  watch.interrupted = [&] { return ctrl_c; };
  watch.waits = [](auto&) {};

  auto done = follow_training_build(*store.client, click_spec("clicks"), watch);
  auto starts = store.starts.load();
  looks = 0;
  ctrl_c = true;
  auto canceled = follow_training_build(*store.client, click_spec("clicks", "ages = true\n"), watch);

  REQUIRE_MESSAGE(done, (done ? std::string{} : render(done.error())));
  CHECK(read(*done).state() == wire::TrainingState::done);
  CHECK(starts == 2);
  REQUIRE(!canceled);
  CHECK(canceled.error().code == ec::canceled);
  CHECK(store.starts == starts + 1);
}

TEST_CASE("a feature store that stays away is given up while a build is followed") {
  troupe::testing::temp_dir dir;
  build_store store{dir.path()};
  build_watch watch;
  watch.patience = std::chrono::milliseconds{0};
  watch.tell = [&](auto&) { store.stop(); };
  watch.interrupted = [] { return false; };
  watch.waits = [](auto&) {};

  auto gone = follow_training_build(*store.client, click_spec("clicks"), watch);

  REQUIRE(!gone);
  CHECK(gone.error().code == ec::unavailable);
  CHECK(gone.error().text.find("following the build") != std::string::npos);
}
