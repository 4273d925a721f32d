#include "services/cli/validator_commands.hpp"

#include "services/cli/record_files.hpp"
#include "services/validator/infer.hpp"
#include "services/validator/profile.hpp"
#include "services/validator/rule_book.hpp"
#include "services/validator/schema.hpp"

#include "common/command_line/command_line.hpp"
#include "common/core/file.hpp"
#include "common/core/raw_file.hpp"
#include "common/net/client.hpp"
#include "common/net/payload.hpp"

#include "schemas/validator_generated.h"

#include <fcntl.h>

#include <cstdio>
#include <functional>
#include <iostream>

namespace troupe::cli {

namespace {

namespace fs = std::filesystem;

constexpr auto reply_wait = std::chrono::seconds{30};

/// What reading files has met beside good records.
struct reading {
  validator::profile seen;
  std::uint64_t refused = 0;
  std::string first_refusal;
};

expected<void> profile_rows(const record_rows& rows, reading& into) {
  static const validator::rule_book log_rules; // Only what the log can take.
  auto made = batch::trusted(encode_batch(rows.records));
  TROUPE_TRY(judged, log_rules.validate(made, {rows.file.native(), 0}));
  for (std::size_t i = 0; i < made.size(); ++i)
    if (!judged.refused[i])
      into.seen.add(made[i]);
  auto note = [&](std::string_view rule_name, std::uint64_t row, const std::string& reason) {
    ++into.refused;
    into.seen.add_refused(rule_name);
    if (into.first_refusal.empty())
      into.first_refusal = fmt::format("{} row {}: {}", rows.file.string(), row, reason);
  };
  for (auto& each : rows.refused)
    note(each.why.rule, each.number, each.why.reason);
  for (auto& each : judged.lines)
    note(each.rule, rows.first_row + each.record, each.reason);
  return {};
}

/// Profiles every file behind `path` that the mapping describes; a stored profile is taken as it is.
expected<reading> profile_path(const std::string& path, const std::string& mapping) {
  reading into;
  if (fs::is_regular_file(path)) {
    TROUPE_TRY(file, raw_file::open(path, O_RDONLY));
    TROUPE_TRY(head, file.read(0, 4));
    if (validator::profile::looks_like(head)) {
      TROUPE_TRY(bytes, read_file(path));
      auto loaded = validator::profile::load(bytes);
      if (!loaded)
        return with_context(fmt::format("reading the profile {}", path), std::move(loaded).error());
      into.seen = std::move(*loaded);
      return into;
    }
  }
  TROUPE_CHECK(
      read_records(path, mapping, [&](const record_rows& rows) { return profile_rows(rows, into); }));
  if (into.refused > 0)
    std::cerr << fmt::format("troupe: {} rows could not be taken; the first: {}\n", into.refused,
                             into.first_refusal);
  return into;
}

expected<void> print_or_store(const context& context, const validator::profile& seen,
                              const std::string& out) {
  if (!out.empty()) {
    TROUPE_CHECK(write_file_atomically(out, as_bytes(seen.save())));
    if (!context.json)
      fmt::print("wrote the profile of {} rows to {}\n", seen.rows(), out);
  }
  if (context.json)
    fmt::print("{}\n", validator::to_json(seen, true));
  else if (out.empty())
    fmt::print("{}", validator::to_table(seen));
  return {};
}

struct schema_options {
  std::string file;
  std::string mapping;
  std::string out;
};

expected<void> infer_schema(const context& context, const schema_options& given) {
  TROUPE_TRY(read, profile_path(given.file, given.mapping));
  auto toml = fmt::format("# Inferred from {} rows of {}. Read it and tighten it.\n{}", read.seen.rows(),
                          given.file, validator::to_toml(validator::infer_schemas(read.seen)));
  if (given.out.empty()) {
    fmt::print("{}", context.json ? fmt::format("{{\"toml\":{}}}\n", json_string(toml)) : toml);
    return {};
  }
  TROUPE_CHECK(write_file_atomically(given.out, as_bytes(toml)));
  fmt::print(
      "wrote the schema to {}; put it into the folder `schemas` of the data folder to bring it into force\n",
      given.out);
  return {};
}

expected<void> check_schema(const context& context, const schema_options& given) {
  TROUPE_TRY(schemas, validator::read_schemas(given.file));
  TROUPE_TRY(book, validator::rule_book::compile(schemas));
  if (context.json)
    fmt::print("{{\"schemas\":[");
  bool first = true;
  for (auto& each : book.schemas()) {
    if (context.json)
      fmt::print("{}{{\"name\":{},\"kind\":\"{}\",\"type\":{},\"fields\":{},\"compares\":{}}}",
                 first ? "" : ",", json_string(each.name), to_string(each.kind),
                 each.type ? json_string(*each.type) : "null", each.fields.size(), each.compares.size());
    else
      fmt::print("{}: {}{}{}, {} fields, {} comparisons\n", each.name, to_string(each.kind),
                 each.type ? " " : "", each.type.value_or(""), each.fields.size(), each.compares.size());
    first = false;
  }
  if (context.json)
    fmt::print("]}}\n");
  return {};
}

struct profile_options {
  std::string file;
  std::string mapping;
  std::string source;
  std::string lake;
  std::string out;
};

expected<std::string> ask_profile(net::client& from, std::uint32_t replica, const std::string& source) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateProfileQuery(out, out.CreateString(source)), "TRPV");
  auto query = net::bytes_of(out);
  TROUPE_TRY(answer, from.call_to(replica, wire::Kind::profile, query, deadline::in(reply_wait)));
  TROUPE_TRY(profile, net::read_as<wire::ProfileReply>(answer.payload, "TRPV", "ProfileReply"));
  return std::string{text_of(profile->json())};
}

