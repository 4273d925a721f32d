#include "services/cli/registry_commands.hpp"

#include "services/cli/registry_client.hpp"
#include "services/cli/registry_json.hpp"
#include "services/cli/units.hpp"

#include "common/command_line/command_line.hpp"
#include "common/core/time.hpp"
#include "common/json/parse.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <iostream>
#include <map>
#include <set>

namespace troupe::cli {

namespace json = boost::json;

namespace {

struct list_options {
  std::string name, before;
  std::uint32_t limit = 20;
};

/// One page of a list; `next` is what --before or --after takes to go on, empty after the last.
template <class List>
void print_json(const char* name, const List& list, const std::string& next) {
  json::array out;
  for (auto& each : list)
    out.push_back(to_json(*each));
  std::cout << json::serialize(json::object{
                   {name, std::move(out)}, {"next", next.empty() ? json::value(nullptr) : json::value(next)}})
            << '\n';
}

expected<void> list_runs(context& with, const list_options& options) {
  wire::RunListT question;
  question.experiment = options.name;
  question.before = options.before;
  question.limit = options.limit;
  TROUPE_TRY(page, (ask_registry<wire::RunPage, wire::RunList>(with, wire::Kind::run_list, question)));
  auto next = page.last ? std::string{} : page.runs.back()->run_id;
  if (with.json) {
    print_json("runs", page.runs, next);
    return {};
  }
  for (auto& run : page.runs) {
    std::string metrics;
    for (auto& each : run->metrics)
      metrics +=
          fmt::format(" {} {}", name_without_unit(each->name), value_with_unit(each->name, each->last));
    std::cout << fmt::format("{:<32} {:<16} {:<9} {}{}\n", run->run_id, run->experiment,
                             std::string{to_json(*run).at("state").get_string()}, short_time(run->created),
                             metrics);
  }
  if (!next.empty())
    std::cout << fmt::format("more: --before {}\n", next);
  return {};
}

expected<void> show_run(context& with, const std::string& id) {
  wire::RunQueryT question;
  question.run_id = id;
  TROUPE_TRY(reply, (ask_registry<wire::RunReply, wire::RunQuery>(with, wire::Kind::run_show, question)));
  if (!reply.run)
    return fail(ec::corrupt, "the registry's answer has no run");
  auto out = to_json(*reply.run);
  std::cout << (with.json ? json::serialize(out) : pretty(out)) << '\n';
  return {};
}

struct metric_options {
  std::string run, metric;
  std::uint32_t every = 1;
};

expected<void> show_metric(context& with, const metric_options& options) {
  wire::MetricQueryT question;
  question.run_id = options.run;
  question.name = options.metric;
  question.every = options.every;
  json::array all;
  // The page thins from where it begins: the next one begins with the last point again, which is left out.
  std::size_t seen = 0;
  for (bool last = false; !last; seen = 1) {
    TROUPE_TRY(page,
               (ask_registry<wire::MetricPage, wire::MetricQuery>(with, wire::Kind::metric_read, question)));
    for (auto i = seen; i < page.points.size(); ++i)
      if (auto& each = page.points[i]; with.json)
        all.push_back(to_json(*each));
      else
        std::cout << fmt::format("{:>12} {}\n", each->step, each->value);
    last = page.last || page.points.size() <= seen;
    if (!last)
      question.from_step = page.points.back()->step;
  }
  if (with.json)
    std::cout << json::serialize(all) << '\n';
  return {};
}

expected<void> list_models(context& with, const list_options& options) {
  wire::ModelListT question;
  question.name = options.name;
  question.after = options.before;
  question.limit = options.limit;
  TROUPE_TRY(page, (ask_registry<wire::ModelPage, wire::ModelList>(with, wire::Kind::model_list, question)));
  auto next = page.last ? std::string{}
                        : fmt::format("{}:{}", page.versions.back()->name, page.versions.back()->version);
  if (with.json) {
    print_json("models", page.versions, next);
    return {};
  }
  for (auto& each : page.versions) {
    std::string marks;
    for (auto& alias : each->aliases)
      marks += " " + alias;
    for (auto& tag : each->tags)
      marks += fmt::format(" {}={}", tag->name, tag->text);
    std::cout << fmt::format("{:<32} {} {}{}\n", fmt::format("{}:{}", each->name, each->version),
                             each->manifest_sha256.substr(0, 12), short_time(each->created), marks);
  }
  if (!next.empty())
    std::cout << fmt::format("more: --after {}\n", next);
  return {};
}

expected<void> show_model(context& with, const std::string& which) {
  TROUPE_TRY(version, model_version(with, which));
  auto out = to_json(version);
  std::cout << (with.json ? json::serialize(out) : pretty(out)) << '\n';
  return {};
}

/// Leaves of a manifest by their path: `config.regularization`.
void flatten(const json::value& from, const std::string& path, std::map<std::string, std::string>& to) {
  if (auto* object = from.if_object()) {
    for (auto& [key, value] : *object)
      flatten(value, path.empty() ? std::string{key} : path + "." + std::string{key}, to);
    return;
  }
  to[path] = json::serialize(from);
}

expected<void> diff_models(context& with, const std::string& one, const std::string& other) {
  TROUPE_TRY(left, model_version(with, one));
  TROUPE_TRY(right, model_version(with, other));
  std::map<std::string, std::string> a, b;
  TROUPE_TRY(manifest, parse_json(left.manifest));
  TROUPE_TRY(other_manifest, parse_json(right.manifest));
  flatten(manifest, "", a);
  flatten(other_manifest, "", b);
  json::object out;
  std::set<std::string> keys;
  for (auto* side : {&a, &b})
    for (auto& [key, value] : *side)
      keys.insert(key);
  for (auto& key : keys) {
    auto in_a = a.find(key);
    auto in_b = b.find(key);
    std::string was = in_a == a.end() ? "" : in_a->second;
    std::string is = in_b == b.end() ? "" : in_b->second;
    if (was == is)
      continue;
    if (with.json)
      out[key] = json::array{json::value(was), json::value(is)};
    else
      std::cout << fmt::format("{}\n  - {}\n  + {}\n", key, was, is);
  }
  if (with.json)
    std::cout << json::serialize(out) << '\n';
  return {};
}

struct alias_options {
  std::string model;
  std::vector<std::string> set, remove, tags;
};

expected<void> change_model(context& with, const alias_options& options) {
  TROUPE_TRY(version, model_version(with, options.model));
  wire::ModelChangeT question;
  question.name = version.name;
  question.version = version.version;
  question.set_aliases = options.set;
  question.remove_aliases = options.remove;
  for (auto& each : options.tags) {
    auto equals = each.find('=');
    if (equals == each.npos)
      return with.wrong_usage(fmt::format("a tag is NAME=TEXT, got '{}'", each));
    auto tag = std::make_unique<wire::NamedTextT>();
    tag->name = each.substr(0, equals);
    tag->text = each.substr(equals + 1);
    question.set_tags.push_back(std::move(tag));
  }
  TROUPE_TRY(changed,
             (ask_registry<wire::ModelVersion, wire::ModelChange>(with, wire::Kind::model_change, question)));
  if (with.json)
    std::cout << json::serialize(to_json(changed)) << '\n';
  else
    std::cout << fmt::format("{}:{}: aliases [{}]\n", changed.name, changed.version,
                             fmt::join(changed.aliases, ", "));
  return {};
}

expected<void> list_releases(context& with, const list_options& options) {
  wire::ReleaseListT question;
  question.before = options.before;
  question.limit = options.limit;
  TROUPE_TRY(page,
             (ask_registry<wire::ReleasePage, wire::ReleaseList>(with, wire::Kind::release_list, question)));
  auto next = page.last ? std::string{} : page.releases.back()->id;
  if (with.json) {
    print_json("releases", page.releases, next);
    return {};
  }
  for (auto& each : page.releases)
    std::cout << fmt::format("{} {:<24} {}\n", each->id.substr(0, 16), each->name, short_time(each->created));
  if (!next.empty())
    std::cout << fmt::format("more: --before {}\n", next);
  return {};
}

expected<void> show_release(context& with, const std::string& id) {
  wire::ReleaseQueryT question;
  question.id = id;
  TROUPE_TRY(release,
             (ask_registry<wire::Release, wire::ReleaseQuery>(with, wire::Kind::release_show, question)));
  auto out = to_json(release);
  std::cout << (with.json ? json::serialize(out) : pretty(out)) << '\n';
  return {};
}

template <class Options>
void add(context& with, command_line::command& sub, std::shared_ptr<Options> options,
         expected<void> (*run)(context&, const Options&)) {
  with.command(sub, [&with, options, run] { return run(with, *options); });
}

void add_run_commands(command_line::command& app, context& with) {
  auto* runs = app.add_command("runs", "Training runs: parameters, metrics, artefacts");
  runs->require_command();
  auto list = std::make_shared<list_options>();
  auto* list_command = runs->add_command("list", "Runs, newest first");
  list_command->add_option("--experiment", list->name, "Only those of this experiment");
  list_command->add_option("--before", list->before, "Go on after this run");
  list_command->add_option("--limit", list->limit, "How many")
      ->check(command_line::between(1, 1000))
      ->show_default();
  add(with, *list_command, list, list_runs);
  auto id = std::make_shared<std::string>();
  auto* show_command = runs->add_command("show", "One run");
  show_command->add_option("run", *id, "Id of the run")->required();
  add(with, *show_command, id, show_run);
  auto metric = std::make_shared<metric_options>();
  auto* metrics = runs->add_command("metrics", "The points of one metric series: step and value");
  metrics->add_option("run", metric->run, "Id of the run")->required();
  metrics->add_option("metric", metric->metric, "Name of the metric")->required();
  metrics->add_option("--every", metric->every, "Only one of so many points")
      ->check(command_line::between(1, 1e9));
  add(with, *metrics, metric, show_metric);
}

} // namespace

void add_registry_commands(command_line::command& app, context& with) {
  add_run_commands(app, with);

  auto* models = app.add_command("models", "Model versions and their manifests");
  models->require_command();
  auto list = std::make_shared<list_options>();
  auto* list_command = models->add_command("list", "Versions by name and number");
  list_command->add_option("name", list->name, "Only those of this model");
  list_command->add_option("--after", list->before, "Go on after this name:version");
  list_command->add_option("--limit", list->limit, "How many")
      ->check(command_line::between(1, 1000))
      ->show_default();
  add(with, *list_command, list, list_models);
  auto which = std::make_shared<std::string>();
  auto* show_command = models->add_command("show", "One version with its manifest and gate");
  show_command->add_option("model", *which, "name, name:version, name:alias or name:manifest hash")
      ->required();
  add(with, *show_command, which, show_model);
  auto both = std::make_shared<std::pair<std::string, std::string>>();
  auto* diff = models->add_command("diff", "What differs between the manifests of two versions");
  diff->add_option("one", both->first, "name:version")->required();
  diff->add_option("other", both->second, "name:version")->required();
  with.command(*diff, [&with, both] { return diff_models(with, both->first, both->second); });
  auto change = std::make_shared<alias_options>();
  auto* alias = models->add_command("alias", "Set or remove aliases and tags of a version");
  alias->add_option("model", change->model, "name:version")->required();
  alias->add_option("--set", change->set, "Alias to put at this version, taken from another that has it");
  alias->add_option("--remove", change->remove, "Alias to take away");
  alias->add_option("--tag", change->tags, "NAME=TEXT");
  add(with, *alias, change, change_model);

  auto* releases = app.add_command("releases", "Releases: what is served as one");
  releases->require_command();
  auto page = std::make_shared<list_options>();
  auto* releases_list = releases->add_command("list", "Releases, newest first");
  releases_list->add_option("--before", page->before, "Go on after this release");
  releases_list->add_option("--limit", page->limit, "How many")
      ->check(command_line::between(1, 1000))
      ->show_default();
  add(with, *releases_list, page, list_releases);
  auto release = std::make_shared<std::string>();
  auto* release_show = releases->add_command("show", "One release with its manifest and gate");
  release_show->add_option("release", *release, "Id, its first 8 digits or more, or a name")->required();
  add(with, *release_show, release, show_release);

  add_publish_commands(*models, *releases, app, with);
}

} // namespace troupe::cli
