#include "services/cli/training_build.hpp"

#include "common/core/time.hpp"
#include "common/event/record.hpp"
#include "common/net/payload.hpp"

#include <thread>
#include <utility>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto start_timeout = 30s;
constexpr auto ask_timeout = 10s;
constexpr auto ask_again_after = 200ms;

} // namespace

expected<chunk> follow_training_build(net::client& store, const std::string& spec, const build_watch& watch) {
  flatbuffers::FlatBufferBuilder start;
  start.Finish(wire::CreateTrainingStartDirect(start, spec.c_str(), ""), "TRPF");
  auto begin = [&] {
    return store.call_to(training_builder, wire::Kind::training_start, net::bytes_of(start),
                         deadline::in(start_timeout));
  };
  TROUPE_TRY(last, begin());
  bool canceled = false, waits = false;
  for (auto give_up = deadline::in(watch.patience);;) {
    TROUPE_TRY(status, net::read_as<wire::TrainingStatus>(last.payload, "TRPF", "TrainingStatus"));
    watch.tell(*status);
    if (status->state() != wire::TrainingState::running)
      return last.payload;
    std::this_thread::sleep_for(ask_again_after);
    flatbuffers::FlatBufferBuilder ask;
    ask.Finish(wire::CreateTrainingQueryDirect(ask, text_of(status->training_id()).data()), "TRPF");
    bool interrupted = watch.interrupted();
    bool cancel = interrupted && !canceled;
    auto next =
        store.call_to(training_builder, cancel ? wire::Kind::training_cancel : wire::Kind::training_status,
                      net::bytes_of(ask), deadline::in(ask_timeout));
    if (!next && next.error().code == ec::not_found) { // It was started again.
      if (interrupted)
        return fail(ec::canceled, "the feature store was started again and builds the training set no more; "
                                  "the same command resumes it");
      next = begin(); // It goes on from its last checkpoint.
    }
    if (next) {
      last = std::move(*next);
      canceled = canceled || cancel;
      waits = false;
      give_up = deadline::in(watch.patience);
    } else if (disposition_of(next.error().code) != error_disposition::retry_later || give_up.passed()) {
      return with_context("following the build of the training set, which may go on",
                          std::move(next).error());
    } else if (!std::exchange(waits, true)) {
      watch.waits(next.error());
    }
  }
}

} // namespace troupe::cli
