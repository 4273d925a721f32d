#include "services/trainer/run_status.hpp"

#include "common/net/payload.hpp"

namespace troupe::trainer {

chunk encode(const run_status& status) {
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::TrainMetric>> metrics;
  for (auto& [name, value] : status.metrics)
    metrics.push_back(wire::CreateTrainMetricDirect(out, name.c_str(), value));
  out.Finish(wire::CreateTrainStatusDirect(out, status.id.c_str(), status.state, status.error.c_str(),
                                           status.stage.c_str(), status.step, status.steps_total,
                                           status.samples_per_second, status.seconds_left, status.restarts,
                                           &metrics, status.manifest.c_str()),
             "TRPT");
  return net::bytes_of(out);
}

} // namespace troupe::trainer
