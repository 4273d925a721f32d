#include "services/cli/training_set_commands.hpp"

#include "services/cli/ingest_progress.hpp"
#include "services/cli/training_build.hpp"
#include "services/feature_store/client/training_fetch.hpp"
#include "services/feature_store/training/training_spec.hpp"

#include "common/command_line/command_line.hpp"
#include "common/core/file.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"
#include "common/net/client.hpp"
#include "common/net/payload.hpp"

#include "schemas/feature_store_generated.h"

#include <iostream>
#include <utility>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto training_set_service = "feature-store";

struct training_options {
  std::string spec, name, out, after;
  std::uint32_t limit = 20;
};

/// Fetches the kept set into a folder of this machine, showing how far it is.
expected<feature_store::training_check> fetch(context& context, net::client& client,
                                              const feature_store::training_manifest& of,
                                              const std::string& folder) {
  bool shown = stderr_is_terminal() && !context.json, used = false;
  feature_store::fetch_options fetch_options;
  fetch_options.tell = [&](const feature_store::fetch_progress& now) {
    if (shown) {
      used = true;
      auto share =
          now.bytes_total ? static_cast<double>(now.bytes) / static_cast<double>(now.bytes_total) : 0;
      std::cerr << fmt::format("\rfetching   {} {:.1f} MB{}\x1b[K", bar(share, 30),
                               static_cast<double>(now.bytes) / 1e6,
                               now.waits_for.empty() ? "" : ", waiting: " + now.waits_for)
                << std::flush;
    }
    return !context::interrupted();
  };
  auto check = feature_store::fetch_training_set(client, of, folder, fetch_options);
  if (used)
    std::cerr << "\n";
  return check;
}

std::string matches(const feature_store::training_manifest& of) {
  if (of.unmatched_rows == 0)
    return "each of an entity that the log knows";
  return fmt::format("{} of them match no entity that the log knows by then", of.unmatched_rows);
}

expected<void> build(context& context, const training_options& options) {
  TROUPE_TRY(text, read_file(options.spec));
  TROUPE_TRY(spec, feature_store::parse_training_spec(text, options.spec));
  TROUPE_TRY(client, context.client(training_set_service));
  context::watch_interrupt();
  bool shown = stderr_is_terminal() && !context.json, used = false;
  auto end_line = [&] {
    if (std::exchange(used, false))
      std::cerr << "\n";
  };
  build_watch watch;
  watch.interrupted = context::interrupted;
  watch.tell = [&](const wire::TrainingStatus& now) {
    if (!shown)
      return;
    used = true;
    auto part = now.records_total()
                    ? static_cast<double>(now.records_done()) / static_cast<double>(now.records_total())
                    : 0.0;
    std::cerr << fmt::format("\r{:<10} {} {} rows", text_of(now.stage()), bar(std::min(1.0, part), 30),
                             now.rows())
              << std::flush;
  };
  watch.waits = [&](const error& why) {
    end_line();
    std::cerr << fmt::format("waiting for the feature store: {}\n", why.text);
  };
  auto last = follow_training_build(*client, text, watch);
  end_line();
  if (!last)
    return unexpected<error>{std::move(last).error()};
  TROUPE_TRY(done, net::read_as<wire::TrainingStatus>(*last, "TRPF", "TrainingStatus"));
  if (done->state() == wire::TrainingState::canceled)
    return fail(ec::canceled, "the training set was canceled; the same command resumes it");
  if (done->state() == wire::TrainingState::failed)
    return fail(ec::internal, "{}", text_of(done->error()));
  TROUPE_TRY(manifest, feature_store::parse_training_manifest(std::string{text_of(done->manifest())},
                                                              "the feature store's answer"));
  auto where = fmt::format("kept by the feature store as {}", spec.name);
  if (!options.out.empty()) {
    where = "in " + std::filesystem::absolute(options.out).string();
    TROUPE_TRY(check, fetch(context, *client, manifest, options.out));
    static_cast<void>(check);
  }
  if (context.json)
    std::cout << text_of(done->manifest());
  else
    std::cout << fmt::format("{} rows {}, {}\n", manifest.rows, where, matches(manifest));
  return {};
}

expected<void> fetch_by_name(context& context, const training_options& options) {
  TROUPE_TRY(client, context.client(training_set_service));
  context::watch_interrupt();
  feature_store::fetch_options fetch_options;
  fetch_options.tell = [](const feature_store::fetch_progress&) { return !context::interrupted(); };
  TROUPE_TRY(manifest, feature_store::kept_manifest(*client, options.name, fetch_options));
  TROUPE_TRY(check, fetch(context, *client, manifest, options.out));
  if (context.json)
    std::cout << manifest.text;
  else
    std::cout << fmt::format("{} rows in {}, content {}\n", check.rows,
                             std::filesystem::absolute(options.out).string(), check.computed);
  return {};
}

std::string json_of(const wire::KeptTraining& from) {
  return fmt::format(R"({{"name":{},"rows":{},"bytes":{},"content_sha256":{},"made_at":{}}})",
                     json_string(text_of(from.name())), from.rows(), from.bytes(),
                     json_string(text_of(from.content_sha256())),
                     json_string(to_rfc3339(from_micros(from.made_at()))));
}

