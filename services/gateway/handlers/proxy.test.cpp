#include "services/gateway/test_gateway.hpp"

#include "schemas/registry_generated.h"

using namespace troupe;
using namespace troupe::gateway;

namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

/// What a service is to answer, and what was asked of it: kind and fields.
struct exchange_of {
  fake_service& to;
  wire::Kind kind;
  std::function<std::string(const chunk&)> asked;
  std::function<void(FlatBufferBuilder&)> answer;
};

/// Sends a request through; gives what the service was asked, and the JSON that came back.
std::pair<std::string, boost::json::value> through(served_gateway& gateway, const std::string& method,
                                                   const std::string& path, const std::string& body,
                                                   const exchange_of& by) {
  auto later = gateway.ask_later(request_of(method, path, body));
  auto question = by.to.next();
  CHECK(question.kind == by.kind);
  FlatBufferBuilder out;
  by.answer(out);
  question.answer(bytes_of(out));
  auto given = later.get();
  REQUIRE_MESSAGE(given.status == 200, given.body);
  return {by.asked(question.payload), boost::json::parse(given.body)};
}

template <class Table>
const Table& read(const chunk& payload, const char* contract) {
  return **net::read_as<Table>(payload, contract, "message");
}

std::string words(const flatbuffers::String* a, const flatbuffers::String* b, std::uint32_t limit) {
  return fmt::format("{}|{}|{}", troupe::text_of(a), troupe::text_of(b), limit);
}

Offset<wire::Run> run(FlatBufferBuilder& out) {
  auto id = out.CreateString("run1"), experiment = out.CreateString("als");
  std::vector<Offset<wire::MetricSummary>> metrics{
      wire::CreateMetricSummary(out, out.CreateString("ndcg@10"), 3, 30, 0.25, 0.125, 0.25)};
  auto list = out.CreateVector(metrics);
  wire::RunBuilder made{out};
  made.add_run_id(id);
  made.add_experiment(experiment);
  made.add_state(wire::RunState::done);
  made.add_created(1'700'000'000'000'000);
  made.add_metrics(list);
  return made.Finish();
}

Offset<wire::ModelVersion> model(FlatBufferBuilder& out) {
  auto name = out.CreateString("als"), manifest = out.CreateString(R"({"kind":"ials"})");
  auto aliases = out.CreateVectorOfStrings({"production"});
  wire::ModelVersionBuilder made{out};
  made.add_name(name);
  made.add_version(7);
  made.add_manifest(manifest);
  made.add_aliases(aliases);
  return made.Finish();
}

Offset<wire::Release> release(FlatBufferBuilder& out) {
  auto id = out.CreateString("r1"), manifest = out.CreateString("no json");
  wire::ReleaseBuilder made{out};
  made.add_id(id);
  made.add_manifest(manifest);
  return made.Finish();
}

Offset<wire::Rollout> rollout(FlatBufferBuilder& out) {
  auto id = out.CreateString("x"), reason = out.CreateString("slow");
  std::vector<Offset<wire::Decision>> decisions{wire::CreateDecision(
      out, 0, 1, out.CreateString("click_rate"), 0, 0, 0, 0.5, 0.25, 40, wire::Verdict3::pass)};
  auto list = out.CreateVector(decisions);
  wire::RolloutBuilder made{out};
  made.add_rollout_id(id);
  made.add_reason(reason);
  made.add_state(wire::RolloutState::paused);
  made.add_decisions(list);
  return made.Finish();
}

/// One entry and the end, as a page of T.
template <class Builder, class Entry, class Add>
auto page_of(Entry entry, Add add) {
  return [=](FlatBufferBuilder& out, const char* contract) {
    std::vector list{entry(out)};
    auto entries = out.CreateVector(list);
    Builder made{out};
    (made.*add)(entries);
    made.add_last(true);
    out.Finish(made.Finish(), contract);
  };
}

} // namespace

