#pragma once

namespace troupe {

/// How a program ends, but for 0 where all went well. Who supervises a service decides by this.
inline constexpr int exit_failed = 1; ///< A start failed or a component died: starting it again may help.
inline constexpr int exit_usage = 2;  ///< Its flags or its configuration are wrong: it cannot help.
inline constexpr int exit_address_in_use = 3; ///< Somebody else listens where it should.

} // namespace troupe
