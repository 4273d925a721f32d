#include "services/cli/training_run.hpp"

#include "services/cli/ingest_progress.hpp"

#include "common/event/record.hpp"
#include "common/net/client.hpp"
#include "common/net/payload.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <thread>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;

expected<train_answer> ask_trainer(context& with, wire::Kind kind,
                                   const flatbuffers::FlatBufferBuilder& out) {
  TROUPE_TRY(client, with.client("trainer"));
  TROUPE_TRY(got, client->call(kind, net::bytes_of(out), deadline::in(10s)));
  TROUPE_CHECK(net::read_as<wire::TrainStatus>(got.payload, nullptr, "answer of trainer"));
  return train_answer{got.payload};
}

void show_training_bar(const wire::TrainStatus& status) {
  auto share = status.steps_total() == 0
                   ? 0.0
                   : static_cast<double>(status.step()) / static_cast<double>(status.steps_total());
  fmt::print(stderr, "\r\033[K{} {} loss {:.4f} lr {:.2g} gradient {:.3g} {:.0f} samples/s {:.0f} s left",
             bar(share, 24), text_of(status.stage()), metric_of(status, "loss"),
             metric_of(status, "learning_rate"), metric_of(status, "gradient_norm"),
             status.samples_per_second(), status.seconds_left());
  std::fflush(stderr);
}

} // namespace

expected<train_answer> start_run(context& with, const std::string& id, const std::string& config,
                                 const std::string& parent) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateTrainStartDirect(out, id.c_str(), config.c_str(), parent.c_str()), "TRPT");
  return ask_trainer(with, wire::Kind::train_start, out);
}

expected<train_answer> ask_run(context& with, wire::Kind kind, const std::string& id) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateTrainQueryDirect(out, id.c_str()), "TRPT");
  return ask_trainer(with, kind, out);
}

expected<train_answer> follow_run(context& with, const std::string& id) {
  context::watch_interrupt();
  auto shown = stderr_is_terminal() && !with.json;
  for (;;) {
    TROUPE_TRY(now, ask_run(with, wire::Kind::train_status, id));
    bool over = now->state() >= wire::TrainState::done || context::interrupted();
    if (shown && !over)
      show_training_bar(*now);
    if (over) {
      if (shown)
        fmt::print(stderr, "\r\033[K");
      return now;
    }
    std::this_thread::sleep_for(250ms);
  }
}

double metric_of(const wire::TrainStatus& status, std::string_view name) {
  if (status.metrics())
    for (auto* each : *status.metrics())
      if (text_of(each->name()) == name)
        return each->value();
  return 0;
}

} // namespace troupe::cli
