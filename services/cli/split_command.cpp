#include "services/cli/split_command.hpp"

#include "services/cli/context.hpp"
#include "services/cli/record_files.hpp"
#include "services/cli/synthetic_data/output.hpp"

#include "common/command_line/command_line.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace troupe::cli {

namespace {

struct split_options {
  std::string path;
  std::string mapping;
  std::filesystem::path out;
  double share = 0.2;
  std::uint64_t least = 5;
};

/// All of a data set, in memory: some hundred bytes an event.
struct data_set {
  std::vector<record> events;
  std::vector<record> entities;
  std::uint64_t refused = 0;
  std::string first_refusal;
};

expected<data_set> read_data(const split_options& given) {
  data_set all;
  auto note = [&](const record_rows& rows, std::uint64_t row, const std::string& reason) {
    if (all.refused++ == 0)
      all.first_refusal = fmt::format("{} row {}: {}", rows.file.string(), row, reason);
  };
  TROUPE_CHECK(read_records(given.path, given.mapping, [&](const record_rows& rows) -> expected<void> {
    for (const auto& each : rows.refused)
      note(rows, each.number, each.why.reason);
    for (const auto& each : rows.records)
      if (auto good = check(each); !good)
        note(rows, rows.first_row, good.error().text);
      else
        (is_entity(each.kind) ? all.entities : all.events).push_back(each);
    return {};
  }));
  if (all.events.empty())
    return fail(ec::invalid_argument, "{} holds no events: there is nothing to split", given.path);
  return all;
}

expected<void> split(const context& context, const split_options& given) {
  TROUPE_TRY(all, read_data(given));
  auto held = choose_held_out(all.events, given.share, given.least);
  auto train = given.out / "train";
  auto held_out = given.out / "held-out";
  std::error_code problem;
  for (const auto& folder : {train, held_out}) {
    std::filesystem::create_directories(folder, problem);
    if (problem)
      return fail(errno_code(problem.value()), "cannot create {}: {}", folder.string(), problem.message());
  }
  TROUPE_TRY(entities, synthetic_data::create_record_file(train / "entities.jsonl"));
  for (const auto& each : all.entities)
    TROUPE_CHECK(entities->write(each));
  TROUPE_CHECK(entities->close());
  TROUPE_TRY(kept, synthetic_data::create_record_file(train / "events.jsonl"));
  TROUPE_TRY(apart, synthetic_data::create_record_file(held_out / "events.jsonl"));
  for (std::size_t i = 0; i < all.events.size(); ++i)
    TROUPE_CHECK((held[i] ? apart : kept)->write(all.events[i]));
  TROUPE_CHECK(kept->close());
  TROUPE_CHECK(apart->close());
  auto out = static_cast<std::uint64_t>(std::ranges::count(held, true));
  auto in = all.events.size() - out;
  if (context.json)
    fmt::print("{{\"train\":{},\"held_out\":{},\"events_train\":{},\"events_held_out\":{},\"entities\":{},"
               "\"refused\":{}}}\n",
               json_string(train.string()), json_string(held_out.string()), in, out, all.entities.size(),
               all.refused);
  else
    fmt::print("{}: {} events and {} entities to train on\n{}: {} events held out, the last of each user\n",
               train.string(), in, all.entities.size(), held_out.string(), out);
  if (all.refused > 0)
    fmt::print(stderr, "troupe: {} rows could not be taken; the first: {}\n", all.refused, all.first_refusal);
  return {};
}

} // namespace

std::vector<bool> choose_held_out(const std::vector<record>& events, double share, std::uint64_t least) {
  std::map<std::string_view, std::vector<std::size_t>> by_user;
  for (std::size_t i = 0; i < events.size(); ++i)
    by_user[events[i].user].push_back(i);
  std::vector<bool> held(events.size());
  for (auto& [user, places] : by_user) {
    if (places.size() < least)
      continue;
    std::ranges::stable_sort(places, {}, [&](std::size_t i) { return events[i].event_time; });
    auto count = static_cast<std::size_t>(std::floor(share * static_cast<double>(places.size())));
    for (auto i = places.size() - count; i < places.size(); ++i)
      held[places[i]] = true;
  }
  return held;
}

void add_split_command(command_line::command& app, context& context) {
  auto options = std::make_shared<split_options>();
  auto* sub = app.add_command(
      "split", "Part a data set: what to ingest and train on, and the last events of each user, held out");
  sub->add_option("path", options->path, "File, folder or glob")->required();
  sub->add_option("--mapping", options->mapping,
                  "Name of a shipped mapping, or a TOML file; none: Troupe's own layout");
  sub->add_option("--out", options->out, "Folder for train/ and held-out/, JSON lines in Troupe's own layout")
      ->required();
  sub->add_option("--share", options->share, "Of each user's events that is held out")
      ->check(command_line::between(0.01, 0.99))
      ->show_default();
  sub->add_option("--least", options->least, "Users with fewer events keep them all")
      ->check(command_line::between(1, 1'000'000))
      ->show_default();
  context.command(*sub, [&context, options] { return split(context, *options); });
}

} // namespace troupe::cli