TEST_CASE("runs are asked of the registry, by experiment and page, and come back as JSON") {
  served_gateway gateway;
  gateway.open();
  auto page = page_of<wire::RunPageBuilder>(run, &wire::RunPageBuilder::add_runs);

  auto [listed, runs] = through(gateway, "GET", "/v1/runs?experiment=als&before=run9&limit=5", "",
                                {gateway.registry, wire::Kind::run_list,
                                 [](const chunk& asked) {
                                   const auto& from = read<wire::RunList>(asked, "TRPR");
                                   return words(from.experiment(), from.before(), from.limit());
                                 },
                                 [&](FlatBufferBuilder& out) { page(out, "TRPR"); }});
  auto [shown, one] =
      through(gateway, "GET", "/v1/runs/run1", "",
              {gateway.registry, wire::Kind::run_show,
               [](const chunk& asked) { return read<wire::RunQuery>(asked, "TRPR").run_id()->str(); },
               [](FlatBufferBuilder& out) { out.Finish(wire::CreateRunReply(out, run(out)), "TRPR"); }});

  CHECK(listed == "als|run9|5");
  CHECK(runs.at("last").as_bool());
  CHECK(runs.at("runs").at(0) == one);
  CHECK(shown == "run1");
  CHECK(text_of(one.at("run_id")) == "run1");
  CHECK(text_of(one.at("state")) == "done");
  CHECK(text_of(one.at("created")) == "2023-11-14T22:13:20Z");
  CHECK(one.at("ended").is_null());
  CHECK(text_of(one.at("metrics").at(0).at("name")) == "ndcg@10");
  CHECK(one.at("metrics").at(0).at("last") == 0.25);
}

TEST_CASE("a run that the registry does not know is 404") {
  served_gateway gateway;
  gateway.open();
  auto later = gateway.ask_later(request_of("GET", "/v1/runs/none"));
  FlatBufferBuilder out;
  out.Finish(wire::CreateRunReply(out), "TRPR");

  gateway.registry.next().answer(bytes_of(out));

  CHECK(problem_of(later.get(), "not_found") == 404);
}

TEST_CASE("models are asked of the registry by name and version, their manifest is JSON") {
  served_gateway gateway;
  gateway.open();
  auto page = page_of<wire::ModelPageBuilder>(model, &wire::ModelPageBuilder::add_versions);

  auto [listed, models] = through(gateway, "GET", "/v1/models?name=als&after=als:3", "",
                                  {gateway.registry, wire::Kind::model_list,
                                   [](const chunk& asked) {
                                     const auto& from = read<wire::ModelList>(asked, "TRPR");
                                     return words(from.name(), from.after(), from.limit());
                                   },
                                   [&](FlatBufferBuilder& out) { page(out, "TRPR"); }});
  auto [shown, one] = through(gateway, "GET", "/v1/models/als?version=production", "",
                              {gateway.registry, wire::Kind::model_show,
                               [](const chunk& asked) {
                                 const auto& from = read<wire::ModelQuery>(asked, "TRPR");
                                 return words(from.name(), from.version(), 0);
                               },
                               [](FlatBufferBuilder& out) { out.Finish(model(out), "TRPR"); }});

  CHECK(listed == "als|als:3|100");
  CHECK(models.at("models").at(0) == one);
  CHECK(shown == "als|production|0");
  CHECK(one.at("version").to_number<int>() == 7);
  CHECK(text_of(one.at("manifest").at("kind")) == "ials");
  CHECK(text_of(one.at("aliases").at(0)) == "production");
}

TEST_CASE("releases are asked of the registry; a manifest that is no JSON stays a text") {
  served_gateway gateway;
  gateway.open();
  auto page = page_of<wire::ReleasePageBuilder>(release, &wire::ReleasePageBuilder::add_releases);

  auto [listed, releases] = through(gateway, "GET", "/v1/releases?before=r9&limit=1000", "",
                                    {gateway.registry, wire::Kind::release_list,
                                     [](const chunk& asked) {
                                       const auto& from = read<wire::ReleaseList>(asked, "TRPR");
                                       return words(from.before(), nullptr, from.limit());
                                     },
                                     [&](FlatBufferBuilder& out) { page(out, "TRPR"); }});
  auto [shown, one] =
      through(gateway, "GET", "/v1/releases/r1", "",
              {gateway.registry, wire::Kind::release_show,
               [](const chunk& asked) { return read<wire::ReleaseQuery>(asked, "TRPR").id()->str(); },
               [](FlatBufferBuilder& out) { out.Finish(release(out), "TRPR"); }});

  CHECK(listed == "r9||1000");
  CHECK(releases.at("releases").at(0) == one);
  CHECK(shown == "r1");
  CHECK(text_of(one.at("manifest")) == "no json");
}

