#include "services/validator/engine.hpp"

#include "common/log/log.hpp"
#include "common/net/payload.hpp"

#include "schemas/validator_generated.h"

namespace troupe::validator {

namespace {

constexpr const char* identifier = "TRPV";

template <class Table>
chunk finish(const std::shared_ptr<flatbuffers::FlatBufferBuilder>& out, flatbuffers::Offset<Table> root) {
  out->Finish(root, identifier);
  byte_view view{reinterpret_cast<const std::byte*>(out->GetBufferPointer()), out->GetSize()};
  return {out, view};
}

/// The batch inside a request: in place where its address fits 64-bit numbers, else copied to one that does.
chunk batch_bytes(const chunk& payload, const flatbuffers::Vector<std::uint8_t>& nested) {
  auto* data = reinterpret_cast<const std::byte*>(nested.data());
  if (reinterpret_cast<std::uintptr_t>(data) % alignof(std::uint64_t) != 0)
    return chunk::copy({data, nested.size()});
  return payload.part(static_cast<std::size_t>(data - payload.data()), nested.size());
}

chunk encode_violations(const std::vector<row_violation>& lines) {
  auto out = std::make_shared<flatbuffers::FlatBufferBuilder>(64 + lines.size() * 128);
  std::vector<flatbuffers::Offset<wire::RowViolation>> parts;
  parts.reserve(lines.size());
  for (auto& each : lines) {
    auto rule = out->CreateSharedString(each.rule);
    auto field = out->CreateSharedString(each.field);
    parts.push_back(wire::CreateRowViolation(*out, each.record, rule, field, out->CreateString(each.reason)));
  }
  auto list = out->CreateVector(parts);
  return finish(out, wire::CreateRowViolations(*out, list));
}

/// Which schemas are in force, and what may not be meant by them.
void tell(const schema_folder& from, std::string_view event, std::string_view judges) {
  auto& all = from.rules()->schemas();
  log::info(event, "validator {} by {} schemas from {}", judges, all.size(), from.path().string());
  for (auto& each : doubts_about(all))
    log::warn("schema-doubtful", "{}", each);
}

} // namespace

chunk encode_validate(std::string_view source, std::uint64_t first_row, byte_view rows) {
  auto out = std::make_shared<flatbuffers::FlatBufferBuilder>(rows.size() + source.size() + 128);
  out->ForceVectorAlignment(rows.size(), 1, alignof(std::uint64_t));
  auto batch = out->CreateVector(reinterpret_cast<const std::uint8_t*>(rows.data()), rows.size());
  auto name = out->CreateString(source.data(), source.size());
  return finish(out, wire::CreateValidate(*out, name, first_row, batch));
}

engine::engine(const config& with, std::filesystem::path schemas, metrics::registry& counts,
               health::report report)
    : config_{with}, folder_{std::move(schemas)}, counts_{counts}, report_{std::move(report)} {}

engine::~engine() {
  if (profiles_)
    if (auto written = profiles_->flush(); !written)
      log::error("profiles-not-written", "validator cannot write its profiles: {}", render(written.error()));
}

expected<std::unique_ptr<engine>> engine::open(const config& with, const std::filesystem::path& schemas,
                                               const std::filesystem::path& state, metrics::registry& counts,
                                               health::report report) {
  std::unique_ptr<engine> made{new engine{with, schemas, counts, std::move(report)}};
  TROUPE_CHECK(made->folder_.refresh());
  made->looked_at_ = std::chrono::steady_clock::now();
  TROUPE_TRY(db, open_state(state, static_cast<std::size_t>(with.cache_bytes)));
  made->db_ = db;
  made->unique_ = std::make_unique<unique_store>(db, with.sync_unique ? store::durability::synced
                                                                      : store::durability::buffered);
  if (with.profile) {
    auto profiles = profile_store::open(db, {with.persist_rows, with.max_sources});
    if (!profiles)
      return unexpected<error>{std::move(profiles).error()};
    made->profiles_ = std::make_unique<profile_store>(std::move(*profiles));
  }
  made->report_.gauge("schemas", static_cast<double>(made->folder_.rules()->schemas().size()));
  tell(made->folder_, "schemas-read", "judges");
  return made;
}

expected<void> engine::reload_when_due() {
  auto now = std::chrono::steady_clock::now();
  if (now - looked_at_ < config_.reload_every)
    return {};
  looked_at_ = now;
  auto changed = folder_.refresh();
  if (!changed) {
    counts_.bad_schemas.add();
    report_.failed(changed.error());
    report_.degraded("changed schemas are broken; the old ones stay in force");
    log::error("schemas-broken", "validator keeps its old schemas: {}", render(changed.error()));
  } else if (*changed) {
    counts_.reloads.add();
    report_.ready();
    report_.gauge("schemas", static_cast<double>(folder_.rules()->schemas().size()));
    tell(folder_, "schemas-changed", "now judges");
  }
  return {};
}

expected<chunk> engine::answer(wire::Kind kind, const chunk& payload) {
  TROUPE_CHECK(reload_when_due());
  switch (kind) {
  case wire::Kind::validate:
    return validate(payload);
  case wire::Kind::profile:
    return profile(payload);
  case wire::Kind::schemas:
    return schemas();
  default:
    return fail(ec::invalid_argument, "the validator does not serve kind {}", static_cast<unsigned>(kind));
  }
}

expected<chunk> engine::validate(const chunk& payload) {
  auto began = std::chrono::steady_clock::now();
  TROUPE_TRY(request, net::read_as<wire::Validate>(payload, identifier, "Validate"));
  if (text_of(request->source()).empty() || !request->batch())
    return fail(ec::invalid_argument, "a validate request needs a source and a batch");
  // Its bytes were verified with the request, as what they are: a nested buffer.
  auto inner = batch_bytes(payload, *request->batch());
  if (inner.size() < 8 || !wire::BatchBufferHasIdentifier(inner.data()))
    return fail(ec::corrupt, "the batch of a validate request of source {} is not a batch",
                text_of(request->source()));
  auto rows = batch::trusted(std::move(inner));
  batch_place place{text_of(request->source()), request->first_row()};
  if (request->accepted() != 0)
    place.accepted = from_micros(request->accepted());
  if (request->max_ahead() >= 0)
    place.max_ahead = std::chrono::microseconds{request->max_ahead()};
  TROUPE_TRY(judged, folder_.rules()->validate(rows, place, unique_.get()));
  if (profiles_) {
    // A profile that cannot be written costs no answer: it stays in memory and is written with a later batch.
    if (auto added = profiles_->add(place, rows, judged); !added) {
      report_.failed(added.error());
      log::error("profile-not-written", "validator cannot write the profile of source {}: {}", place.source,
                 render(added.error()));
    }
    counts_.not_profiled.set(static_cast<double>(profiles_->not_profiled()));
  }
  counts_.batches.add();
  counts_.rows.add(static_cast<double>(rows.size()));
  report(judged, place.source);
  auto answer = encode_violations(judged.lines);
  counts_.validate_seconds.observe(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  return answer;
}

void engine::report(const validation& judged, std::string_view source) {
  counts_.refused.add(static_cast<double>(judged.refused_records));
  for (auto& each : judged.lines)
    counts_.refused_by(each.rule, 1);
  for (auto& each : judged.nulls) {
    counts_.null_reports.add();
    log::warn("null-rate",
              "field {} of schema {} is absent in {:.1f} % of a batch of source {}, {:.1f} % are allowed",
              each.field, each.schema, each.rate * 100, source, each.bound * 100);
  }
  report_.gauge("rows", counts_.rows.value());
  report_.gauge("refused", counts_.refused.value());
}

expected<chunk> engine::profile(const chunk& payload) const {
  TROUPE_TRY(request, net::read_as<wire::ProfileQuery>(payload, identifier, "ProfileQuery"));
  if (!profiles_)
    return fail(ec::not_found, "this validator keeps no profiles: its setting `profile` is off");
  TROUPE_TRY(found, profiles_->read(text_of(request->source())));
  auto out = std::make_shared<flatbuffers::FlatBufferBuilder>(4096);
  auto json = out->CreateString(to_json(found));
  return finish(out, wire::CreateProfileReply(*out, json));
}

expected<chunk> engine::schemas() const {
  auto out = std::make_shared<flatbuffers::FlatBufferBuilder>(4096);
  std::vector<flatbuffers::Offset<flatbuffers::String>> names, texts;
  for (auto& each : folder_.files()) {
    names.push_back(out->CreateString(each.name));
    texts.push_back(out->CreateString(each.toml));
  }
  auto listed = out->CreateVector(names);
  return finish(out, wire::CreateSchemasReply(*out, listed, out->CreateVector(texts)));
}

} // namespace troupe::validator
