#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/net/payload.hpp"

#include <flatbuffers/flatbuffers.h>

#include <memory>
#include <utility>

namespace troupe::ingest {

/// The file identifiers of the two contracts spoken here.
inline constexpr const char* ingest_identifier = "TRPI";
inline constexpr const char* validator_identifier = "TRPV";

/// A verified table and the bytes it lives in.
template <class Table>
class message {
public:
  /// Fails with ec::corrupt when the bytes are not such a table.
  static expected<message> open(chunk bytes, const char* identifier = ingest_identifier) {
    TROUPE_CHECK(net::read_as<Table>(bytes, identifier, "message that this kind needs"));
    return message{std::move(bytes)};
  }

  const Table* operator->() const noexcept { return table_; }
  const Table& operator*() const noexcept { return *table_; }
  const chunk& bytes() const noexcept { return bytes_; }

  /// A nested vector of bytes with this message as its owner. Its alignment is that of the message.
  chunk part(const flatbuffers::Vector<std::uint8_t>& of) const {
    return {std::make_shared<chunk>(bytes_), {reinterpret_cast<const std::byte*>(of.data()), of.size()}};
  }

private:
  explicit message(chunk bytes)
      : bytes_{std::move(bytes)}, table_{flatbuffers::GetRoot<Table>(bytes_.data())} {}
  chunk bytes_;
  const Table* table_;
};

/// Builds a message: `build_message([&](auto& out) { return wire::CreateX(out, ...); })`.
template <class Build>
chunk build_message(Build&& build, const char* identifier = ingest_identifier, std::size_t size = 1024) {
  auto out = std::make_shared<flatbuffers::FlatBufferBuilder>(size);
  out->Finish(build(*out), identifier);
  byte_view view{reinterpret_cast<const std::byte*>(out->GetBufferPointer()), out->GetSize()};
  return {std::move(out), view};
}

} // namespace troupe::ingest
