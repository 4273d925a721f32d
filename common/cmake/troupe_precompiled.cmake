# What nearly every unit reads, read once. A header belongs here when many units include it and it changes with Debian only.
set(base <algorithm> <array> <atomic> <charconv> <chrono> <cmath> <condition_variable> <cstdint> <cstring> <deque> <filesystem>
  <fstream> <functional> <limits> <map> <memory> <mutex> <numeric> <optional> <random> <set> <shared_mutex> <span> <sstream>
  <string> <string_view> <thread> <tuple> <unordered_map> <unordered_set> <utility> <variant> <vector>
  <fmt/format.h> <tl/expected.hpp> <flatbuffers/flatbuffers.h> <boost/json.hpp>)
set(actors <caf/actor_cast.hpp> <caf/actor_system.hpp> <caf/actor_system_config.hpp> <caf/send.hpp> <caf/stateful_actor.hpp>
  <caf/typed_event_based_actor.hpp>)

troupe_precompiled(base HEADERS ${base})
troupe_precompiled(actors HEADERS ${base} ${actors})
troupe_precompiled(libtorch DEPS Troupe::libtorch OPTIONS ${TROUPE_LIBTORCH_OPTIONS} HEADERS ${base} <torch/types.h> <torch/nn.h> <torch/utils.h>)
if(TROUPE_TESTS)
  troupe_precompiled(test DEPS troupe_doctest OPTIONS ${TROUPE_TEST_OPTIONS} HEADERS ${base} ${actors} <doctest/doctest.h>)
endif()
