#include "tests/contract/message_table.hpp"
#include "tests/contract/service_messages.hpp"

#include "schemas/trainer_generated.h"

namespace troupe::contract {

void add_trainer(std::vector<message>& all) {
  constexpr auto id = "TRPT";
  all.push_back(table<wire::TrainStart>(
      "train_start", id,
      [](builder& out) { return wire::CreateTrainStartDirect(out, "r1", "model = \"ease\"", "ease:3"); },
      [](auto& m) {
        return is(m.run_id(), "r1") && is(m.config(), "model = \"ease\"") && is(m.parent(), "ease:3");
      }));
  all.push_back(table<wire::TrainStatus>(
      "train_status", id,
      [](builder& out) {
        std::vector metrics{wire::CreateTrainMetricDirect(out, "loss", 0.5)};
        return wire::CreateTrainStatusDirect(out, "r1", wire::TrainState::failed, "why", "fitting", 1, 2, 3.5,
                                             4.5, 5, &metrics, "{}");
      },
      [](auto& m) {
        return is(m.run_id(), "r1") && m.state() == wire::TrainState::failed && is(m.error(), "why") &&
               is(m.stage(), "fitting") && m.step() == 1 && m.steps_total() == 2 &&
               m.samples_per_second() == 3.5 && m.seconds_left() == 4.5 && m.restarts() == 5 &&
               is(m.metrics()->Get(0)->name(), "loss") && m.metrics()->Get(0)->value() == 0.5 &&
               is(m.manifest(), "{}");
      }));
}

} // namespace troupe::contract
