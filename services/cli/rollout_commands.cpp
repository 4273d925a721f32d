#include "services/cli/rollout_commands.hpp"

#include "services/cli/json_values.hpp"
#include "services/cli/rollout_progress.hpp"
#include "services/cli/units.hpp"

#include "common/command_line/command_line.hpp"
#include "common/core/file.hpp"
#include "common/core/time.hpp"
#include "common/net/client.hpp"
#include "common/net/payload.hpp"

#include "schemas/deployer_generated.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>
#include <toml++/toml.h>

#include <array>
#include <cstdio>
#include <iostream>
#include <random>
#include <sstream>
#include <thread>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

/// Asks the deployer; tables go in and come out as values.
template <class Answer, class Question>
expected<typename Answer::NativeTableType> ask(context& with, wire::Kind kind,
                                               const typename Question::NativeTableType& question) {
  TROUPE_TRY(client, with.client("deployer"));
  flatbuffers::FlatBufferBuilder out;
  out.Finish(Question::Pack(out, &question), "TRPD");
  auto payload = net::bytes_of(out);
  TROUPE_TRY(got, client->call(kind, std::move(payload), deadline::in(15s)));
  TROUPE_TRY(table,
             net::read_as<Answer>(got.payload, "TRPD", fmt::format("answer to {}", net::to_string(kind))));
  typename Answer::NativeTableType value;
  table->UnPackTo(&value);
  return value;
}

std::string name_of(wire::RolloutState state) {
  std::string_view name = wire::EnumNameRolloutState(state);
  return name.empty() ? "unknown" : std::string{name};
}

std::string name_of(wire::Verdict3 verdict) {
  std::string_view name = wire::EnumNameVerdict3(verdict);
  return name.empty() ? "unknown" : std::string{name};
}

bool is_over(wire::RolloutState state) {
  return state == wire::RolloutState::done || state == wire::RolloutState::rolled_back ||
         state == wire::RolloutState::failed;
}

json::object rollout_json(const wire::RolloutT& from) {
  json::array decisions;
  for (auto& each : from.decisions)
    decisions.push_back(json::object{{"at", json_instant(each->at)},
                                     {"step", each->step},
                                     {"metric", each->metric},
                                     {"arm", each->arm},
                                     {"against", each->against},
                                     {"window_us", each->window_us},
                                     {"value", json_number(each->value)},
                                     {"bound", json_number(each->bound)},
                                     {"n", each->n},
                                     {"verdict", name_of(each->verdict)},
                                     {"action", each->action},
                                     {"reason", each->reason}});
  json::array arms;
  for (auto& each : from.arms)
    arms.push_back(json::object{{"arm", each->arm},
                                {"release", each->release},
                                {"answers", each->answers},
                                {"counted", each->counted},
                                {"needed", each->needed},
                                {"errors", each->errors},
                                {"degraded", each->degraded},
                                {"clicks", each->clicks}});
  return {{"rollout_id", from.rollout_id},
          {"strategy", from.strategy},
          {"release", from.release},
          {"from_release", from.from_release},
          {"state", name_of(from.state)},
          {"step", from.step},
          {"steps", from.steps},
          {"weight", json_number(from.weight)},
          {"reason", from.reason},
          {"spec", from.spec},
          {"started", json_instant(from.started)},
          {"ended", json_instant(from.ended)},
          {"arms", std::move(arms)},
          {"decisions", std::move(decisions)}};
}

std::string line_of(const wire::RolloutT& from) {
  return fmt::format(
      "{:<28} {:<10} {:<11} step {}/{} {:>5.1f} %  {} <- {}  {}", from.rollout_id, from.strategy,
      name_of(from.state), from.step, from.steps, 100 * from.weight, from.release.substr(0, 12),
      from.from_release.empty() ? "nothing" : from.from_release.substr(0, 12), short_time(from.started));
}

