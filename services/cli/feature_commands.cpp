#include "services/cli/feature_commands.hpp"

#include "services/feature_store/client/feature_client.hpp"
#include "services/feature_store/operators/operator.hpp"
#include "services/feature_store/views/view.hpp"

#include "common/command_line/command_line.hpp"
#include "common/core/hash.hpp"
#include "common/net/client.hpp"
#include "common/net/payload.hpp"

#include "schemas/feature_store_generated.h"

#include <cmath>
#include <iostream>
#include <limits>
#include <map>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto feature_service = "feature-store";

std::string number_text(double number) {
  return std::isfinite(number) ? fmt::format("{}", number) : "null";
}

struct view_in_force {
  feature_store::feature_view view;
  std::string version, state;
};

/// The views that the feature store serves, in its order.
expected<std::vector<view_in_force>> views_in_force(context& with) {
  TROUPE_TRY(client, with.client(feature_service));
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateViewsQuery(out), "TRPF");
  TROUPE_TRY(got, client->call(wire::Kind::views, net::bytes_of(out), deadline::in(10s)));
  TROUPE_TRY(reply, net::read_as<wire::ViewsReply>(got.payload, "TRPF", "ViewsReply"));
  if (!reply->names() || !reply->versions() || !reply->toml() || !reply->state())
    return fail(ec::corrupt, "the feature store's answer has no views");
  std::vector<view_in_force> found;
  for (std::uint32_t v = 0; v < reply->names()->size(); ++v) {
    TROUPE_TRY(parsed, feature_store::parse_views(text_of(reply->toml()->Get(v)), "the feature store"));
    found.push_back({std::move(parsed[0]), std::string{text_of(reply->versions()->Get(v))},
                     std::string{text_of(reply->state()->Get(v))}});
  }
  return found;
}

expected<void> list_views(context& with) {
  TROUPE_TRY(found, views_in_force(with));
  if (with.json)
    std::cout << "[";
  for (auto& [view, version, state] : found) {
    if (with.json) {
      std::cout << (&view == &found.front().view ? "" : ",")
                << fmt::format(
                       "{{\"view\":{},\"version\":\"{}\",\"entity\":\"{}\",\"state\":{},\"features\":[",
                       json_string(view.name), version, to_string(view.entity), json_string(state));
      for (auto& each : view.features)
        std::cout << (&each == &view.features.front() ? "" : ",")
                  << fmt::format("{{\"name\":{},\"operator\":\"{}\",\"type\":\"{}\"}}",
                                 json_string(fmt::format("{}.{}", view.name, each.name)), each.op->name(),
                                 to_string(each.type));
      std::cout << "]}";
      continue;
    }
    std::cout << fmt::format("{} ({}, version {}, {})\n", view.name, to_string(view.entity),
                             version.substr(0, 12), state);
    for (auto& each : view.features)
      std::cout << fmt::format("  {:<40} {:<15} {:<7} {}\n", fmt::format("{}.{}", view.name, each.name),
                               each.op->name(), to_string(each.type),
                               each.window ? to_duration_text(*each.window) : "all time");
  }
  if (with.json)
    std::cout << "]\n";
  return {};
}

struct get_options {
  std::string entity = "user", features, at, timeout = "10s";
  std::vector<std::string> ids;
};

expected<void> get(context& with, const get_options& options) {
  feature_store::feature_query query;
  query.entity = options.entity;
  query.ids = options.ids;
  for (std::size_t from = 0; from <= options.features.size();) {
    auto comma = std::min(options.features.find(',', from), options.features.size());
    if (comma > from)
      query.features.push_back(options.features.substr(from, comma - from));
    from = comma + 1;
  }
  if (query.features.empty()) {
    TROUPE_TRY(found, views_in_force(with));
    for (auto& each : found)
      if (to_string(each.view.entity) == options.entity)
        for (auto& feature : each.view.features)
          query.features.push_back(fmt::format("{}.{}", each.view.name, feature.name));
    if (query.features.empty())
      return fail(ec::not_found, "the feature store has no view of {}s", options.entity);
  }
  if (options.at == "watermark") {
    query.at = std::numeric_limits<std::int64_t>::min();
  } else if (!options.at.empty()) {
    TROUPE_TRY(at, parse_rfc3339(options.at));
    query.at = micros_of(at);
  }
  TROUPE_TRY(timeout, parse_duration(options.timeout));
  TROUPE_TRY(client, with.client(feature_service));
  TROUPE_TRY(answer, feature_store::read_sharded(*client, query, deadline::in(timeout)));
  auto value = [&](const feature_store::feature_column& column, std::size_t row, bool json) -> std::string {
    if (column.status[row] != wire::FeatureStatus::present)
      return json ? "null" : std::string{wire::EnumNameFeatureStatus(column.status[row])};
    if (!column.numbers.empty())
      return number_text(column.numbers[row]);
    if (!column.texts.empty())
      return json ? json_string(column.texts[row]) : column.texts[row];
    std::string list;
    if (!column.lists.empty())
      for (auto& word : column.lists[row])
        list += (list.empty() ? "" : json ? "," : " ") + (json ? json_string(word) : word);
    return json ? "[" + list + "]" : list;
  };
  if (with.json)
    std::cout << "[";
  for (std::size_t row = 0; row < query.ids.size(); ++row) {
    if (with.json)
      std::cout << (row ? "," : "")
                << fmt::format("{{\"{}\":{},\"features\":{{", query.entity, json_string(query.ids[row]));
    else
      std::cout << query.entity << " " << query.ids[row] << "\n";
    for (auto& column : answer.columns) {
      if (with.json)
        std::cout << (&column == &answer.columns.front() ? "" : ",")
                  << fmt::format("{}:{{\"status\":\"{}\",\"age_us\":{},\"value\":{}}}",
                                 json_string(column.name), wire::EnumNameFeatureStatus(column.status[row]),
                                 column.age_us[row], value(column, row, true));
      else
        std::cout << fmt::format(
            "  {:<40} {}{}\n", column.name, value(column, row, false),
            column.age_us[row] >= 0
                ? fmt::format("  ({} old)", to_duration_text(std::chrono::microseconds{
                                                column.age_us[row] / 1'000'000 * 1'000'000}))
                : "");
    }
    if (with.json)
      std::cout << "}}";
  }
  if (with.json)
    std::cout << "]\n";
  return {};
}

