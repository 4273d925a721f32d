#include "services/cli/ranker_commands.hpp"

#include "services/cli/units.hpp"

#include "common/command_line/command_line.hpp"
#include "common/event/record.hpp"
#include "common/net/client.hpp"
#include "common/net/payload.hpp"

#include "schemas/ranker_generated.h"

#include <iostream>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto ranker_service = "ranker";
constexpr auto ranker_hint = "is the fleet up, and does the ranker hold a release? `troupe rankers` shows it";

struct rank_options {
  std::string subject, release;
  std::uint32_t n = 10;
  bool explain = false;
  std::uint64_t seed = 0;
  std::vector<std::string> session, exclude, releases;
};

using text_vector = flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>;

std::string joined(const text_vector* from, const char* between = ", ") {
  std::string out;
  for (std::uint32_t i = 0; from && i < from->size(); ++i)
    out += (i > 0 ? between : "") + from->Get(i)->str();
  return out;
}

std::string json_list(const text_vector* from) {
  std::string out = "[";
  for (std::uint32_t i = 0; from && i < from->size(); ++i)
    out += (i > 0 ? "," : "") + json_string(from->Get(i)->str());
  return out + "]";
}

template <class Vector, class Each>
std::string json_array(const Vector* from, Each each) {
  std::string out = "[";
  for (std::uint32_t i = 0; from && i < from->size(); ++i)
    out += (i > 0 ? "," : "") + each(*from->Get(i));
  return out + "]";
}

void print_json(const wire::RankReply& reply) {
  auto item = [](const wire::RankedItem& each) {
    auto models = json_array(each.models(), [](const wire::ModelScore& by) {
      return fmt::format(R"({{"model":{},"score":{}}})", json_string(text_of(by.model())), by.score());
    });
    return fmt::format(
        R"({{"item":{},"score":{},"propensity":{},"title":{},"sources":{},"because":{},"models":{},"notes":{}}})",
        json_string(text_of(each.item())), each.score(), each.propensity(),
        json_string(text_of(each.title())), json_list(each.sources()), json_list(each.because()), models,
        json_list(each.notes()));
  };
  auto stage = [](const wire::Stage& each) {
    return fmt::format(R"({{"name":{},"us":{},"count":{}}})", json_string(text_of(each.name())), each.us(),
                       each.count());
  };
  auto feature = [](const wire::UsedFeature& each) {
    return fmt::format(R"({{"name":{},"status":{},"age_us":{},"value":{}}})",
                       json_string(text_of(each.name())),
                       json_string(wire::EnumNameFeatureStatus(each.status())), each.age_us(),
                       json_string(text_of(each.value())));
  };
  auto reason = [](const wire::LeftOut& each) {
    return fmt::format(R"({{"reason":{},"items":{}}})", json_string(text_of(each.reason())), each.items());
  };
  auto short_page = reply.left_out() ? fmt::format(R"(,"considered":{},"left_out":{})", reply.considered(),
                                                   json_array(reply.left_out(), reason))
                                     : std::string{};
  std::cout << fmt::format(R"({{"release":{},"items":{},"degraded":{},"stages":{},"features":{}{}}})",
                           json_string(text_of(reply.release())), json_array(reply.items(), item),
                           json_list(reply.degraded()), json_array(reply.stages(), stage),
                           json_array(reply.features(), feature), short_page)
            << '\n';
}

void print(const wire::RankReply& reply) {
  std::cout << fmt::format("release {}\n", text_of(reply.release()).substr(0, 12));
  for (std::uint32_t i = 0; reply.items() && i < reply.items()->size(); ++i) {
    auto& each = *reply.items()->Get(i);
    std::cout << fmt::format("{:>4}  {:<12} {:<45} {:>8.3f}  {}", i + 1, text_of(each.item()),
                             text_of(each.title()), each.score(), joined(each.sources()));
    if (each.because() && each.because()->size() > 0)
      std::cout << "; because of " << joined(each.because());
    if (each.propensity() < 1)
      std::cout << fmt::format("; propensity {:.4f}", each.propensity());
    for (std::uint32_t m = 0; each.models() && m < each.models()->size(); ++m)
      std::cout << fmt::format("; {} {:.4f}", text_of(each.models()->Get(m)->model()),
                               each.models()->Get(m)->score());
    if (each.notes() && each.notes()->size() > 0)
      std::cout << "; " << joined(each.notes(), "; ");
    std::cout << '\n';
  }
  if (reply.left_out()) {
    std::cout << fmt::format("fewer than asked for: of {} considered", reply.considered());
    for (auto* each : *reply.left_out())
      std::cout << fmt::format(", {} {}", each->items(), text_of(each->reason()));
    std::cout << '\n';
  }
  if (reply.degraded() && reply.degraded()->size() > 0)
    std::cout << "degraded: " << joined(reply.degraded(), "; ") << '\n';
  for (std::uint32_t i = 0; reply.features() && i < reply.features()->size(); ++i) {
    auto& each = *reply.features()->Get(i);
    std::cout << fmt::format("feature {} {}, {:.3f} s old: {}\n", text_of(each.name()),
                             wire::EnumNameFeatureStatus(each.status()),
                             static_cast<double>(each.age_us()) / 1e6, text_of(each.value()));
  }
  for (std::uint32_t i = 0; reply.stages() && i < reply.stages()->size(); ++i)
    std::cout << fmt::format("{}{} {} ({})",
                             i > 0 ? ", " : "stages: ", text_of(reply.stages()->Get(i)->name()),
                             value_with_unit("time_us", static_cast<double>(reply.stages()->Get(i)->us())),
                             reply.stages()->Get(i)->count());
  std::cout << '\n';
}