void print(const context& with, const wire::RolloutT& from) {
  if (with.json) {
    std::cout << json::serialize(rollout_json(from)) << '\n';
    return;
  }
  std::cout << line_of(from) << '\n' << "  " << from.reason << '\n';
  if (!from.arms.empty())
    std::cout << fmt::format("{:<12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n", "arm", "answers", "counted",
                             "needed", "errors", "degraded", "clicks");
  for (auto& each : from.arms)
    std::cout << fmt::format("{:<12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n", each->arm, each->answers,
                             each->counted, each->needed, each->errors, each->degraded, each->clicks);
  if (!from.decisions.empty())
    std::cout << fmt::format("{:<19} {:>4} {:<17} {:<10} {:<10} {:>11} {:>11} {:>9} {:<15} {:<10} {}\n", "at",
                             "step", "metric", "arm", "against", "value", "bound", "n", "verdict", "action",
                             "why");
  for (auto& each : from.decisions)
    if (is_telling(*each))
      std::cout << fmt::format("{:<19} {:>4} {:<17} {:<10} {:<10} {:>11} {:>11} {:>9} {:<15} {:<10} {}\n",
                               short_time(each->at), each->step, name_without_unit(each->metric), each->arm,
                               each->against, value_with_unit(each->metric, each->value),
                               value_with_unit(each->metric, each->bound), each->n, name_of(each->verdict),
                               each->action, each->reason);
}

expected<wire::RolloutT> show(context& with, const std::string& id) {
  wire::RolloutQueryT question;
  question.rollout_id = id;
  return ask<wire::Rollout, wire::RolloutQuery>(with, wire::Kind::rollout_show, question);
}

struct start_options {
  std::string strategy, release, file, pause, give_up, id;
  std::vector<double> steps;
  std::uint64_t min_sample = 0;
  bool baseline = false, follow = false;
};

/// The specification that is sent: the file, with what was given on the command line in place of its keys.
expected<std::string> spec_of(const start_options& given) {
  toml::table root;
  if (!given.file.empty()) {
    TROUPE_TRY(text, read_file(given.file));
    try {
      root = toml::parse(text, given.file);
    } catch (const toml::parse_error& err) {
      return fail(ec::invalid_argument, "{}:{}: {}", given.file, err.source().begin.line, err.description());
    }
  }
  if (!given.strategy.empty())
    root.insert_or_assign("strategy", given.strategy);
  if (!given.release.empty())
    root.insert_or_assign("release", given.release);
  if (!given.pause.empty())
    root.insert_or_assign("pause", given.pause);
  if (!given.give_up.empty())
    root.insert_or_assign("give_up", given.give_up);
  if (!given.steps.empty()) {
    toml::array steps;
    for (auto each : given.steps)
      steps.push_back(each);
    root.insert_or_assign("steps", std::move(steps));
  }
  if (given.baseline)
    root.insert_or_assign("baseline", true);
  if (given.min_sample > 0) {
    if (root.get_as<toml::table>("verdict") == nullptr)
      root.insert_or_assign("verdict", toml::table{});
    root.get_as<toml::table>("verdict")->insert_or_assign("min_sample",
                                                          static_cast<std::int64_t>(given.min_sample));
  }
  std::ostringstream out;
  out << root << '\n';
  return out.str();
}

std::string fresh_id(const start_options& given) {
  std::random_device source;
  auto day = to_rfc3339(wall_now()).substr(0, 19);
  std::erase_if(day, [](char c) { return c == '-' || c == ':'; });
  return fmt::format("{}-{}-{:04x}", given.strategy.empty() ? "rollout" : given.strategy, day,
                     source() & 0xffff);
}

/// Tells on standard error what a rollout waits for: a line that changes in place on a terminal, elsewhere a
/// line at most every ten seconds.
class waiting_line {
public:
  explicit waiting_line(bool in_place) : in_place_{in_place} {}

  void show(const wire::RolloutT& now) {
    // The first release of a fleet goes through here in a moment: nobody has to decide about it.
    if (now.state == wire::RolloutState::running && std::exchange(step_told_, now.step) != now.step) {
      clear();
      fmt::print(stderr, "{}\n", by_hand_text(now));
    }
    say(waiting_text(now));
  }

