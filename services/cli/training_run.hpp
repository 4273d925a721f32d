#pragma once

#include "services/cli/context.hpp"

#include "common/net/envelope.hpp"

#include "schemas/trainer_generated.h"

#include <string>
#include <string_view>

namespace troupe::cli {

/// What the trainer says of a run, kept with the bytes it lives in.
struct train_answer {
  chunk bytes;
  const wire::TrainStatus& operator*() const {
    return *flatbuffers::GetRoot<wire::TrainStatus>(bytes.data());
  }
  const wire::TrainStatus* operator->() const { return &**this; }
};

/// Orders the run `id`; the same id again is the same run. `parent`: the version it trains again, or none.
expected<train_answer> start_run(context& with, const std::string& id, const std::string& config,
                                 const std::string& parent);

/// Asks for the status of a run, or, by `kind` train_cancel, for its end.
expected<train_answer> ask_run(context& with, wire::Kind kind, const std::string& id);

/// Shows the progress until the run has ended, or Ctrl-C; the run goes on after that.
expected<train_answer> follow_run(context& with, const std::string& id);

/// 0 where the run has no such metric.
double metric_of(const wire::TrainStatus& status, std::string_view name);

} // namespace troupe::cli