expected<void> show(context& with, wire::Kind kind, chunk payload) {
  TROUPE_TRY(client, with.client(ranker_service));
  TROUPE_TRY(got, client->call(kind, std::move(payload), deadline::in(5s)));
  TROUPE_TRY(reply, net::read_as<wire::RankReply>(got.payload, "TRPK", "RankReply"));
  if (with.json)
    print_json(*reply);
  else
    print(*reply);
  return {};
}

expected<void> recommend(context& with, const rank_options& options) {
  flatbuffers::FlatBufferBuilder out;
  auto release = out.CreateString(options.release), arm = out.CreateString(""),
       user = out.CreateString(options.subject);
  auto session = out.CreateVectorOfStrings(options.session),
       exclude = out.CreateVectorOfStrings(options.exclude);
  out.Finish(wire::CreateRank(out, release, arm, user, session, 0, 0, exclude, 0, options.n, options.explain,
                              options.seed),
             "TRPK");
  return show(with, wire::Kind::rank, net::bytes_of(out));
}

expected<void> similar(context& with, const rank_options& options) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateSimilarDirect(out, options.release.c_str(), options.subject.c_str(), options.n),
             "TRPK");
  return show(with, wire::Kind::similar, net::bytes_of(out));
}

/// Each replica by itself: they hold what they were told to.
expected<void> rankers(context& with, wire::Kind kind, const rank_options& options) {
  TROUPE_TRY(client, with.client(ranker_service));
  if (with.json)
    std::cout << '[';
  for (std::uint32_t r = 0; r < client->replicas(); ++r) {
    flatbuffers::FlatBufferBuilder out;
    if (kind == wire::Kind::prepare)
      out.Finish(wire::CreatePrepare(out, out.CreateVectorOfStrings(options.releases)), "TRPK");
    else
      out.Finish(wire::CreateLoadedQuery(out), "TRPK");
    TROUPE_TRY(got, client->call_to(r, kind, net::bytes_of(out), deadline::in(5s)));
    TROUPE_TRY(reply, net::read_as<wire::LoadedReleases>(got.payload, "TRPK", "LoadedReleases"));
    if (with.json) {
      std::cout << (r > 0 ? "," : "") << json_array(reply->releases(), [](const wire::LoadedRelease& each) {
        return fmt::format(
            R"({{"id":{},"state":{},"error":{},"items":{},"bytes":{},"load_us":{},"in_use":{}}})",
            json_string(text_of(each.id())), json_string(text_of(each.state())),
            json_string(text_of(each.error())), each.items(), each.bytes(), each.load_us(), each.in_use());
      });
      continue;
    }
    std::cout << fmt::format("ranker {}{}\n", r,
                             reply->releases() && reply->releases()->size() > 0 ? "" : ": no release");
    for (std::uint32_t i = 0; reply->releases() && i < reply->releases()->size(); ++i) {
      auto& each = *reply->releases()->Get(i);
      std::cout << fmt::format("  {}  {:<8} {} items, {:.1f} MiB, loaded in {:.0f} ms {}\n",
                               text_of(each.id()), text_of(each.state()), each.items(),
                               static_cast<double>(each.bytes()) / 1048576.0,
                               static_cast<double>(each.load_us()) / 1000.0, text_of(each.error()));
    }
  }
  if (with.json)
    std::cout << "]\n";
  return {};
}

} // namespace

void add_ranker_commands(command_line::command& app, context& with) {
  auto* all =
      app.add_command("rankers", "The releases that the rankers hold; ask a ranker without the gateway");
  all->allow_command();
  auto asking = [&](const char* name, const char* what, const char* subject) {
    auto* sub = all->add_command(name, what);
    auto options = std::make_shared<rank_options>();
    sub->add_option(subject, options->subject)->required();
    sub->add_option("-n,--n", options->n, "How many items")->show_default();
    sub->add_option("--release", options->release,
                    "Of which release; else of the one that became ready last");
    return std::pair{sub, options};
  };
  auto [one, options] = asking("recommend", "What a user should see", "user");
  one->add_flag("--explain", options->explain, "Scores of each model, notes, features with their ages");
  one->add_option("--session", options->session, "Items of this visit, oldest first");
  one->add_option("--exclude", options->exclude, "Items not to show");
  one->add_option("--seed", options->seed, "Of exploration");
  with.command(
      *one, [&with, options = options] { return recommend(with, *options); }, ranker_hint);
  auto [two, like] = asking("similar", "Items like an item", "item");
  with.command(
      *two, [&with, like = like] { return similar(with, *like); }, ranker_hint);
  auto none = std::make_shared<rank_options>();
  auto* prepare = all->add_command("prepare", "Hold these releases from now on, and no others");
  auto listed = std::make_shared<rank_options>();
  prepare->add_option("release", listed->releases, "Ids of releases")->required();
  with.command(
      *prepare, [&with, listed] { return rankers(with, wire::Kind::prepare, *listed); }, ranker_hint);
  with.command(
      *all,
      [&with, none, all]() -> expected<void> {
        return !all->has_command_given() ? rankers(with, wire::Kind::loaded, *none) : expected<void>{};
      },
      ranker_hint);
}

} // namespace troupe::cli
