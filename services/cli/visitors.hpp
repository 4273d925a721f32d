#pragma once

#include "services/cli/world/truth.hpp"

#include "common/core/error.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::cli {

/// Who comes to `troupe visit`, and what they would click on: a position-based click model (Craswell et al.,
/// 2008), examination times attraction. Immutable; any thread.
class visitors {
public:
  virtual ~visitors() = default;

  /// Id of a user; the same source gives the same one.
  virtual std::string draw_user(world::random& source) const = 0;

  /// Nothing where the item is none of theirs. Positions count from 1.
  virtual std::optional<double> click_probability(std::string_view user, std::string_view item,
                                                  unsigned position) const = 0;
};

/// Those of a generated world: their attraction is the truth of `troupe generate`.
std::unique_ptr<visitors> visitors_of_world(const world::settings& how);

/// The users of events that were held out (`troupe split`): attraction is 0.8 for an item that the user took
/// in them and 0.02 for any other. A user comes as often as he has events there.
expected<std::unique_ptr<visitors>> visitors_of_events(const std::string& path, const std::string& mapping);

} // namespace troupe::cli
