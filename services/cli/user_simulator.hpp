#pragma once

#include "services/cli/synthetic_data/preference_model.hpp"

#include "common/core/error.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::cli {

/// The users of `troupe simulate`, and what they would click on: a position-based click model (Craswell et
/// al., 2008), examination times attraction. Immutable; any thread.
class user_simulator {
public:
  virtual ~user_simulator() = default;

  /// Id of a user; the same source gives the same one.
  virtual std::string draw_user(synthetic_data::random& source) const = 0;

  /// Nothing where the item is none of theirs. Positions count from 1.
  virtual std::optional<double> click_probability(std::string_view user, std::string_view item,
                                                  unsigned position) const = 0;
};

/// Those of `troupe generate`: their attraction is that of its preference model.
std::unique_ptr<user_simulator> simulate_synthetic_users(const synthetic_data::settings& config);

/// The users of events that were held out (`troupe split`): attraction is 0.8 for an item that the user took
/// in them and 0.02 for any other. A user comes as often as he has events there.
expected<std::unique_ptr<user_simulator>> simulate_held_out_users(const std::string& path,
                                                                  const std::string& mapping);

} // namespace troupe::cli