  void say(std::string text) {
    if (in_place_) {
      fmt::print(stderr, "\r\033[K{}", text.substr(0, 160));
      return;
    }
    auto at = std::chrono::steady_clock::now();
    if (text == told_ || at < next_)
      return;
    fmt::print(stderr, "{}\n", text);
    told_ = std::move(text);
    next_ = at + 10s;
  }

  void clear() {
    if (in_place_)
      fmt::print(stderr, "\r\033[K");
  }

private:
  bool in_place_;
  std::uint32_t step_told_ = 0;
  std::string told_;
  std::chrono::steady_clock::time_point next_;
};

/// Until it is over, or Ctrl-C; it goes on after that. Every new decision and every change is a line.
expected<wire::RolloutT> follow(context& with, const std::string& id) {
  context::watch_interrupt();
  std::size_t told = 0;
  waiting_line waiting{stderr_is_terminal()};
  for (;;) {
    auto now = show(with, id);
    waiting.clear();
    if (!now) {
      if (disposition_of(now.error().code) != error_disposition::retry_later)
        return now;
      waiting.say("the deployer does not answer; asking again");
    } else {
      for (; told < now->decisions.size(); ++told) {
        auto& each = *now->decisions[told];
        if (!with.json && !each.action.empty())
          fmt::print("{} step {} {:<12} {} {}: {} against {} of {}: {} {}\n", short_time(each.at), each.step,
                     each.action, name_without_unit(each.metric), each.arm,
                     value_with_unit(each.metric, each.value), value_with_unit(each.metric, each.bound),
                     each.n, name_of(each.verdict), each.reason);
      }
      if (is_over(now->state) || context::interrupted())
        return now;
      waiting.show(*now);
    }
    std::fflush(stdout);
    std::fflush(stderr);
    if (context::interrupted())
      return now;
    std::this_thread::sleep_for(500ms);
  }
}

/// How a rollout that was followed ended; its decisions have been told.
expected<void> finish(context& with, const wire::RolloutT& last) {
  if (with.json)
    print(with, last);
  else
    fmt::print("{}\n  {}\n", line_of(last), last.reason);
  if (last.state == wire::RolloutState::rolled_back || last.state == wire::RolloutState::failed)
    with.say_no();
  return {};
}

expected<void> start(context& with, const start_options& given) {
  if (given.release.empty() && given.file.empty())
    return with.wrong_usage("say what to roll out: --release R, or --spec FILE");
  TROUPE_TRY(spec, spec_of(given));
  wire::RolloutStartT question;
  question.rollout_id = given.id.empty() ? fresh_id(given) : given.id;
  question.spec = std::move(spec);
  TROUPE_TRY(begun, (ask<wire::Rollout, wire::RolloutStart>(with, wire::Kind::rollout_start, question)));
  if (!given.follow) {
    print(with, begun);
    return {};
  }
  if (!with.json)
    fmt::print("{}\n", line_of(begun));
  TROUPE_TRY(last, follow(with, begun.rollout_id));
  return finish(with, last);
}

struct rollout_list_options {
  std::string before;
  std::uint32_t limit = 20;
};

expected<void> list(context& with, const rollout_list_options& given) {
  wire::RolloutListT question;
  question.before = given.before;
  question.limit = given.limit;
  TROUPE_TRY(page, (ask<wire::RolloutPage, wire::RolloutList>(with, wire::Kind::rollout_list, question)));
  json::array out;
  for (auto& each : page.rollouts) {
    if (with.json)
      out.push_back(rollout_json(*each));
    else
      std::cout << line_of(*each) << '\n';
  }
  if (with.json)
    std::cout << json::serialize(
                     json::object{{"rollouts", std::move(out)},
                                  {"next", page.last ? json::value(nullptr)
                                                     : json::value(page.rollouts.back()->rollout_id)}})
              << '\n';
  else if (!page.last)
    std::cout << fmt::format("more: --before {}\n", page.rollouts.back()->rollout_id);
  return {};
}