TEST_CASE("rollouts are asked of the deployer, which promotes and aborts them for a reason") {
  served_gateway gateway;
  gateway.open();
  auto page = page_of<wire::RolloutPageBuilder>(rollout, &wire::RolloutPageBuilder::add_rollouts);
  auto answer = [](FlatBufferBuilder& out) { out.Finish(rollout(out), "TRPD"); };
  auto change = [](const chunk& asked) {
    const auto& from = read<wire::RolloutChange>(asked, "TRPD");
    return words(from.rollout_id(), from.reason(), static_cast<std::uint32_t>(from.action()));
  };

  auto [listed, rollouts] = through(gateway, "GET", "/v1/rollouts", "",
                                    {gateway.deployer, wire::Kind::rollout_list,
                                     [](const chunk& asked) {
                                       const auto& from = read<wire::RolloutList>(asked, "TRPD");
                                       return words(from.before(), nullptr, from.limit());
                                     },
                                     [&](FlatBufferBuilder& out) { page(out, "TRPD"); }});
  auto [shown, one] =
      through(gateway, "GET", "/v1/rollouts/current", "",
              {gateway.deployer, wire::Kind::rollout_show,
               [](const chunk& asked) { return read<wire::RolloutQuery>(asked, "TRPD").rollout_id()->str(); },
               answer});
  auto [promoted, after] = through(gateway, "POST", "/v1/rollouts/x/promote", "",
                                   {gateway.deployer, wire::Kind::rollout_change, change, answer});
  auto [aborted, end] = through(gateway, "POST", "/v1/rollouts/x/abort", R"({"reason":"slow"})",
                                {gateway.deployer, wire::Kind::rollout_change, change, answer});

  CHECK(listed == "||100");
  CHECK(rollouts.at("rollouts").at(0) == one);
  CHECK(shown == "current");
  CHECK(text_of(one.at("state")) == "paused");
  CHECK(text_of(one.at("decisions").at(0).at("verdict")) == "pass");
  CHECK(promoted == fmt::format("x||{}", static_cast<int>(wire::RolloutAction::promote)));
  CHECK(aborted == fmt::format("x|slow|{}", static_cast<int>(wire::RolloutAction::abort)));
  CHECK(text_of(end.at("reason")) == "slow");
}

TEST_CASE("what the registry refuses, or answers in nonsense, is a problem; a wrong limit asks nobody") {
  served_gateway gateway;
  gateway.open();
  CHECK(problem_of(gateway.ask("GET", "/v1/runs?limit=0"), "invalid_argument") == 400);
  CHECK(problem_of(gateway.ask("GET", "/v1/models?limit=1001"), "invalid_argument") == 400);
  CHECK(problem_of(gateway.ask("POST", "/v1/rollouts/x/abort", R"({"why":"?"})"), "invalid_argument") == 400);

  auto missing = gateway.ask_later(request_of("GET", "/v1/models/none"));
  gateway.registry.next().fail(ec::not_found, "there is no model none");
  auto locked = gateway.ask_later(request_of("GET", "/v1/models/als"));
  gateway.registry.next().fail(ec::unauthorized, "the key is not on the list");
  auto broken = gateway.ask_later(request_of("GET", "/v1/models/als"));
  gateway.registry.next().answer(chunk::own("nonsense"));

  CHECK(problem_of(missing.get(), "not_found") == 404);
  CHECK(problem_of(locked.get(), "unavailable") == 503); // The caller's key is not the one at fault.
  CHECK(broken.get().status >= 500);
}
