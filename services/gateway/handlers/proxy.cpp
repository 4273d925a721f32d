#include "services/gateway/handlers/proxy.hpp"

#include "services/gateway/gateway_deps.hpp"
#include "services/gateway/http/render.hpp"
#include "services/gateway/http/request_body.hpp"

#include "common/json/parse.hpp"
#include "common/net/payload.hpp"

#include "schemas/deployer_generated.h"
#include "schemas/registry_generated.h"

#include <charconv>

namespace troupe::gateway {

namespace {

using flatbuffers::FlatBufferBuilder;

/// A manifest is JSON inside a text; what cannot be read stays a text.
json::value document(const flatbuffers::String* from) {
  auto out = parse_json(text_of(from));
  return out ? std::move(*out) : json::value(text(from));
}

json::value time_of(std::int64_t micros) {
  return micros == 0 ? json::value(nullptr) : json::value(to_rfc3339(from_micros(micros)));
}

template <class Vector>
json::object named(const Vector* from) {
  json::object out;
  if (from)
    for (const auto* each : *from)
      out[text_of(each->name())] = text(each->text());
  return out;
}

template <class Vector, class One>
json::array list_of(const Vector* from, One one) {
  json::array out;
  if (from)
    for (const auto* each : *from)
      out.push_back(one(*each));
  return out;
}

json::value gate_json(const wire::GateCheck& from) {
  return {{"metric", text(from.metric())}, {"value", number(from.value())},
          {"bound", number(from.bound())}, {"against", text(from.against())},
          {"passed", from.passed()},       {"reason", text(from.reason())}};
}

json::value run_json(const wire::Run& from) {
  static constexpr const char* states[] = {"running", "done", "failed", "canceled"};
  return {{"run_id", text(from.run_id())},
          {"experiment", text(from.experiment())},
          {"name", text(from.name())},
          {"state", states[std::min(3, static_cast<int>(from.state()))]},
          {"error", text(from.error())},
          {"created", time_of(from.created())},
          {"ended", time_of(from.ended())},
          {"parameters", named(from.parameters())},
          {"tags", named(from.tags())},
          {"artefacts", named(from.artefacts())},
          {"metrics", list_of(from.metrics(), [](const wire::MetricSummary& each) -> json::value {
             return {{"name", text(each.name())},
                     {"points", each.points()},
                     {"last", number(each.last())},
                     {"least", number(each.least())},
                     {"most", number(each.most())}};
           })}};
}

json::value model_json(const wire::ModelVersion& from) {
  json::array aliases;
  if (from.aliases())
    for (const auto* each : *from.aliases())
      aliases.push_back(text(each));
  return {{"name", text(from.name())},
          {"version", from.version()},
          {"manifest_sha256", text(from.manifest_sha256())},
          {"manifest", document(from.manifest())},
          {"created", time_of(from.created())},
          {"aliases", std::move(aliases)},
          {"tags", named(from.tags())},
          {"gate", list_of(from.gate(), gate_json)}};
}

json::value release_json(const wire::Release& from) {
  return {{"id", text(from.id())},
          {"name", text(from.name())},
          {"manifest", document(from.manifest())},
          {"created", time_of(from.created())},
          {"gate", list_of(from.gate(), gate_json)}};
}

json::value rollout_json(const wire::Rollout& from) {
  static constexpr const char* states[] = {"pending", "preparing", "running",     "paused", "promoting",
                                           "done",    "aborting",  "rolled_back", "failed"};
  static constexpr const char* verdicts[] = {"not_enough_data", "pass", "fail"};
  return {{"rollout_id", text(from.rollout_id())},
          {"strategy", text(from.strategy())},
          {"release", text(from.release())},
          {"from_release", text(from.from_release())},
          {"state", states[std::min(8, static_cast<int>(from.state()))]},
          {"step", from.step()},
          {"steps", from.steps()},
          {"weight", number(from.weight())},
          {"reason", text(from.reason())},
          {"started", time_of(from.started())},
          {"ended", time_of(from.ended())},
          {"decisions", list_of(from.decisions(), [](const wire::Decision& each) -> json::value {
             return {{"at", time_of(each.at())},
                     {"step", each.step()},
                     {"metric", text(each.metric())},
                     {"arm", text(each.arm())},
                     {"against", text(each.against())},
                     {"window_us", each.window_us()},
                     {"value", number(each.value())},
                     {"bound", number(each.bound())},
                     {"n", each.n()},
                     {"verdict", verdicts[std::min(2, static_cast<int>(each.verdict()))]},
                     {"action", text(each.action())},
                     {"reason", text(each.reason())}};
           })}};
}

template <class T, class One>
expected<json::value> page(const chunk& payload, const char* contract, const char* name,
                           const flatbuffers::Vector<flatbuffers::Offset<One>>* (T::*list)() const,
                           json::value (*one)(const One&)) {
  TROUPE_TRY(read, net::read_as<T>(payload, contract, name));
  return json::value(json::object{{name, list_of((read->*list)(), one)}, {"last", read->last()}});
}

expected<json::value> rollout_of(const chunk& payload) {
  TROUPE_TRY(read, net::read_as<wire::Rollout>(payload, "TRPD", "Rollout"));
  return rollout_json(*read);
}

auto word(FlatBufferBuilder& out, const exchange& from, std::string_view name) {
  return out.CreateString(std::string{from.query.find(name).value_or("")});
}

expected<std::uint32_t> limit_of(const exchange& from) {
  std::uint32_t limit = 100;
  if (auto given = from.query.find("limit")) {
    auto [end, err] = std::from_chars(given->data(), given->data() + given->size(), limit);
    if (err != std::errc{} || end != given->data() + given->size() || limit < 1 || limit > 1'000)
      return fail(ec::invalid_argument, "limit is not 1 to 1000");
  }
  return limit;
}

expected<chunk> change(const exchange& from, wire::RolloutAction to) {
  TROUPE_TRY(reason, parse_reason(from.request.body));
  FlatBufferBuilder out;
  auto id = out.CreateString(from.parameters[0]), why = out.CreateString(reason);
  out.Finish(wire::CreateRolloutChange(out, id, to, why), "TRPD");
  return net::bytes_of(out);
}

} // namespace

const proxied list_runs{&backends::registry, wire::Kind::run_list,
                        [](const exchange& from) -> expected<chunk> {
                          TROUPE_TRY(limit, limit_of(from));
                          FlatBufferBuilder out;
                          auto experiment = word(out, from, "experiment"), before = word(out, from, "before");
                          out.Finish(wire::CreateRunList(out, experiment, before, limit), "TRPR");
                          return net::bytes_of(out);
                        },
                        [](const chunk& payload) {
                          return page<wire::RunPage, wire::Run>(payload, "TRPR", "runs", &wire::RunPage::runs,
                                                                run_json);
                        }};

const proxied show_run{&backends::registry, wire::Kind::run_show,
                       [](const exchange& from) -> expected<chunk> {
                         FlatBufferBuilder out;
                         auto id = out.CreateString(from.parameters[0]);
                         out.Finish(wire::CreateRunQuery(out, id), "TRPR");
                         return net::bytes_of(out);
                       },
                       [](const chunk& payload) -> expected<json::value> {
                         TROUPE_TRY(read, net::read_as<wire::RunReply>(payload, "TRPR", "RunReply"));
                         if (!read->run())
                           return fail(ec::not_found, "there is no run of this id");
                         return run_json(*read->run());
                       }};

const proxied list_models{&backends::registry, wire::Kind::model_list,
                          [](const exchange& from) -> expected<chunk> {
                            TROUPE_TRY(limit, limit_of(from));
                            FlatBufferBuilder out;
                            auto name = word(out, from, "name"), after = word(out, from, "after");
                            out.Finish(wire::CreateModelList(out, name, after, limit), "TRPR");
                            return net::bytes_of(out);
                          },
                          [](const chunk& payload) {
                            return page<wire::ModelPage, wire::ModelVersion>(
                                payload, "TRPR", "models", &wire::ModelPage::versions, model_json);
                          }};

const proxied show_model{
    &backends::registry, wire::Kind::model_show,
    [](const exchange& from) -> expected<chunk> {
      FlatBufferBuilder out;
      auto name = out.CreateString(from.parameters[0]), version = word(out, from, "version");
      out.Finish(wire::CreateModelQuery(out, name, version), "TRPR");
      return net::bytes_of(out);
    },
    [](const chunk& payload) -> expected<json::value> {
      TROUPE_TRY(read, net::read_as<wire::ModelVersion>(payload, "TRPR", "ModelVersion"));
      return model_json(*read);
    }};

const proxied list_releases{&backends::registry, wire::Kind::release_list,
                            [](const exchange& from) -> expected<chunk> {
                              TROUPE_TRY(limit, limit_of(from));
                              FlatBufferBuilder out;
                              auto before = word(out, from, "before");
                              out.Finish(wire::CreateReleaseList(out, before, limit), "TRPR");
                              return net::bytes_of(out);
                            },
                            [](const chunk& payload) {
                              return page<wire::ReleasePage, wire::Release>(
                                  payload, "TRPR", "releases", &wire::ReleasePage::releases, release_json);
                            }};

const proxied show_release{&backends::registry, wire::Kind::release_show,
                           [](const exchange& from) -> expected<chunk> {
                             FlatBufferBuilder out;
                             auto id = out.CreateString(from.parameters[0]);
                             out.Finish(wire::CreateReleaseQuery(out, id), "TRPR");
                             return net::bytes_of(out);
                           },
                           [](const chunk& payload) -> expected<json::value> {
                             TROUPE_TRY(read, net::read_as<wire::Release>(payload, "TRPR", "Release"));
                             return release_json(*read);
                           }};

const proxied list_rollouts{&backends::deployer, wire::Kind::rollout_list,
                            [](const exchange& from) -> expected<chunk> {
                              TROUPE_TRY(limit, limit_of(from));
                              FlatBufferBuilder out;
                              auto before = word(out, from, "before");
                              out.Finish(wire::CreateRolloutList(out, before, limit), "TRPD");
                              return net::bytes_of(out);
                            },
                            [](const chunk& payload) {
                              return page<wire::RolloutPage, wire::Rollout>(
                                  payload, "TRPD", "rollouts", &wire::RolloutPage::rollouts, rollout_json);
                            }};

const proxied show_rollout{&backends::deployer, wire::Kind::rollout_show,
                           [](const exchange& from) -> expected<chunk> {
                             FlatBufferBuilder out;
                             auto id = out.CreateString(from.parameters[0]);
                             out.Finish(wire::CreateRolloutQuery(out, id), "TRPD");
                             return net::bytes_of(out);
                           },
                           rollout_of};

const proxied promote_rollout{&backends::deployer, wire::Kind::rollout_change,
                              [](const exchange& from) { return change(from, wire::RolloutAction::promote); },
                              rollout_of};

const proxied abort_rollout{&backends::deployer, wire::Kind::rollout_change,
                            [](const exchange& from) { return change(from, wire::RolloutAction::abort); },
                            rollout_of};

void proxy::begin() {
  const auto& to = deps().behind.*what_.to;
  if (!to)
    return one().reply_error({ec::unavailable, "the catalog of this fleet has no service for this"});
  auto message = what_.encode(one());
  if (!message)
    return one().reply_error(message.error());
  in_.ask(to, 0, what_.kind, std::move(*message), deadline::in(deps().settings->read_timeout));
}

void proxy::on_reply(std::uint64_t, const expected<net::reply>& got) {
  auto made = got ? what_.decode(got->payload) : expected<json::value>{unexpected<error>{got.error()}};
  if (made)
    one().reply(json_answer(*made));
  else
    one().reply_error(made.error());
}

} // namespace troupe::gateway