struct decision_options {
  std::string id = "current", reason;
};

/// Until the rankers hold the release, or never will: what is just being loaded can be promoted in a moment.
expected<void> wait_for_rankers(context& with, const std::string& id) {
  context::watch_interrupt();
  for (bool said = false; !context::interrupted();) {
    TROUPE_TRY(now, show(with, id));
    if (now.state != wire::RolloutState::pending && now.state != wire::RolloutState::preparing)
      return {};
    if (!std::exchange(said, true))
      fmt::print(stderr, "waiting for the rankers to load release {}\n", now.release.substr(0, 12));
    std::this_thread::sleep_for(200ms);
  }
  return fail(ec::canceled, "rollout {} was not promoted", id);
}

expected<void> change(context& with, wire::RolloutAction action, const decision_options& given) {
  if (action == wire::RolloutAction::promote)
    TROUPE_CHECK(wait_for_rankers(with, given.id));
  wire::RolloutChangeT question;
  question.rollout_id = given.id;
  question.action = action;
  question.reason = given.reason;
  TROUPE_TRY(now, (ask<wire::Rollout, wire::RolloutChange>(with, wire::Kind::rollout_change, question)));
  print(with, now);
  return {};
}

expected<void> routing(context& with) {
  TROUPE_TRY(table,
             (ask<wire::RoutingTable, wire::RoutingQuery>(with, wire::Kind::routing, wire::RoutingQueryT{})));
  if (with.json) {
    json::array arms, keep;
    for (auto& each : table.arms)
      arms.push_back(
          json::object{{"name", each->name}, {"release", each->release}, {"weight", each->weight}});
    for (auto& each : table.keep)
      keep.emplace_back(each);
    std::cout << json::serialize(json::object{{"version", table.version},
                                              {"arms", std::move(arms)},
                                              {"salt", table.salt},
                                              {"shadow", table.shadow},
                                              {"rollout", table.rollout},
                                              {"keep", std::move(keep)}})
              << '\n';
    return {};
  }
  std::cout << fmt::format("version {}{}\n", table.version,
                           table.rollout.empty() ? "" : ", rollout " + table.rollout);
  for (auto& each : table.arms)
    std::cout << fmt::format("  {:<12} {:>6.2f} %  {}\n", each->name, 100 * each->weight, each->release);
  if (!table.shadow.empty())
    std::cout << fmt::format("  {:<12} {:>8}  {}\n", "shadow", "", table.shadow);
  if (table.arms.empty())
    std::cout << "  nothing is rolled out yet: troupe rollouts start --release R\n";
  for (auto& each : table.keep)
    std::cout << fmt::format("  loaded       {:>8}  {}\n", "", each);
  return {};
}

constexpr auto spec_help =
    R"(A specification in TOML (--spec FILE; the flags above take the place of its keys):

  strategy = "canary"      # canary, ab, shadow, blue-green, rolling
  release = "spring"       # id, its first 8 digits or more, or name
  steps = [5, 25, 50, 100] # canary: % of users per step; ab: % of arm b, one step (50)
  pause = "30s"            # least time of a step (blue-green: 10m, the time in which it can still fail)
  baseline = false         # canary: judge against a fresh arm of the old release, as large as the canary
  salt = ""                # of the sticky hash of users; the id of the rollout
  give_up = "7d"           # without a verdict for so long: rolled back
  prepare_timeout = "10m"  # the rankers have so long to load the release
  [verdict]
  min_sample = 500         # answers per arm and step before anything passes
  alpha = 0.05             # chance of a false alarm over the whole rollout, however often it looks
  error_rate = 0.01
  degraded = 0.05          # answers that lack something, beyond those of the arm that it is compared with
  p99 = "500ms"            # p50, p95: not judged unless given
  click_rate = true        # canary, ab; false for rolling and blue-green
  click_margin = 0.1       # the last step passes when the click rate is worse by less than this share
  overlap = 0.05           # shadow: least mean overlap with what was shown
  rank_correlation = -0.2  # shadow: least mean rank correlation of the items in both lists

