#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/net/envelope.hpp"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

namespace troupe::deployer {

/// The alias that stands at what is in production: the quality gate of the registry compares with it.
inline constexpr auto production_alias = "production";

/// Moves the alias `production` of the registry: to every model of the release `to`, and away from those
/// models of `from` that `to` has no more. A list of questions to the registry, asked one after the other;
/// each sets what it names, so that the whole may be begun again after any failure.
class alias_task {
public:
  struct question {
    wire::Kind kind = wire::Kind::none;
    chunk payload;
  };

  /// Either may be empty: nothing to set, nothing to take away.
  alias_task(std::string to, std::string from);

  /// What to ask now; nothing when all is done.
  std::optional<question> next() const;

  /// The answer to `next`.
  expected<void> on_answer(const chunk& payload);

private:
  struct model {
    std::string name, hash;
    std::uint64_t version = 0; ///< 0: not known yet.
    bool set = true;           ///< Otherwise: take away.
  };
  expected<void> on_release(const chunk& payload);
  expected<void> on_version(const chunk& payload);

  std::deque<std::pair<std::string, bool>> releases_; ///< To read: id, and whether its models get the alias.
  std::deque<model> models_;
};

} // namespace troupe::deployer
