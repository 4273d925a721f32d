#include "services/cli/ingest_commands.hpp"

#include "services/cli/ask_ingest.hpp"
#include "services/cli/ingest_progress.hpp"
#include "services/cli/record_files.hpp"
#include "services/cli/send_files.hpp"
#include "services/ingest/import_plan.hpp"
#include "services/ingest/log/log_types.hpp"
#include "services/ingest/wire.hpp"

#include "common/command_line/command_line.hpp"
#include "common/event/record.hpp"
#include "common/net/client.hpp"

#include "schemas/ingest_generated.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;
using ingest::build_message;
using ingest::message;

struct ingest_options {
  std::string path;
  std::string mapping;
  std::string format; ///< Of standard input.
  bool quiet = false;
  bool no_wait = false;
  bool in_place = false;

  bool from_input() const { return path == "-"; }
  bool progress() const { return !quiet && stderr_is_terminal(); }
};

void print_import(const context& context, const wire::ImportStatus& status, double seconds) {
  std::uint64_t done = 0, files = status.files() ? status.files()->size() : 0;
  for (std::uint32_t i = 0; i < files; ++i)
    done += status.files()->Get(i)->done();
  if (context.json) {
    fmt::print("{{\"import\":{},\"state\":\"{}\",\"error\":{},\"files\":{},\"files_done\":{},\"rows_read\":{}"
               ",\"events_added\":{},\"users_added\":{},"
               "\"items_added\":{},\"duplicates\":{},\"quarantined\":{},\"late\":{},\"skipped\":{},"
               "\"seconds\":{:.3f}}}\n",
               json_string(text_of(status.import_id())), wire::EnumNameImportState(status.state()),
               json_string(text_of(status.error())), files, done, status.rows_read(), status.events_added(),
               status.users_added(), status.items_added(), status.duplicates(), status.quarantined(),
               status.late(), status.skipped(), seconds);
    return;
  }
  fmt::print("{}: {} rows of {} files in {:.1f} s\n", wire::EnumNameImportState(status.state()),
             status.rows_read(), files, seconds);
  fmt::print("  added        {} events, {} users, {} items\n", status.events_added(), status.users_added(),
             status.items_added());
  fmt::print("  duplicates   {}\n  quarantined  {}\n  late         {} (applied)\n", status.duplicates(),
             status.quarantined(), status.late());
  if (status.skipped() > 0)
    fmt::print("  left out     {} (as the mapping says)\n", status.skipped());
  if (status.quarantined() > 0)
    fmt::print("see troupe quarantine list\n");
}

