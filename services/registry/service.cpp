#include "services/registry/service.hpp"

#include "common/event/record.hpp"
#include "common/log/log.hpp"
#include "common/net/payload.hpp"

#include <exception>

namespace troupe::registry {

namespace {

constexpr auto identifier = "TRPR";
constexpr std::size_t largest_part = std::size_t{8} << 20;

template <class T>
expected<const T*> read(const chunk& payload, const char* name) {
  return net::read_as<T>(payload, identifier, name);
}

template <class Table>
chunk written(const typename Table::NativeTableType& value) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(Table::Pack(out, &value), identifier);
  return net::bytes_of(out);
}

/// The table that answers, from a value that may have failed.
template <class Table>
expected<chunk> written(expected<typename Table::NativeTableType> value) {
  if (!value)
    return unexpected<error>{std::move(value).error()};
  return written<Table>(*value);
}

expected<chunk> run_reply(expected<wire::RunT> run) {
  if (!run)
    return unexpected<error>{std::move(run).error()};
  wire::RunReplyT reply;
  reply.run = std::make_unique<wire::RunT>(std::move(*run));
  return written<wire::RunReply>(reply);
}

} // namespace

expected<std::unique_ptr<service>> service::open(const std::filesystem::path& data,
                                                 std::filesystem::path gate_file,
                                                 std::uint64_t max_blob_bytes, const service_metrics& seen) {
  TROUPE_TRY(blobs, blob_store::open(data / "blobs", max_blob_bytes, seen.artefact_bytes));
  TROUPE_TRY(db, open_database(data / "state"));
  // A gate that cannot be read is told at the start, not at the first registration.
  TROUPE_TRY(rules, gate::read(gate_file));
  static_cast<void>(rules);
  return std::unique_ptr<service>{new service{std::move(db), std::move(blobs), std::move(gate_file), seen}};
}

expected<chunk> service::answer(wire::Kind kind, const chunk& payload) {
  try {
    return answer_as(kind, payload);
  } catch (const std::exception& thrown) {
    log::error("request-threw", "the registry answers {} with an error: {}", net::to_string(kind),
               thrown.what());
    return fail(ec::internal, "answering {} failed: {}", net::to_string(kind), thrown.what());
  }
}

expected<chunk> service::answer_as(wire::Kind kind, const chunk& payload) {
  if (kind < wire::Kind::blob_put)
    return answer_about_runs(kind, payload);
  if (kind < wire::Kind::model_register)
    return answer_about_blobs(kind, payload);
  return answer_about_models(kind, payload);
}

expected<chunk> service::answer_about_runs(wire::Kind kind, const chunk& payload) {
  switch (kind) {
  case wire::Kind::run_create: {
    TROUPE_TRY(ask, read<wire::RunCreate>(payload, "RunCreate"));
    return run_reply(runs_.create(*ask));
  }
  case wire::Kind::run_update: {
    TROUPE_TRY(ask, read<wire::RunUpdate>(payload, "RunUpdate"));
    return run_reply(runs_.update(*ask));
  }
  case wire::Kind::run_show: {
    TROUPE_TRY(ask, read<wire::RunQuery>(payload, "RunQuery"));
    return run_reply(runs_.find(text_of(ask->run_id())));
  }
  case wire::Kind::run_list: {
    TROUPE_TRY(ask, read<wire::RunList>(payload, "RunList"));
    return written<wire::RunPage>(
        runs_.list(text_of(ask->experiment()), text_of(ask->before()), ask->limit()));
  }
  case wire::Kind::metric_read: {
    TROUPE_TRY(ask, read<wire::MetricQuery>(payload, "MetricQuery"));
    return written<wire::MetricPage>(runs_.metric(*ask));
  }
  default:
    return fail(ec::invalid_argument, "the registry does not serve {}", net::to_string(kind));
  }
}

expected<chunk> service::answer_about_blobs(wire::Kind kind, const chunk& payload) {
  if (kind == wire::Kind::blob_put) {
    TROUPE_TRY(ask, read<wire::BlobPut>(payload, "BlobPut"));
    auto* bytes = ask->bytes();
    if (bytes != nullptr && bytes->size() > largest_part)
      return fail(ec::invalid_argument, "a part of {} bytes is above the limit of {}", bytes->size(),
                  largest_part);
    byte_view view;
    if (bytes != nullptr)
      view = {reinterpret_cast<const std::byte*>(bytes->data()), bytes->size()};
    TROUPE_TRY(now, blobs_.put(text_of(ask->sha256()), ask->size(), ask->offset(), view));
    wire::BlobStatusT reply;
    reply.sha256 = text_of(ask->sha256());
    reply.size = now.size;
    reply.next_offset = now.next_offset;
    reply.complete = now.complete;
    return written<wire::BlobStatus>(reply);
  }
  TROUPE_TRY(ask, read<wire::BlobGet>(payload, "BlobGet"));
  auto limit = ask->limit() == 0 ? largest_part : std::min<std::size_t>(ask->limit(), largest_part);
  TROUPE_TRY(part, blobs_.read(text_of(ask->sha256()), ask->offset(), limit));
  flatbuffers::FlatBufferBuilder out{part.bytes.size() + 256};
  auto bytes = out.CreateVector(reinterpret_cast<const std::uint8_t*>(part.bytes.data()), part.bytes.size());
  out.Finish(wire::CreateBlobPart(out, part.size, ask->offset(), bytes), identifier);
  return net::bytes_of(out);
}

expected<chunk> service::answer_about_models(wire::Kind kind, const chunk& payload) {
  switch (kind) {
  case wire::Kind::model_register: {
    TROUPE_TRY(ask, read<wire::ModelRegister>(payload, "ModelRegister"));
    return written<wire::ModelVersion>(models_.add_version(*ask));
  }
  case wire::Kind::model_list: {
    TROUPE_TRY(ask, read<wire::ModelList>(payload, "ModelList"));
    return written<wire::ModelPage>(
        models_.versions(text_of(ask->name()), text_of(ask->after()), ask->limit()));
  }
  case wire::Kind::model_show: {
    TROUPE_TRY(ask, read<wire::ModelQuery>(payload, "ModelQuery"));
    return written<wire::ModelVersion>(models_.version(text_of(ask->name()), text_of(ask->version())));
  }
  case wire::Kind::model_change: {
    TROUPE_TRY(ask, read<wire::ModelChange>(payload, "ModelChange"));
    return written<wire::ModelVersion>(models_.change(*ask));
  }
  case wire::Kind::release_register: {
    TROUPE_TRY(ask, read<wire::ReleaseRegister>(payload, "ReleaseRegister"));
    return written<wire::Release>(models_.add_release(*ask));
  }
  case wire::Kind::release_list: {
    TROUPE_TRY(ask, read<wire::ReleaseList>(payload, "ReleaseList"));
    return written<wire::ReleasePage>(models_.releases(text_of(ask->before()), ask->limit()));
  }
  case wire::Kind::release_show: {
    TROUPE_TRY(ask, read<wire::ReleaseQuery>(payload, "ReleaseQuery"));
    return written<wire::Release>(models_.release(text_of(ask->id())));
  }
  default:
    return fail(ec::invalid_argument, "the registry does not serve {}", net::to_string(kind));
  }
}

} // namespace troupe::registry
