#pragma once

#include "services/trainer/engine/data.hpp"
#include "services/trainer/engine/progress.hpp"

namespace troupe::trainer {

/// Reads interactions from Parquet (a name that ends in ".parquet": columns user, item, event_time and
/// perhaps more; event_time is a time or microseconds since 1970) or from text as `read_interactions` does.
/// In order of time, equal times as they stand in the file; rows without user or item are refused. `sink`
/// hears of the rows of Parquet as they are read; ec::canceled where it gives false.
expected<interactions> read_interactions_file(const std::filesystem::path& file,
                                              const progress_sink& sink = {});

} // namespace troupe::trainer