/// The live profile as JSON. Each replica profiles the batches it judged: of several, a list in their order.
expected<void> live_profile(context& context, const profile_options& given) {
  if (!given.out.empty())
    return context.wrong_usage("--out stores the profile of a file or a lake; a live one is printed as JSON");
  TROUPE_TRY(client, context.client("validator"));
  std::string text;
  for (std::uint32_t i = 0; i < client->replicas(); ++i) {
    TROUPE_TRY(part, ask_profile(*client, i, given.source));
    text += (i == 0 ? "" : ",\n") + part;
  }
  fmt::print("{}\n", client->replicas() == 1 ? text : "[" + text + "]");
  return {};
}

expected<void> show_profile(context& context, const profile_options& given) {
  if ((given.file.empty() ? 0 : 1) + (given.lake.empty() ? 0 : 1) + (given.source.empty() ? 0 : 1) > 1)
    return context.wrong_usage("name one of FILE, --lake and --source");
  if (given.file.empty() && given.lake.empty())
    return live_profile(context, given);
  TROUPE_TRY(read, profile_path(given.lake.empty() ? given.file : given.lake, given.mapping));
  return print_or_store(context, read.seen, given.out);
}

struct merge_options {
  std::vector<std::string> files;
  std::string out;
};

expected<void> merge_profiles(const context& context, const merge_options& given) {
  validator::profile merged;
  for (auto& each : given.files) {
    TROUPE_TRY(bytes, read_file(each));
    auto loaded = validator::profile::load(bytes);
    if (!loaded)
      return with_context(fmt::format("reading the profile {}", each), std::move(loaded).error());
    merged.merge(*loaded);
  }
  return print_or_store(context, merged, given.out);
}

void add_schema_commands(command_line::command& app, context& context) {
  auto* group = app.add_command("schema", "What records must be like: rules in TOML");
  group->require_command();
  auto options = std::make_shared<schema_options>();
  auto* infer = group->add_command("infer", "Write a first schema from a file, a folder or a glob");
  infer->add_option("FILE", options->file, "What to read, or a stored profile")->required();
  infer->add_option("--mapping", options->mapping, "A shipped mapping or its file; else Troupe's own layout");
  infer->add_option("--out", options->out, "Write it here; else print it");
  context.command(
      *infer, [&context, options] { return infer_schema(context, *options); },
      "name the layout with --mapping, or see what is in the file");
  auto* check = group->add_command("check", "Read a schema file and say what it holds");
  check->add_option("FILE", options->file, "A schema in TOML")->required();
  context.command(
      *check, [&context, options] { return check_schema(context, *options); },
      "correct the file at that line");
}

} // namespace

void add_validator_commands(command_line::command& app, context& context) {
  add_schema_commands(app, context);
  auto* show =
      app.add_command("profile", "What records are like: counts, quantiles, histograms, frequent values");
  auto options = std::make_shared<profile_options>();
  show->add_option("FILE", options->file,
                   "A file, a folder or a glob to profile, or a stored profile to print");
  show->add_option("--mapping", options->mapping, "A shipped mapping or its file; else Troupe's own layout");
  show->add_option("--source", options->source,
                   "The live profile of this source; without it and FILE: of all sources");
  show->add_option("--lake", options->lake, "Profile the Parquet files of this lake folder");
  show->add_option("--out", options->out,
                   "Store the profile here; `troupe profile FILE` and `merge` read it");
  auto merge = std::make_shared<merge_options>();
  auto* together = show->add_command("merge", "Merge stored profiles into the profile of the whole");
  together->add_option("FILES", merge->files, "Profiles written by --out")->required()->at_least(2);
  together->add_option("--out", merge->out, "Store the merged profile here");
  context.command(
      *together, [&context, merge] { return merge_profiles(context, *merge); },
      "make profiles with troupe profile FILE --out");
  context.command(
      *show,
      [&context, options, together]() -> expected<void> {
        return together->given() ? expected<void>{} : show_profile(context, *options);
      },
      "name the layout with --mapping, or start the fleet with troupe up");
}

} // namespace troupe::cli
