#include "services/feature_store/training/training_wire.hpp"

#include "common/net/payload.hpp"

#include "schemas/feature_store_generated.h"

namespace troupe::feature_store {

namespace {

flatbuffers::Offset<wire::KeptTraining> put(flatbuffers::FlatBufferBuilder& out,
                                            const training_set_repository::entry& from) {
  return wire::CreateKeptTrainingDirect(out, from.name.c_str(), from.rows, from.bytes,
                                        from.content_sha256.c_str(), from.made_at);
}

} // namespace

chunk encode_page(std::uint64_t offset, const training_set_repository::page& from) {
  flatbuffers::FlatBufferBuilder out{from.bytes.size() + 256};
  auto bytes = out.CreateVector(reinterpret_cast<const std::uint8_t*>(from.bytes.data()), from.bytes.size());
  out.Finish(wire::CreateTrainingPage(out, offset, bytes, from.size, from.set_bytes), "TRPF");
  return net::bytes_of(out);
}

chunk encode_list(const std::vector<training_set_repository::entry>& sets, bool last) {
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::KeptTraining>> all;
  for (auto& each : sets)
    all.push_back(put(out, each));
  out.Finish(wire::CreateTrainingListPageDirect(out, &all, last), "TRPF");
  return net::bytes_of(out);
}

chunk encode_kept(const training_set_repository::entry& from) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(put(out, from), "TRPF");
  return net::bytes_of(out);
}

} // namespace troupe::feature_store
