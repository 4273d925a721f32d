#pragma once

#include "common/event/record.hpp"

#include <cstdint>
#include <vector>

namespace troupe::command_line {
class command;
} // namespace troupe::command_line

namespace troupe::cli {

class context;

/// Which events are held out: of each user the last `share` by event time, rounded down, equal times in their
/// order here; none of a user with fewer than `least` events.
std::vector<bool> choose_held_out(const std::vector<record>& events, double share, std::uint64_t least);

/// `troupe split`: parts a data set into what is trained on and what is held out.
void add_split_command(command_line::command& app, context& context);

} // namespace troupe::cli