It is never promoted without data. The first release of a fleet is promoted as soon as it is loaded.
With --follow: what it waits for is said on standard error; exit code 0 when promoted (shadow: passed), 1 when
rolled back or failed, 130 when Ctrl-C ended the following; the rollout goes on.)";

void add_start(command_line::command& rollouts, context& with) {
  auto given = std::make_shared<start_options>();
  auto* sub = rollouts.add_command("start", "Begin to roll a release out");
  sub->add_option("--strategy", given->strategy, "How (canary)")
      ->check(command_line::one_of({"canary", "ab", "shadow", "blue-green", "rolling"}));
  sub->add_option("--release", given->release, "What: id, its first 8 digits or more, or a name");
  sub->add_option("--steps", given->steps, "Percent of users, step by step: 5,25,50,100")
      ->separated_by(',')
      ->check(command_line::between(0.01, 100.0));
  sub->add_option("--pause", given->pause, "Least time of a step: 30s")->check(check_duration);
  sub->add_option("--give-up", given->give_up, "Without a verdict for so long it is rolled back: 7d")
      ->check(check_duration);
  sub->add_option("--min-sample", given->min_sample, "Answers per arm and step before anything passes")
      ->check(command_line::between(1, 1e9));
  sub->add_flag("--baseline", given->baseline, "canary: judge against a fresh arm of the old release");
  sub->add_option("--spec", given->file, "A specification in TOML");
  sub->add_option("--id", given->id, "Id of the rollout: the same id again is the same rollout");
  sub->add_flag("--follow", given->follow, "Show the progress until it is over");
  sub->footer(spec_help);
  with.command(*sub, [&with, given] { return start(with, *given); });
}

} // namespace

void add_rollout_commands(command_line::command& app, context& with) {
  auto* rollouts = app.add_command("rollouts", "How releases come into production, and back");
  rollouts->require_command();
  add_start(*rollouts, with);

  auto page = std::make_shared<rollout_list_options>();
  auto* all = rollouts->add_command("list", "Rollouts, newest first");
  all->add_option("--before", page->before, "Go on after this rollout: `next` of the JSON");
  all->add_option("--limit", page->limit, "How many")->check(command_line::between(1, 1000))->show_default();
  with.command(*all, [&with, page] { return list(with, *page); });

  auto id = std::make_shared<std::string>("current");
  auto* one = rollouts->add_command("show", "One rollout with its decisions");
  one->add_option("rollout", *id, "Its id; 'current' is the newest")->show_default();
  with.command(*one, [&with, id]() -> expected<void> {
    TROUPE_TRY(found, show(with, *id));
    print(with, found);
    return {};
  });
  auto* watch = rollouts->add_command("follow", "Show the progress until it is over");
  watch->add_option("rollout", *id, "Its id; 'current' is the newest")->show_default();
  with.command(*watch, [&with, id]() -> expected<void> {
    TROUPE_TRY(last, follow(with, *id));
    return finish(with, last);
  });

  using enum wire::RolloutAction;
  for (auto [name, action, what] :
       {std::tuple{"promote", promote, "Everybody gets the release now, whatever the counts say"},
        std::tuple{"abort", wire::RolloutAction::abort,
                   "Back to the release before, at once, from any state"},
        std::tuple{"pause", wire::RolloutAction::pause, "Hold the step; a verdict of fail still rolls back"},
        std::tuple{"resume", resume, "Go on after a pause"}}) {
    auto given = std::make_shared<decision_options>();
    auto* sub = rollouts->add_command(name, what);
    sub->add_option("rollout", given->id, "Its id; 'current' is the newest")->show_default();
    sub->add_option("--reason", given->reason, "Written into the decision");
    with.command(*sub, [&with, given, action = action] { return change(with, action, *given); });
  }

  auto* table = app.add_command("routing", "The routing table in force: who is answered by which release");
  with.command(*table, [&with] { return routing(with); });
}

} // namespace troupe::cli
