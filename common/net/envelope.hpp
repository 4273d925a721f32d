#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/core/hash.hpp"

#include "schemas/envelope_generated.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::net {

/// The version that this program writes; it reads this one and those before.
inline constexpr std::uint16_t envelope_version = 1;

/// An envelope never has more bytes; longer error texts are cut when written.
inline constexpr std::size_t max_envelope_bytes = 4096;

/// W3C trace context, level 1. All zero: not traced.
struct trace_context {
  std::uint64_t trace_high = 0;
  std::uint64_t trace_low = 0;
  std::uint64_t span = 0;
  std::uint8_t flags = 0;

  friend bool operator==(const trace_context&, const trace_context&) = default;
};

/// The C++ face of schemas/envelope.fbs: the first frame of every message between two processes.
struct envelope {
  wire::Kind kind = wire::Kind::none;
  bool reply = false;
  hash128 request_id;
  trace_context trace;
  std::chrono::microseconds time_left{0};
  std::string caller;
  std::optional<error> failure; ///< Replies only.
  std::chrono::milliseconds retry_after{0};

  friend bool operator==(const envelope&, const envelope&) = default;
};

/// The bytes of the first frame.
chunk encode(const envelope& from);

/// Verifies and reads the first frame. Fails with ec::corrupt for bytes that are no envelope, and with
/// ec::unsupported_version for one of a later version. Never crashes, whatever the bytes.
expected<envelope> decode_envelope(byte_view bytes);

/// The request id of an envelope that `decode_envelope` refused for its version, so that it can be answered.
std::optional<hash128> request_id_of(byte_view bytes);

/// True when asking twice does no more than asking once: only such requests are ever sent again.
bool idempotent(wire::Kind kind) noexcept;

/// `read_features`, or `kind 4711` for one this program does not know.
std::string to_string(wire::Kind kind);

} // namespace troupe::net