/// One hash over every state of every replica, in the order of their keys: the same states give the same
/// hash.
expected<void> state_hash(context& with) {
  TROUPE_TRY(client, with.client(feature_service));
  std::map<std::string, std::string> all;
  std::map<std::uint32_t, std::uint64_t> applied;
  for (std::uint32_t replica = 0; replica < client->replicas(); ++replica) {
    std::string after;
    for (bool last = false; !last;) {
      flatbuffers::FlatBufferBuilder out;
      out.Finish(wire::CreateStateQueryDirect(out, after.c_str(), 10'000), "TRPF");
      TROUPE_TRY(got,
                 client->call_to(replica, wire::Kind::dump_state, net::bytes_of(out), deadline::in(60s)));
      TROUPE_TRY(page, net::read_as<wire::StatePage>(got.payload, "TRPF", "StatePage"));
      if (page->keys() && page->sha256())
        for (std::uint32_t i = 0; i < std::min(page->keys()->size(), page->sha256()->size()); ++i) {
          after = text_of(page->keys()->Get(i));
          all[after] = text_of(page->sha256()->Get(i));
        }
      if (page->applied())
        for (auto* each : *page->applied()) {
          auto [at, fresh] = applied.emplace(each->partition(), each->offset());
          if (!fresh)
            at->second = std::min(at->second, each->offset());
        }
      last = page->last() || !page->keys() || page->keys()->size() == 0;
    }
  }
  sha256 hash;
  for (auto& [key, value] : all)
    hash.add(as_bytes(fmt::format("{} {}\n", key, value)));
  auto digest = to_hex(byte_view{hash.finish()});
  std::uint64_t records = 0;
  for (auto& [partition, offset] : applied)
    records += offset;
  if (with.json)
    std::cout << fmt::format("{{\"sha256\":\"{}\",\"states\":{},\"records\":{}}}\n", digest, all.size(),
                             records);
  else
    std::cout << fmt::format("{} {} states of {} records\n", digest, all.size(), records);
  return {};
}

expected<void> check_views(context& with, const std::string& path) {
  TROUPE_TRY(views, feature_store::read_views(path));
  if (with.json)
    std::cout << "[";
  for (auto& each : views)
    if (with.json)
      std::cout << (&each == &views.front() ? "" : ",")
                << fmt::format("{{\"view\":{},\"version\":\"{}\",\"features\":{}}}", json_string(each.name),
                               each.version, each.features.size());
    else
      std::cout << fmt::format("{:<24} {:<5} {:>3} features  version {}\n", each.name, to_string(each.entity),
                               each.features.size(), each.version.substr(0, 12));
  if (with.json)
    std::cout << "]\n";
  return {};
}

} // namespace

void add_feature_commands(command_line::command& app, context& with) {
  auto* features = app.add_command("features", "Features as they are served");
  features->require_command();
  with.command(*features->add_command("list", "The views in force, their features and versions"),
               [&with] { return list_views(with); });
  auto* get_command = features->add_command("get", "Values of features for some entities");
  auto get_with = std::make_shared<get_options>();
  get_command->add_option("--entity", get_with->entity, "user or item")
      ->check(command_line::one_of({"user", "item"}))
      ->show_default();
  get_command->add_option("ids", get_with->ids, "Ids of the entities")->required();
  get_command->add_option("--features", get_with->features,
                          "view.feature, parted by commas; else all of the entity");
  get_command->add_option(
      "--at", get_with->at,
      "Instant (RFC 3339), or watermark: the newest event applied; else the service's clock");
  get_command->add_option("--timeout", get_with->timeout, "How long to wait")
      ->check(check_duration)
      ->show_default();
  with.command(*get_command, [&with, get_with] { return get(with, *get_with); });
  with.command(*features->add_command("state-hash", "One SHA-256 over every feature state"),
               [&with] { return state_hash(with); });

  auto* views = app.add_command("views", "Definitions of feature views");
  views->require_command();
  auto* check_command = views->add_command("check", "Read a file or folder of views and say what it holds");
  auto path = std::make_shared<std::string>();
  check_command->add_option("file", *path, "File or folder")
      ->required()
      ->check(command_line::existing_path());
  with.command(*check_command, [&with, path] { return check_views(with, *path); });
}

} // namespace troupe::cli
