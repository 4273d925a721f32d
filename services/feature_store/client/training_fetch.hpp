#pragma once

#include "services/feature_store/client/training_manifest.hpp"

#include "common/net/client.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace troupe::feature_store {

/// The replica that builds training sets, and keeps them.
inline constexpr std::uint32_t training_builder = 0;

/// How far a training set is on its way.
struct fetch_progress {
  std::uint64_t bytes = 0;
  std::uint64_t bytes_total = 0; ///< 0 until the feature store has said it.
  std::string waits_for;         ///< Why nothing moves; empty while it does.
};

struct fetch_options {
  /// A feature store that is away, or refuses for a while, is asked again for so long.
  std::chrono::milliseconds patience{60'000};
  /// Hears of every page and several times a second while nothing moves; false: end with ec::canceled.
  std::function<bool(const fetch_progress&)> tell;
};

/// The manifest of the training set that replica 0 of the feature store, which builds them, keeps under
/// `name`. Blocks.
expected<training_manifest> kept_manifest(net::client& store, const std::string& name,
                                          const fetch_options& options = {});

/// Fetches the training set `of` into `folder`, page by page, which becomes a finished training set when
/// every value in it has been hashed and the hash is that of the manifest; until then what came is in
/// `folder`/.fetch, and a fetch that was cut off goes on there. One that is there already is hashed again and
/// not fetched. Fails with ec::conflict where the folder holds another training set, or where the name has
/// another content now; with ec::corrupt where what came, twice, is not what the manifest says. One caller a
/// folder. Blocks.
expected<training_check> fetch_training_set(net::client& store, const training_manifest& of,
                                            const std::filesystem::path& folder,
                                            const fetch_options& options = {});

} // namespace troupe::feature_store