expected<void> list(context& context, const training_options& options) {
  TROUPE_TRY(client, context.client(training_set_service));
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateTrainingListDirect(out, options.after.c_str(), options.limit), "TRPF");
  TROUPE_TRY(got, client->call_to(training_builder, wire::Kind::training_list, net::bytes_of(out),
                                  deadline::in(10s)));
  TROUPE_TRY(page, net::read_as<wire::TrainingListPage>(got.payload, "TRPF", "TrainingListPage"));
  std::string next, all;
  if (page->sets() != nullptr)
    for (auto* each : *page->sets()) {
      next = text_of(each->name());
      if (context.json)
        all += (all.empty() ? "" : ",") + json_of(*each);
      else
        all += fmt::format("{:<32} {:>10} rows {:>8.1f} MB  {}  {}\n", next, each->rows(),
                           static_cast<double>(each->bytes()) / 1e6,
                           to_rfc3339(from_micros(each->made_at())).substr(0, 19),
                           text_of(each->content_sha256()).substr(0, 12));
    }
  if (page->last())
    next.clear();
  if (context.json)
    std::cout << fmt::format("{{\"training_sets\":[{}],\"next\":{}}}\n", all,
                             next.empty() ? "null" : json_string(next));
  else
    std::cout << all << (next.empty() ? "" : fmt::format("more: --after {}\n", next));
  return {};
}

expected<void> remove(context& context, const training_options& options) {
  TROUPE_TRY(client, context.client(training_set_service));
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateTrainingRemoveDirect(out, options.name.c_str()), "TRPF");
  TROUPE_TRY(got, client->call_to(training_builder, wire::Kind::training_remove, net::bytes_of(out),
                                  deadline::in(30s)));
  TROUPE_TRY(gone, net::read_as<wire::KeptTraining>(got.payload, "TRPF", "KeptTraining"));
  if (context.json)
    std::cout << json_of(*gone) << "\n";
  else
    std::cout << fmt::format("removed {}: {} rows, {} bytes\n", text_of(gone->name()), gone->rows(),
                             gone->bytes());
  return {};
}

expected<void> verify(context& context, const std::string& folder) {
  TROUPE_TRY(check, feature_store::verify_training_set(folder));
  if (context.json)
    std::cout << fmt::format("{{\"same\":{},\"rows\":{},\"stated\":\"{}\",\"computed\":\"{}\"}}\n",
                             check.same, check.rows, check.stated, check.computed);
  else if (check.same)
    std::cout << fmt::format("{} rows, content {}: as the manifest says\n", check.rows, check.computed);
  else
    std::cout << fmt::format("NOT as the manifest says: {} rows, content {}, stated {}\n", check.rows,
                             check.computed, check.stated);
  if (!check.same)
    context.say_no();
  return {};
}

} // namespace

void add_training_set_commands(command_line::command& app, context& context) {
  auto* training = app.add_command(
      "training-set",
      "Training sets, correct at the point in time. The feature store builds them and keeps them "
      "by name; trainers (dcn.training_set) and this program fetch them from there");
  training->require_command();
  auto options = std::make_shared<training_options>();
  auto* build_command = training->add_command(
      "build",
      "Build or resume a training set; the feature store keeps it by the name in the specification, in "
      "the place of an earlier one. One that is there and up to date is found done. Says how many rows match "
      "no "
      "entity that the log knew by their instant, and fails where that is more than max_unmatched_share");
  build_command->add_option("spec", options->spec, "Specification in TOML")
      ->required()
      ->check(command_line::existing_file());
  build_command->add_option("--out", options->out,
                            "Fetch it too, into this folder of this machine: Parquet parts and manifest");
  context.command(*build_command, [&context, options] { return build(context, *options); });
  auto* list_command = training->add_command("list", "The training sets that the feature store keeps");
  list_command->add_option("--limit", options->limit, "How many at most")
      ->check(command_line::between(1, 1000))
      ->show_default();
  list_command->add_option("--after", options->after, "Those whose names come after this one");
  context.command(*list_command, [&context, options] { return list(context, *options); });
  auto* fetch_command = training->add_command(
      "fetch",
      "Fetch a kept training set into a folder of this machine. The folder is a training set only when "
      "every value has been checked; a fetch that was cut off goes on");
  fetch_command->add_option("name", options->name, "Name of the training set")->required();
  fetch_command->add_option("--out", options->out, "Folder of the Parquet parts and the manifest")
      ->required();
  context.command(*fetch_command, [&context, options] { return fetch_by_name(context, *options); });
  auto* remove_command = training->add_command("remove", "Remove a kept training set from the feature store");
  remove_command->add_option("name", options->name, "Name of the training set")->required();
  context.command(*remove_command, [&context, options] { return remove(context, *options); });
  auto* verify_command = training->add_command(
      "verify", "Compute the content hash of a training set in a folder of this machine again");
  auto folder = std::make_shared<std::string>();
  verify_command->add_option("dir", *folder, "Folder of the training set")
      ->required()
      ->check(command_line::existing_folder());
  context.command(*verify_command, [&context, folder] { return verify(context, *folder); });
}

} // namespace troupe::cli
