#include "services/gateway/api.hpp"

#include "common/http/problem.hpp"
#include "common/json/parse.hpp"
#include "common/net/payload.hpp"

#include "schemas/deployer_generated.h"
#include "schemas/registry_generated.h"

#include <boost/json.hpp>

#include <charconv>
#include <cmath>

/// Runs, models, releases and rollouts: what registry and deployer say, as JSON.
namespace troupe::gateway {

namespace {

namespace json = boost::json;
using flatbuffers::FlatBufferBuilder;

json::string text(const flatbuffers::String* from) {
  auto view = text_of(from);
  return json::string{view.data(), view.size()};
}

json::value number(double value) {
  return std::isfinite(value) ? json::value(value) : json::value(nullptr);
}

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

expected<json::value> answer_of(operation what, const chunk& payload) {
  using enum operation;
  switch (what) {
  case runs:
    return page<wire::RunPage, wire::Run>(payload, "TRPR", "runs", &wire::RunPage::runs, run_json);
  case models:
    return page<wire::ModelPage, wire::ModelVersion>(payload, "TRPR", "models", &wire::ModelPage::versions,
                                                     model_json);
  case releases:
    return page<wire::ReleasePage, wire::Release>(payload, "TRPR", "releases", &wire::ReleasePage::releases,
                                                  release_json);
  case rollouts:
    return page<wire::RolloutPage, wire::Rollout>(payload, "TRPD", "rollouts", &wire::RolloutPage::rollouts,
                                                  rollout_json);
  case run: {
    TROUPE_TRY(read, net::read_as<wire::RunReply>(payload, "TRPR", "RunReply"));
    if (!read->run())
      return fail(ec::not_found, "there is no run of this id");
    return run_json(*read->run());
  }
  case model: {
    TROUPE_TRY(read, net::read_as<wire::ModelVersion>(payload, "TRPR", "ModelVersion"));
    return model_json(*read);
  }
  case release: {
    TROUPE_TRY(read, net::read_as<wire::Release>(payload, "TRPR", "Release"));
    return release_json(*read);
  }
  default: {
    TROUPE_TRY(read, net::read_as<wire::Rollout>(payload, "TRPD", "Rollout"));
    return rollout_json(*read);
  }
  }
}

} // namespace

void api::pass_on(const call_ptr& one, operation what, const std::string& id, const http::query_values& query,
                  const std::string& body) {
  using enum operation;
  FlatBufferBuilder out;
  auto word = [&](std::string_view name) {
    return out.CreateString(std::string{query.find(name).value_or("")});
  };
  std::uint32_t limit = 100;
  if (auto given = query.find("limit")) {
    auto [end, err] = std::from_chars(given->data(), given->data() + given->size(), limit);
    if (err != std::errc{} || end != given->data() + given->size() || limit < 1 || limit > 1'000)
      return refuse(one, {ec::invalid_argument, "limit is not 1 to 1000"});
  }
  auto kind = wire::Kind::none;
  auto& to = what == rollouts || what == rollout || what == promote || what == operation::abort
                 ? parts_.behind.deployer
                 : parts_.behind.registry;
  if (!to)
    return refuse(one, {ec::unavailable, "the catalog of this fleet has no service for this"});
  switch (what) {
  case runs: {
    auto a = word("experiment"), b = word("before");
    out.Finish(wire::CreateRunList(out, a, b, limit), "TRPR");
    kind = wire::Kind::run_list;
    break;
  }
  case models: {
    auto a = word("name"), b = word("after");
    out.Finish(wire::CreateModelList(out, a, b, limit), "TRPR");
    kind = wire::Kind::model_list;
    break;
  }
  case releases: {
    auto b = word("before");
    out.Finish(wire::CreateReleaseList(out, b, limit), "TRPR");
    kind = wire::Kind::release_list;
    break;
  }
  case rollouts: {
    auto b = word("before");
    out.Finish(wire::CreateRolloutList(out, b, limit), "TRPD");
    kind = wire::Kind::rollout_list;
    break;
  }
  case run: {
    auto a = out.CreateString(id);
    out.Finish(wire::CreateRunQuery(out, a), "TRPR");
    kind = wire::Kind::run_show;
    break;
  }
  case model: {
    auto a = out.CreateString(id), b = word("version");
    out.Finish(wire::CreateModelQuery(out, a, b), "TRPR");
    kind = wire::Kind::model_show;
    break;
  }
  case release: {
    auto a = out.CreateString(id);
    out.Finish(wire::CreateReleaseQuery(out, a), "TRPR");
    kind = wire::Kind::release_show;
    break;
  }
  case rollout: {
    auto a = out.CreateString(id);
    out.Finish(wire::CreateRolloutQuery(out, a), "TRPD");
    kind = wire::Kind::rollout_show;
    break;
  }
  default: {
    auto reason = read_reason(body);
    if (!reason)
      return refuse(one, reason.error());
    auto a = out.CreateString(id), b = out.CreateString(*reason);
    out.Finish(wire::CreateRolloutChange(
                   out, a, what == promote ? wire::RolloutAction::promote : wire::RolloutAction::abort, b),
               "TRPD");
    kind = wire::Kind::rollout_change;
  }
  }
  to->call_async(kind, net::bytes_of(out), deadline::in(settings_.read_timeout),
                 noted([self = this, one, what](expected<net::reply> got) {
                   auto made = got ? answer_of(what, got->payload)
                                   : expected<json::value>{unexpected<error>{got.error()}};
                   if (!made)
                     return self->refuse(one, made.error());
                   self->finish(one, {200, "application/json", json::serialize(*made)});
                 }));
}

} // namespace troupe::gateway
