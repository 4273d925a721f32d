#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include "schemas/feature_store_generated.h"

/// What the commands that ask the feature store share.
namespace troupe::cli {

inline chunk bytes_of(const flatbuffers::FlatBufferBuilder& out) {
  return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
}

/// An answer of the feature store, in place: `payload` must outlive it.
template <class T>
expected<const T*> verified(const chunk& payload, const char* name) {
  flatbuffers::Verifier verifier{reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size(), 64,
                                 1u << 30};
  if (!verifier.VerifyBuffer<T>("TRPF"))
    return fail(ec::corrupt, "the feature store's answer is not a {}", name);
  return flatbuffers::GetRoot<T>(payload.data());
}

} // namespace troupe::cli
