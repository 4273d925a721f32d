#pragma once

#include "tests/contract/messages.hpp"

#include "common/event/record.hpp"

#include <flatbuffers/flatbuffers.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::contract {

using builder = flatbuffers::FlatBufferBuilder;
using text_vector = std::vector<flatbuffers::Offset<flatbuffers::String>>;

/// The instant that messages carry, in microseconds since 1970.
inline constexpr std::int64_t at = 1'700'000'000'123'456;

/// A message of table `Table` under `identifier`: written by `build(out)`, read by `check(table)`.
template <class Table, class Build, class Check>
message table(std::string name, const char* identifier, Build build, Check check) {
  return {name + ".v1.bin",
          [=] {
            builder out;
            out.Finish(build(out), identifier);
            return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
          },
          [=](byte_view bytes) {
            auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
            flatbuffers::Verifier verifier{data, bytes.size()};
            return verifier.VerifyBuffer<Table>(identifier) && check(*flatbuffers::GetRoot<Table>(data));
          }};
}

/// A message that is kept as a value: what is read, written again, is the same bytes.
template <class Table, class Fill>
message value_table(std::string name, Fill fill, const char* identifier) {
  auto write = [=](const typename Table::NativeTableType& value) {
    builder out;
    out.Finish(Table::Pack(out, &value), identifier);
    return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
  };
  return {name + ".v1.bin",
          [=] {
            typename Table::NativeTableType value;
            fill(value);
            return write(value);
          },
          [=](byte_view bytes) {
            auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
            flatbuffers::Verifier verifier{data, bytes.size()};
            if (!verifier.VerifyBuffer<Table>(identifier))
              return false;
            typename Table::NativeTableType value;
            flatbuffers::GetRoot<Table>(data)->UnPackTo(&value);
            return write(value).text() == as_text(bytes);
          }};
}

inline bool is(const flatbuffers::String* text, std::string_view expected) {
  return text_of(text) == expected;
}

} // namespace troupe::contract
