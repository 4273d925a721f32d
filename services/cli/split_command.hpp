#pragma once

#include "common/event/record.hpp"

#include <cstdint>
#include <vector>

namespace CLI {
class App;
} // namespace CLI

namespace troupe::cli {

class context;

/// Which events are held out: of each user the last `share` by event time, rounded down, equal times in their
/// order here; none of a user with fewer than `least` events.
std::vector<bool> choose_held_out(const std::vector<record>& events, double share, std::uint64_t least);

/// `troupe split`: parts a data set into what is trained on and what is held out.
void add_split_command(CLI::App& app, context& context);

} // namespace troupe::cli
