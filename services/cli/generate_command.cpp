#include "services/cli/generate_command.hpp"

#include "services/cli/synthetic_data/generator.hpp"
#include "services/cli/synthetic_data/output.hpp"

#include "common/command_line/command_line.hpp"

#include <chrono>
#include <cstdio>
#include <fstream>

namespace troupe::cli {

namespace {

struct generate_options {
  std::filesystem::path out;
  std::string format = "jsonl";
  std::string start = "2026-01-01";
  std::string span = "30d";
  std::string mean_delay = "1h";
  double drift_at = -1;
  std::uint64_t events = 0; ///< 0: so many a user that there is something to learn of each.
  bool quiet = false;
  synthetic_data::settings config;
};

/// One line on a terminal's stderr that is written over itself, four times a second at most.
class progress_line {
public:
  explicit progress_line(bool shown) : shown_{shown} {}

  void show(std::uint64_t done, std::uint64_t total) {
    auto now = std::chrono::steady_clock::now();
    if (!shown_ || now < next_)
      return;
    next_ = now + std::chrono::milliseconds{250};
    auto seconds = std::chrono::duration<double>(now - start_).count();
    fmt::print(stderr, "\r{:3}% {} of {} events, {:.0f}/s ", total == 0 ? 100 : done * 100 / total, done,
               total, static_cast<double>(done) / std::max(seconds, 1e-3));
    std::fflush(stderr);
    used_ = true;
  }

  ~progress_line() {
    if (used_)
      fmt::print(stderr, "\r\033[K");
  }

private:
  bool shown_;
  bool used_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point next_{};
};

template <class Make>
expected<void> write_all(const std::filesystem::path& path, std::uint64_t count, Make make) {
  TROUPE_TRY(file, synthetic_data::create_record_file(path));
  for (std::uint64_t i = 0; i < count; ++i) {
    TROUPE_CHECK(file->write(make(i)));
    if (context::interrupted())
      return fail(ec::canceled, "stopped while writing {}", path.string());
  }
  return file->close();
}

expected<void> generate(const context& context, generate_options options) {
  auto& config = options.config;
  TROUPE_TRY(start, parse_rfc3339(options.start));
  config.start = start;
  TROUPE_TRY(span, parse_duration(options.span));
  config.span = span;
  TROUPE_TRY(mean_delay, parse_duration(options.mean_delay));
  config.mean_delay = mean_delay;
  if (options.drift_at >= 0)
    config.drift_at = options.drift_at;
  constexpr std::uint64_t events_a_user = 100;
  config.events = options.events > 0 ? options.events : events_a_user * config.users;
  TROUPE_CHECK(config.validate());
  std::error_code err;
  std::filesystem::create_directories(options.out, err);
  if (err)
    return fail(errno_code(err.value()), "cannot create {}: {}", options.out.string(), err.message());
  context::watch_interrupt();

  synthetic_data::generator source{config};
  auto& laws = source.laws();
  auto path_of = [&](std::string_view what) {
    return options.out / fmt::format("{}.{}", what, options.format);
  };
  TROUPE_CHECK(write_all(path_of("users"), config.users, [&](auto i) { return laws.user_record(i); }));
  TROUPE_CHECK(write_all(path_of("items"), config.items, [&](auto i) { return laws.item_record(i); }));
  {
    progress_line progress{!options.quiet && stderr_is_terminal()};
    TROUPE_TRY(file, synthetic_data::create_record_file(path_of("events")));
    std::uint64_t written = 0;
    while (auto event = source.next()) {
      TROUPE_CHECK(file->write(*event));
      if (++written % 4096 != 0)
        continue;
      progress.show(written, config.events);
      if (context::interrupted())
        return fail(ec::canceled, "stopped after {} of {} events", written, config.events);
    }
    TROUPE_CHECK(file->close());
  }
  auto truth_path = options.out / "truth.json";
  std::ofstream truth_file{truth_path, std::ios::binary};
  truth_file << laws.json() << std::flush;
  if (!truth_file)
    return fail(ec::io_failed, "cannot write {}", truth_path.string());

  auto& made = source.made();
  if (context.json)
    fmt::print(
        R"({{"out":{},"format":"{}","users":{},"items":{},"events":{},"slates":{},"impressions":{},"clicks":{},)"
        R"("ratings":{},"late":{},"sessions":{},"seed":{}}})"
        "\n",
        json_string(options.out.string()), options.format, config.users, config.items, made.events(),
        made.slates, made.impressions, made.clicks, made.ratings, made.late, made.sessions, config.seed);
  else
    fmt::print(
        "{}: {} users, {} items, {} events ({} slates of {} items, {} clicks, {} ratings; {} late) in {} "
        "sessions\n"
        "next: troupe ingest '{}/*.{}'\n",
        options.out.string(), config.users, config.items, made.events(), made.slates, made.impressions,
        made.clicks, made.ratings, made.late, made.sessions, options.out.string(), options.format);
  return {};
}

} // namespace

void add_generate_commands(command_line::command& app, context& context) {
  auto options = std::make_shared<generate_options>();
  auto& config = options->config;
  auto* sub = app.add_command("generate",
                              "Write synthetic data whose preference model is known: users, items, events");
  sub->add_option("--out", options->out, "Folder for users, items, events and truth.json")->required();
  sub->add_option("--format", options->format, "jsonl, jsonl.gz, jsonl.zst or parquet")
      ->check(command_line::one_of({"jsonl", "jsonl.gz", "jsonl.zst", "parquet"}))
      ->show_default();
  sub->add_option("--seed", config.seed, "The same seed gives the same bytes")->show_default();
  sub->add_option("--users", config.users)->show_default();
  sub->add_option("--items", config.items)->show_default();
  sub->add_option("--events", options->events,
                  "Slates, clicks and ratings together; 100 for each user where it is not given");
  sub->add_option("--start", options->start, "Time of the first session, RFC 3339")->show_default();
  sub->add_option("--span", options->span, "From the first session to about the last: 12h, 30d")
      ->check(check_duration)
      ->show_default();
  sub->add_option("--item-skew", config.item_skew, "Zipf exponent of item popularity")->show_default();
  sub->add_option("--user-skew", config.user_skew, "Zipf exponent of user activity")->show_default();
  sub->add_option("--exploration", config.exploration, "Uniform share of the logging policy")->show_default();
  sub->add_option("--slate", config.slate, "Positions shown at once")->show_default();
  sub->add_option("--late", config.late, "Share of events that arrive behind later ones")->show_default();
  sub->add_option("--mean-delay", options->mean_delay, "Mean delay of late events")
      ->check(check_duration)
      ->show_default();
  sub->add_option("--drift-at", options->drift_at,
                  "Share of the span after which tastes and popularity change")
      ->check(command_line::between(0.0, 1.0));
  sub->add_flag("--quiet", options->quiet, "No progress line");
  context.command(
      *sub, [&context, options] { return generate(context, *options); },
      "see `troupe generate --help` for what each option allows");
}

} // namespace troupe::cli
