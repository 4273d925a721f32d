#include "services/trainer/publisher.hpp"

#include "common/artefact/canonical.hpp"
#include "common/artefact/transfer.hpp"
#include "common/event/record.hpp"
#include "common/json/parse.hpp"
#include "common/log/log.hpp"
#include "common/net/payload.hpp"

#include "schemas/registry_generated.h"

#include <algorithm>

namespace troupe::trainer {

namespace json = boost::json;

namespace {

using namespace std::chrono_literals;
using builder = flatbuffers::FlatBufferBuilder;

constexpr std::size_t most_points = 100'000;
constexpr std::size_t points_an_update = 10'000;
constexpr std::uint32_t versions_a_page = 100;
constexpr auto production_alias = "production";
constexpr auto identifier = "TRPR";

bool has_alias(const wire::ModelVersion& version) {
  if (version.aliases() != nullptr)
    for (auto* each : *version.aliases())
      if (each->string_view() == production_alias)
        return true;
  return false;
}

publisher::in_production as_production(const wire::ModelVersion& version) {
  publisher::in_production made{fmt::format("{}:{}", text_of(version.name()), version.version()), {}};
  auto manifest = parse_json(text_of(version.manifest()));
  if (manifest && manifest->is_object())
    if (auto* config = manifest->get_object().if_contains("config"); config != nullptr && config->is_string())
      made.config = config->get_string();
  return made;
}

} // namespace

void publisher::add(std::string name, std::uint64_t step, double value) {
  if (points_.size() >= most_points)
    ++dropped_;
  else
    points_.push_back({std::move(name), step, value, micros_of(wall_now())});
}

expected<net::reply> publisher::ask(wire::Kind kind, const chunk& payload) {
  return registry_->call(kind, payload, deadline::in(10s));
}

expected<void> publisher::create() {
  if (created_)
    return {};
  builder out;
  auto named = [&](const char* name, const std::string& text) {
    return wire::CreateNamedTextDirect(out, name, text.c_str());
  };
  std::vector parameters{named("config", order_.worker_config),
                         named("ranks", std::to_string(order_.run.ranks)),
                         named("seed", std::to_string(order_.seed)),
                         named("data", order_.on_rows ? order_.training_set : order_.run.data)};
  std::vector tags{named("parent", order_.parent)};
  out.Finish(wire::CreateRunCreateDirect(out, order_.id.c_str(), order_.run.experiment.c_str(),
                                         order_.model_name.c_str(), &parameters, &tags),
             identifier);
  TROUPE_TRY(got, ask(wire::Kind::run_create, net::bytes_of(out)));
  TROUPE_TRY(reply, net::read_as<wire::RunReply>(got.payload, identifier, "RunReply"));
  number_ = reply->run() ? reply->run()->last_update() : 0;
  created_ = true;
  return {};
}

expected<void> publisher::send(int state, const std::string& error) {
  TROUPE_CHECK(create());
  if (pending_.size() == 0) {
    builder out;
    auto count = std::min(points_.size(), points_an_update);
    std::vector<flatbuffers::Offset<wire::MetricPoint>> points;
    for (std::size_t i = 0; i < count; ++i) {
      auto& each = points_[i];
      points.push_back(wire::CreateMetricPointDirect(out, each.name.c_str(), each.step, each.value, each.at));
    }
    std::vector<flatbuffers::Offset<wire::NamedText>> artefacts;
    for (auto& [name, sha256] : artefacts_)
      artefacts.push_back(wire::CreateNamedTextDirect(out, name.c_str(), sha256.c_str()));
    auto of_state = state < 0 ? flatbuffers::Optional<wire::RunState>{flatbuffers::nullopt}
                              : flatbuffers::Optional<wire::RunState>{static_cast<wire::RunState>(state)};
    out.Finish(wire::CreateRunUpdateDirect(out, order_.id.c_str(), number_ + 1, of_state, error.c_str(),
                                           nullptr, nullptr, &points, &artefacts),
               identifier);
    pending_ = net::bytes_of(out);
    sent_points_ = count;
    artefacts_.clear();
  }
  TROUPE_TRY(got, ask(wire::Kind::run_update, pending_));
  TROUPE_TRY(reply, net::read_as<wire::RunReply>(got.payload, identifier, "RunReply"));
  (void)reply;
  ++number_;
  pending_ = chunk{};
  points_.erase(points_.begin(), points_.begin() + static_cast<std::ptrdiff_t>(sent_points_));
  sent_points_ = 0;
  return {};
}

expected<void> publisher::flush() {
  while (pending_.size() != 0 || !points_.empty() || !artefacts_.empty())
    TROUPE_CHECK(send(-1, {}));
  return {};
}

expected<void> publisher::end(int state, std::string error) {
  TROUPE_CHECK(flush());
  if (auto dropped = std::exchange(dropped_, 0); dropped > 0)
    log::warn("points-dropped", "{} metric points of run {} were dropped while the registry was away",
              dropped, order_.id);
  return send(state, error);
}

json::array publisher::unsent() const {
  json::array out;
  for (auto& each : points_)
    out.push_back(json::array{each.name, each.step, each.value, each.at});
  return out;
}

void publisher::add_unsent(const json::array& points) {
  for (auto& each : points) {
    auto* one = each.if_array();
    if (one != nullptr && one->size() == 4 && (*one)[0].is_string() && (*one)[1].is_number() &&
        (*one)[2].is_number() && (*one)[3].is_number() && points_.size() < most_points)
      points_.push_back({std::string{(*one)[0].get_string()}, (*one)[1].to_number<std::uint64_t>(),
                         (*one)[2].to_number<double>(), (*one)[3].to_number<std::int64_t>()});
  }
}

expected<void> publisher::upload(const std::filesystem::path& file, const std::string& sha256) {
  TROUPE_TRY(sent, artefact::upload(*registry_, file));
  if (sent.sha256 != sha256)
    return fail(ec::conflict, "{} has changed since it was trained: its hash is {}, not {}", file.string(),
                sent.sha256, sha256);
  return {};
}

expected<std::vector<publisher::in_production>> publisher::production() {
  builder out;
  out.Finish(wire::CreateModelQueryDirect(out, order_.model_name.c_str(), production_alias), identifier);
  auto got = ask(wire::Kind::model_show, net::bytes_of(out));
  if (got) {
    TROUPE_TRY(version, net::read_as<wire::ModelVersion>(got->payload, identifier, "ModelVersion"));
    return std::vector{as_production(*version)};
  }
  if (got.error().code != ec::not_found)
    return unexpected<error>{std::move(got).error()};
  std::vector<in_production> found;
  std::string after;
  for (bool last = false; !last;) {
    builder question;
    question.Finish(wire::CreateModelListDirect(question, "", after.c_str(), versions_a_page), identifier);
    TROUPE_TRY(page, ask(wire::Kind::model_list, net::bytes_of(question)));
    TROUPE_TRY(list, net::read_as<wire::ModelPage>(page.payload, identifier, "ModelPage"));
    last = list->last() || list->versions() == nullptr || list->versions()->size() == 0;
    if (list->versions() == nullptr)
      continue;
    for (auto* each : *list->versions()) {
      after = fmt::format("{}:{}", text_of(each->name()), each->version());
      if (has_alias(*each))
        found.push_back(as_production(*each));
    }
  }
  return found;
}

expected<std::uint64_t> publisher::register_model(const std::string& manifest) {
  builder out;
  std::vector tags{wire::CreateNamedTextDirect(out, "run", order_.id.c_str())};
  out.Finish(wire::CreateModelRegisterDirect(out, order_.model_name.c_str(), manifest.c_str(), &tags,
                                             order_.run.skip_gate),
             identifier);
  TROUPE_TRY(got, ask(wire::Kind::model_register, net::bytes_of(out)));
  TROUPE_TRY(version, net::read_as<wire::ModelVersion>(got.payload, identifier, "ModelVersion"));
  if (version->gate() != nullptr)
    for (auto* each : *version->gate())
      log::info("model-gated", "the quality gate on {} version {}: {}", order_.model_name, version->version(),
                text_of(each->reason()));
  return version->version();
}

} // namespace troupe::trainer
