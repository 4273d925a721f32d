#include "services/feature_store/training_wire.hpp"

#include "schemas/feature_store_generated.h"

namespace troupe::feature_store {

namespace {

using builder = flatbuffers::FlatBufferBuilder;

template <class Table>
chunk finished(builder& out, flatbuffers::Offset<Table> root) {
  out.Finish(root, "TRPF");
  return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
}

flatbuffers::Offset<wire::KeptTraining> put(builder& out, const kept_training::entry& from) {
  return wire::CreateKeptTrainingDirect(out, from.name.c_str(), from.rows, from.bytes,
                                        from.content_sha256.c_str(), from.made_at);
}

} // namespace

chunk encode_page(std::uint64_t offset, const kept_training::page& from) {
  builder out{from.bytes.size() + 256};
  auto bytes = out.CreateVector(reinterpret_cast<const std::uint8_t*>(from.bytes.data()), from.bytes.size());
  return finished(out, wire::CreateTrainingPage(out, offset, bytes, from.size, from.set_bytes));
}

chunk encode_list(const std::vector<kept_training::entry>& sets, bool last) {
  builder out;
  std::vector<flatbuffers::Offset<wire::KeptTraining>> all;
  for (auto& each : sets)
    all.push_back(put(out, each));
  return finished(out, wire::CreateTrainingListPageDirect(out, &all, last));
}

chunk encode_kept(const kept_training::entry& from) {
  builder out;
  return finished(out, put(out, from));
}

} // namespace troupe::feature_store
