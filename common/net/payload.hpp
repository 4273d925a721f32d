#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <flatbuffers/flatbuffers.h>

#include <string_view>

/// FlatBuffers and payloads.
namespace troupe::net {

/// The payload that a finished builder holds, copied.
inline chunk bytes_of(const flatbuffers::FlatBufferBuilder& out) {
  return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
}

/// The table in `payload`, all of it verified first; good as long as the payload is. `identifier` is that of
/// the contract: `TRPI`. ec::corrupt says that it is no `what`.
template <class Table>
expected<const Table*> read_as(const chunk& payload, const char* identifier, std::string_view what) {
  flatbuffers::Verifier verifier{reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size(), 64,
                                 1u << 30};
  if (payload.size() < 8 || !verifier.VerifyBuffer<Table>(identifier))
    return fail(ec::corrupt, "a payload of {} bytes is no {}", payload.size(), what);
  return flatbuffers::GetRoot<Table>(payload.data());
}

} // namespace troupe::net
