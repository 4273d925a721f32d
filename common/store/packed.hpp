#pragma once

#include "common/core/error.hpp"

#include <flatbuffers/flatbuffers.h>

#include <string>
#include <string_view>

/// Values that are kept as the tables that travel.
namespace troupe::store {

template <class Table>
std::string packed(const typename Table::NativeTableType& value) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(Table::Pack(out, &value));
  return {reinterpret_cast<const char*>(out.GetBufferPointer()), out.GetSize()};
}

/// ec::corrupt where the bytes are no such table. `what`: of what they are the record.
template <class Table>
expected<typename Table::NativeTableType> unpacked(std::string_view bytes, std::string_view what) {
  // A database hands values out wherever they lie in a block; a table is read in place, aligned.
  std::string copy;
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(std::max_align_t) != 0) {
    copy = bytes;
    bytes = copy;
  }
  auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  flatbuffers::Verifier verifier{data, bytes.size(), 64, 1u << 30};
  if (!verifier.VerifyBuffer<Table>(nullptr))
    return fail(ec::corrupt, "the record of {} is damaged", what);
  typename Table::NativeTableType value;
  flatbuffers::GetRoot<Table>(data)->UnPackTo(&value);
  return value;
}

} // namespace troupe::store