expected<void> follow(context& context, message<wire::ImportStatus> status, const ingest_options& options,
                      std::chrono::steady_clock::time_point start) {
  auto id = status->import_id()->str();
  auto query = build_message([&](auto& out) { return wire::CreateImportQuery(out, out.CreateString(id)); });
  {
    import_progress progress{options.progress()};
    for (auto pause = 20ms; status->state() == wire::ImportState::running;
         pause = std::min(pause * 2, 250ms)) {
      progress.show(*status);
      if (context::interrupted())
        return fail(ec::canceled, "import {} goes on in the service; follow it by the same command", id);
      std::this_thread::sleep_for(pause);
      TROUPE_TRY(next, ask_ingest<wire::ImportStatus>(context, wire::Kind::import_status, query, 10s, true));
      status = std::move(next);
    }
  }
  print_import(context, *status,
               std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  if (status->state() == wire::ImportState::failed)
    return fail(ec::invalid_argument, "import {} failed: {}", id, text_of(status->error()));
  if (status->state() == wire::ImportState::canceled)
    return fail(ec::canceled, "import {} was stopped", id);
  return {};
}

/// Whether ingest reads our files itself: told so, or on this machine for sure.
expected<bool> reads_in_place(context& context, const ingest_options& options) {
  TROUPE_TRY(fleet, context.catalog());
  TROUPE_TRY(entry, fleet->find("ingest"));
  return options.in_place || entry->endpoints.front().starts_with("ipc://");
}

/// What an import reads, and how.
struct import_source {
  std::string path; ///< Absolute.
  std::string mapping;
  std::optional<outgoing_files> sent; ///< Nothing: ingest reads them in place.

  std::string id() const {
    return sent ? ingest::import_id_of_upload(sent->upload, mapping) : ingest::import_id(path, mapping);
  }
};

expected<import_source> source_of(context& context, const ingest_options& options) {
  import_source from{std::filesystem::absolute(options.path).lexically_normal().string(), {}, {}};
  TROUPE_TRY(mapping, mapping_text(options.mapping));
  from.mapping = std::move(mapping);
  if (options.from_input()) {
    if (options.in_place)
      return context.wrong_usage("--in-place: ingest cannot read the standard input of this command");
    from.path = "standard input";
    auto extension = options.format.empty() ? std::string{"jsonl"} : options.format;
    TROUPE_TRY(sent, send_input(context, extension, options.mapping, options.progress()));
    from.sent = std::move(sent);
    return from;
  }
  if (!options.format.empty())
    return context.wrong_usage("--format is for standard input (-): files are told by name and content");
  TROUPE_TRY(in_place, reads_in_place(context, options));
  if (!in_place) {
    TROUPE_TRY(files, outgoing_files::find(options.path, options.mapping));
    from.sent = std::move(files);
  }
  return from;
}

expected<message<wire::ImportStatus>> start_import(context& context, const ingest_options& options) {
  TROUPE_TRY(from, source_of(context, options));
  auto request = build_message([&](auto& out) {
    auto path = out.CreateString(from.path), mapping = out.CreateString(from.mapping),
         name = out.CreateString(options.mapping);
    if (!from.sent)
      return wire::CreateImportStart(out, path, mapping, name);
    return wire::CreateImportStart(out, path, mapping, name, out.CreateString(from.sent->upload),
                                   static_cast<std::uint32_t>(from.sent->files.size()), from.sent->bytes);
  });
  for (int again = 0;; ++again) {
    if (from.sent && !options.from_input()) // Which was sent while it was read.
      TROUPE_CHECK(send_files(context, *from.sent, options.progress()));
    auto status = ask_ingest<wire::ImportStatus>(context, wire::Kind::import_start, request, 60s, true);
    // An earlier import of the same files may have ended, and taken them along, while we looked.
    if (status || !from.sent || options.from_input() || status.error().code != ec::not_found || again == 2)
      return status;
  }
}

expected<void> run_ingest(context& context, const ingest_options& options) {
  context::watch_interrupt();
  auto start = std::chrono::steady_clock::now();
  TROUPE_TRY(status, start_import(context, options));
  if (options.no_wait) {
    print_import(context, *status, 0);
    return {};
  }
  return follow(context, std::move(status), options, start);
}

expected<void> cancel_ingest(context& context, const ingest_options& options) {
  if (options.from_input())
    return context.wrong_usage("--cancel: what came on standard input cannot be named again");
  TROUPE_TRY(from, source_of(context, options));
  auto query =
      build_message([&](auto& out) { return wire::CreateImportQuery(out, out.CreateString(from.id())); });
  TROUPE_TRY(after, ask_ingest<wire::ImportStatus>(context, wire::Kind::import_cancel, query));
  print_import(context, *after, 0);
  return {};
}

expected<message<wire::LogInfo>> log_info(context& context) {
  return ask_ingest<wire::LogInfo>(context, wire::Kind::log_info,
                                   build_message([](auto& out) { return wire::CreateLogInfoQuery(out); }));
}

std::string watermark_text(std::int64_t at) {
  return at == std::numeric_limits<std::int64_t>::min() ? "-" : to_rfc3339(from_micros(at));
}

expected<void> print_log_info(context& context) {
  TROUPE_TRY(info, log_info(context));
  if (context.json)
    fmt::print("{{\"events\":{},\"users\":{},\"items\":{},\"quarantined\":{},\"late\":{},\"partitions\":[",
               info->events(), info->users(), info->items(), info->quarantined(), info->late());
  else
    fmt::print("{} events, {} users, {} items; {} rows in quarantine, {} events came late\n{:>9} {:>12} "
               "{:>12} {:>12}  {}\n",
               info->events(), info->users(), info->items(), info->quarantined(), info->late(), "partition",
               "first", "next", "in the lake", "watermark");
  bool first = true;
  if (info->partitions())
    for (auto* each : *info->partitions()) {
      if (context.json)
        fmt::print("{}{{\"partition\":{},\"first_offset\":{},\"next_offset\":{},\"sealed_offset\":{},"
                   "\"watermark\":{}}}",
                   first ? "" : ",", each->partition(), each->first_offset(), each->next_offset(),
                   each->sealed_offset(), json_string(watermark_text(each->watermark())));
      else
        fmt::print("{:>9} {:>12} {:>12} {:>12}  {}\n", each->partition(), each->first_offset(),
                   each->next_offset(), each->sealed_offset(), watermark_text(each->watermark()));
      first = false;
    }
  if (context.json)
    fmt::print("]}}\n");
  return {};
}

expected<ingest::fetched> fetch(context& context, std::uint32_t partition, std::uint64_t offset,
                                std::chrono::microseconds wait = 0us) {
  auto request = build_message([&](auto& out) {
    return wire::CreateFetch(out, partition, offset, 4u << 20, static_cast<std::uint64_t>(wait.count()));
  });
  TROUPE_TRY(reply, ask_ingest<wire::FetchReply>(context, wire::Kind::fetch, request, 30s, true));
  ingest::fetched found;
  found.next_offset = reply->next_offset();
  if (reply->batches())
    for (auto* each : *reply->batches())
      if (each->batch())
        found.batches.push_back(reply.part(*each->batch()));
  return found;
}

struct tail_options {
  std::uint32_t partition = 0;
  std::uint64_t from = 0;
  std::uint64_t count = 20;
  bool follow = false;
  bool from_given = false;
};

expected<void> tail(context& context, tail_options options) {
  context::watch_interrupt();
  TROUPE_TRY(info, log_info(context));
  if (!info->partitions() || options.partition >= info->partitions()->size())
    return fail(ec::invalid_argument, "there is no partition {}", options.partition);
  auto next = info->partitions()->Get(options.partition)->next_offset();
  auto offset = options.from_given ? options.from : next - std::min(next, options.count);
  for (std::uint64_t shown = 0; (options.follow || shown < options.count) && !context::interrupted();) {
    TROUPE_TRY(page, fetch(context, options.partition, offset, options.follow ? 1s : 0s));
    if (page.batches.empty() && !options.follow)
      break;
    auto end = options.follow ? page.next_offset : offset + (options.count - shown);
    TROUPE_CHECK(ingest::each_record(page, options.partition, offset, end, [&](auto& each) -> expected<void> {
      auto rec = to_record(each);
      auto untimed = std::exchange(rec.untimed, false);
      auto line = ingest::to_json(rec);
      fmt::print("{{\"partition\":{},\"offset\":{},\"ingest_time\":{},{}{}\n", options.partition, offset,
                 json_string(to_rfc3339(rec.ingest_time)), untimed ? "\"untimed\":true," : "",
                 std::string_view{line}.substr(1));
      ++shown;
      return {};
    }));
    std::fflush(stdout);
  }
  return {};
}

/// Reads the log as it was when this began and checks that offsets are dense, each record belongs where it
/// lies and the counts are true.
expected<void> verify_log(context& context) {
  TROUPE_TRY(info, log_info(context));
  std::uint64_t events = 0, users = 0, items = 0;
  auto count = info->partitions() ? info->partitions()->size() : 0;
  for (std::uint32_t p = 0; p < count; ++p) {
    auto end = info->partitions()->Get(p)->next_offset();
    for (std::uint64_t offset = 0; offset < end;) {
      TROUPE_TRY(page, fetch(context, p, offset));
      if (page.batches.empty())
        return fail(ec::corrupt, "partition {} of the log ends at offset {}, not at {}", p, offset, end);
      TROUPE_CHECK(ingest::each_record(page, p, offset, end, [&](auto& each) -> expected<void> {
        auto rec = to_record(each);
        if (auto good = ingest::check_held(rec); !good)
          return fail(ec::corrupt, "offset {} of partition {} holds a bad record: {}", offset, p,
                      good.error().text);
        if (partition_of(rec.partition_key(), count) != p)
          return fail(ec::corrupt, "offset {} of partition {} holds record {} of another partition", offset,
                      p, rec.id);
        ++(!is_entity(rec.kind) ? events : rec.kind == record_kind::user ? users : items);
        return {};
      }));
    }
  }
  bool equal = events == info->events() && users == info->users() && items == info->items();
  if (context.json)
    fmt::print("{{\"ok\":{},\"events\":{},\"users\":{},\"items\":{}}}\n", equal, events, users, items);
  else
    fmt::print(
        "read {} events, {} users, {} items in {} partitions: offsets are dense, every record is whole\n",
        events, users, items, count);
  if (!equal)
    return fail(ec::corrupt, "the log counts {} events, {} users, {} items but holds {}, {}, {}",
                info->events(), info->users(), info->items(), events, users, items);
  return {};
}

expected<void> print_seal(context& context, bool verify) {
  auto request = build_message([&](auto& out) { return wire::CreateLakeSeal(out, verify); });
  TROUPE_TRY(status, ask_ingest<wire::LakeStatus>(context, wire::Kind::lake_seal, request, 600s));
  std::uint64_t records = 0, bytes = 0, files = 0;
  if (status->segments())
    for (auto* each : *status->segments()) {
      ++files;
      bytes += each->bytes();
      records += each->next_offset() - each->first_offset();
    }
  if (context.json)
    fmt::print("{{\"files\":{},\"records\":{},\"bytes\":{},\"equal\":{}}}\n", files, records, bytes,
               verify ? "true" : "null");
  else
    fmt::print("{} records in {} Parquet files, {} bytes{}\n", records, files, bytes,
               verify ? ": equal to the log" : "");
  return {};
}

struct quarantine_options {
  std::uint64_t after = 0;
  std::uint32_t limit = 20;
  std::string rule;
  std::string source;
  std::string mapping;
  std::vector<std::uint64_t> numbers;
};

expected<message<wire::QuarantinePage>> page_of(context& context, const quarantine_options& options) {
  auto request = build_message([&](auto& out) {
    auto rule = out.CreateString(options.rule), source = out.CreateString(options.source);
    return wire::CreateQuarantineQuery(out, options.after, options.limit, rule, source);
  });
  return ask_ingest<wire::QuarantinePage>(context, wire::Kind::quarantine_list, request);
}

std::string raw_of(const wire::QuarantinedRow& row) {
  return row.raw() ? std::string{reinterpret_cast<const char*>(row.raw()->data()), row.raw()->size()}
                   : std::string{};
}

/// Bytes that are not text are shown as \xNN.
std::string printable(std::string_view raw) {
  std::string shown;
  for (unsigned char c : raw) {
    if (c < 0x20 || c >= 0x7f)
      shown += fmt::format("\\x{:02x}", c);
    else
      shown += static_cast<char>(c);
  }
  return shown;
}

void print_json(const wire::QuarantinedRow& row) {
  fmt::print("{{\"number\":{},\"source\":{},\"row\":{},\"byte_offset\":{},\"rule\":{},\"field\":{},"
             "\"reason\":{},\"raw\":{},\"at\":{},\"replayed\":{}}}",
             row.number(), json_string(text_of(row.source())), row.row(), row.byte_offset(),
             json_string(text_of(row.rule())), json_string(text_of(row.field())),
             json_string(text_of(row.reason())), json_string(printable(raw_of(row))),
             json_string(to_rfc3339(from_micros(row.at()))), row.replayed());
}

expected<void> list_quarantine(context& context, const quarantine_options& options) {
  TROUPE_TRY(page, page_of(context, options));
  if (context.json)
    fmt::print("{{\"total\":{},\"rows\":[", page->total());
  bool first = true;
  if (page->rows())
    for (auto* each : *page->rows()) {
      if (context.json) {
        fmt::print("{}", first ? "" : ",");
        print_json(*each);
      } else {
        fmt::print("{:>6}  {}:{}  {} {}: {}{}\n", each->number(), text_of(each->source()), each->row(),
                   text_of(each->rule()), text_of(each->field()), text_of(each->reason()),
                   each->replayed() ? "  (replayed)" : "");
      }
      first = false;
    }
  fmt::print("{}", context.json ? "]}\n" : fmt::format("{} rows in quarantine in all\n", page->total()));
  return {};
}

expected<void> show_quarantined(context& context, std::uint64_t number) {
  quarantine_options one;
  one.after = number == 0 ? 0 : number - 1;
  one.limit = 1;
  TROUPE_TRY(page, page_of(context, one));
  if (!page->rows() || page->rows()->size() == 0 || page->rows()->Get(0)->number() != number)
    return fail(ec::not_found, "there is no row {} in quarantine; see troupe quarantine list", number);
  auto& row = *page->rows()->Get(0);
  if (context.json) {
    print_json(row);
    fmt::print("\n");
    return {};
  }
  fmt::print("number  {}\nsource  {}, row {}, byte {}\nrule    {} {}\nreason  {}\nat      {}{}\nraw     {}\n",
             row.number(), text_of(row.source()), row.row(), row.byte_offset(), text_of(row.rule()),
             text_of(row.field()), text_of(row.reason()), to_rfc3339(from_micros(row.at())),
             row.replayed() ? "\nreplayed" : "", printable(raw_of(row)));
  return {};
}

expected<void> replay_quarantined(context& context, const quarantine_options& options) {
  TROUPE_TRY(mapping, mapping_text(options.mapping));
  auto request = build_message([&](auto& out) {
    auto numbers = out.CreateVector(options.numbers);
    auto rule = out.CreateString(options.rule), source = out.CreateString(options.source),
         toml = out.CreateString(mapping);
    return wire::CreateQuarantineReplay(out, numbers, rule, source, toml);
  });
  TROUPE_TRY(reply,
             ask_ingest<wire::QuarantineReplayReply>(context, wire::Kind::quarantine_replay, request, 600s));
  if (context.json)
    fmt::print("{{\"accepted\":{},\"duplicates\":{},\"refused\":{}}}\n", reply->accepted(),
               reply->duplicates(), reply->refused());
  else
    fmt::print("{} rows accepted, {} were in the log already, {} are refused as before\n", reply->accepted(),
               reply->duplicates(), reply->refused());
  return {};
}

constexpr const char* start_hint = "is the fleet running? start it with: troupe up";

void add_log_commands(command_line::command& app, context& context) {
  auto* log = app.add_command("log", "The event log: what it holds");
  log->require_command();
  context.command(
      *log->add_command("info", "Counts, and the offsets of every partition"),
      [&context] { return print_log_info(context); }, start_hint);
  context.command(
      *log->add_command("verify", "Read all of it: dense offsets, whole records, true counts"),
      [&context] { return verify_log(context); }, start_hint);
  auto* last = log->add_command("tail", "Print records of one partition as JSON lines");
  auto options = std::make_shared<tail_options>();
  last->add_option("--partition", options->partition, "Partition")->show_default();
  auto* from = last->add_option("--from", options->from, "First offset; otherwise the last --count");
  last->add_option("--count", options->count, "How many")->show_default();
  last->add_flag("--follow", options->follow, "Wait for more until Ctrl-C");
  context.command(
      *last,
      [&context, options, from] {
        options->from_given = from->given();
        return tail(context, *options);
      },
      start_hint);
  auto* lake = app.add_command("lake", "The lake: the log as Parquet files");
  lake->require_command();
  context.command(
      *lake->add_command("seal", "Write what is not yet in the lake"),
      [&context] { return print_seal(context, false); }, start_hint);
  context.command(
      *lake->add_command("verify", "Seal, then read every file back and compare it with the log"),
      [&context] { return print_seal(context, true); }, start_hint);
}

void add_quarantine_commands(command_line::command& app, context& context) {
  auto* quarantine = app.add_command("quarantine", "Rows that were refused, with rule, reason and position");
  quarantine->require_command();
  auto options = std::make_shared<quarantine_options>();
  auto* list = quarantine->add_command("list", "Refused rows, oldest first");
  list->add_option("--after", options->after, "Numbers above this one only")->show_default();
  list->add_option("--limit", options->limit, "How many")
      ->check(command_line::between(1, 10'000))
      ->show_default();
  auto* replay = quarantine->add_command(
      "replay", "Map and judge refused rows again; those that are good now go to the log");
  for (auto* each : {list, replay}) {
    each->add_option("--rule", options->rule, "Only rows that this rule refused");
    each->add_option("--source", options->source,
                     "Only rows of this file or caller: its whole name, or the end of its path");
  }
  replay->add_option("numbers", options->numbers, "Numbers of rows; none: all that match");
  replay->add_option("--mapping", options->mapping, "A mended mapping: name or file");
  context.command(
      *list, [&context, options] { return list_quarantine(context, *options); }, start_hint);
  context.command(
      *replay, [&context, options] { return replay_quarantined(context, *options); }, start_hint);
  auto* show = quarantine->add_command("show", "One row with its bytes");
  auto number = std::make_shared<std::uint64_t>(0);
  show->add_option("number", *number, "Number of the row")->required();
  context.command(
      *show, [&context, number] { return show_quarantined(context, *number); }, start_hint);
}

} // namespace

void add_ingest_commands(command_line::command& app, context& context) {
  auto* sub = app.add_command(
      "ingest",
      "Take a file, a folder or a glob into the event log: CSV, JSON lines, Parquet; plain, gzip, zstd");
  auto options = std::make_shared<ingest_options>();
  auto cancel = std::make_shared<bool>(false);
  sub->add_option(
         "path", options->path,
         "File, folder or glob, sent to ingest where that is on another machine; -: standard input, sent "
         "as it comes and imported when it ends")
      ->required();
  sub->add_option("--format", options->format, "Of standard input; jsonl where it is not given")
      ->check(command_line::one_of({"jsonl", "csv", "parquet"}));
  sub->add_option("--mapping", options->mapping,
                  "Name of a shipped mapping, or a TOML file; none: Troupe's own layout");
  sub->add_flag(
      "--in-place", options->in_place,
      "The path is one on the machine of the ingest service, which reads it there: nothing is sent");
  sub->add_flag("--quiet", options->quiet, "No progress bar");
  sub->add_flag("--no-wait", options->no_wait, "Start it and return");
  sub->add_flag("--cancel", *cancel, "Stop this import; what is durable stays, starting again goes on");
  context.command(
      *sub,
      [&context, options, cancel] {
        return *cancel ? cancel_ingest(context, *options) : run_ingest(context, *options);
      },
      start_hint);
  add_log_commands(app, context);
  add_quarantine_commands(app, context);
}

} // namespace troupe::cli
