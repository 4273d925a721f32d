#include "services/cli/status_command.hpp"

#include "services/cli/units.hpp"

#include "common/command_line/command_line.hpp"
#include "common/core/time.hpp"
#include "common/net/client.hpp"
#include "common/net/payload.hpp"

#include "schemas/status_generated.h"

#include <algorithm>
#include <future>
#include <iostream>
#include <thread>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;

struct status_options {
  std::string timeout = "2s";
  std::string wait = "0s";
};

/// One replica as it answered, or why it did not.
struct replica_status {
  std::string service;
  std::uint32_t replica = 0;
  std::string endpoint;
  bool may_be_absent = false; ///< It comes and goes with load.
  bool ready = false;
  std::string state = "unreachable";
  std::chrono::microseconds uptime{};
  std::vector<std::pair<std::string, double>> gauges;
  std::string last_error;
  std::int64_t last_error_at = 0;

  /// Nothing is wrong with it.
  bool well() const { return ready || state == "absent"; }
};

chunk status_query() {
  flatbuffers::FlatBufferBuilder builder{64};
  builder.Finish(wire::CreateStatusQuery(builder), "TRPS");
  return net::bytes_of(builder);
}

void take(replica_status& row, const chunk& payload) {
  auto read = net::read_as<wire::StatusReply>(payload, "TRPS", "StatusReply");
  if (!read) {
    row.state = "unreadable";
    row.last_error = "the answer is not a StatusReply: another version of Troupe listens there";
    return;
  }
  const auto* reply = *read;
  auto text = [](const flatbuffers::String* from) { return from ? from->str() : std::string{}; };
  if (text(reply->service()) != row.service || reply->replica() != row.replica) {
    row.state = "mistaken";
    row.last_error = fmt::format("{}/{} answers there", text(reply->service()), reply->replica());
    return;
  }
  row.ready = reply->ready();
  row.state = text(reply->state());
  row.uptime = std::chrono::microseconds{reply->uptime_us()};
  row.last_error = text(reply->last_error());
  row.last_error_at = reply->last_error_at();
  if (reply->gauges())
    for (const auto* gauge : *reply->gauges())
      row.gauges.emplace_back(text(gauge->name()), gauge->value());
}

/// Asks every replica at the same time.
expected<std::vector<replica_status>> ask_all(context& context, std::chrono::microseconds timeout) {
  TROUPE_TRY(fleet, context.catalog());
  std::vector<replica_status> rows;
  std::vector<std::future<expected<net::reply>>> answers;
  auto until = deadline::in(timeout);
  for (const auto& entry : fleet->services()) {
    auto client = context.client(entry.name);
    for (std::uint32_t replica = 0; replica < entry.replicas; ++replica) {
      auto& row = rows.emplace_back();
      row.service = entry.name;
      row.replica = replica;
      row.endpoint = entry.endpoints[replica];
      row.may_be_absent = entry.comes_and_goes(replica);
      auto promise = std::make_shared<std::promise<expected<net::reply>>>();
      answers.push_back(promise->get_future());
      if (!client) {
        promise->set_value(unexpected<error>{client.error()});
        continue;
      }
      (*client)->call_async_to(replica, wire::Kind::status, status_query(), until,
                               [promise](expected<net::reply> got) { promise->set_value(std::move(got)); });
    }
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto got = answers[i].get();
    if (got)
      take(rows[i], got->payload);
    else if (rows[i].may_be_absent &&
             (got.error().code == ec::unavailable || got.error().code == ec::too_late))
      rows[i].state = "absent";
    else
      rows[i].last_error = render(got.error());
  }
  return rows;
}

std::string short_span(std::chrono::microseconds span) {
  auto seconds = span / 1s;
  if (seconds < 120)
    return fmt::format("{}s", seconds);
  if (seconds < 7'200)
    return fmt::format("{}m", seconds / 60);
  return seconds < 172'800 ? fmt::format("{}h", seconds / 3'600) : fmt::format("{}d", seconds / 86'400);
}

void print_text(const std::vector<replica_status>& rows) {
  std::size_t widest = 7;
  for (const auto& row : rows)
    widest = std::max(widest, fmt::format("{}/{}", row.service, row.replica).size());
  fmt::print("{:<{}}  {:<5}  {:<11}  {:>6}  {}\n", "SERVICE", widest, "READY", "STATE", "UP", "NUMBERS");
  for (const auto& row : rows) {
    std::string numbers;
    for (const auto& [name, value] : row.gauges)
      numbers += fmt::format("{}{} {}", numbers.empty() ? "" : ", ", name_without_unit(name),
                             value_with_unit(name, value));
    fmt::print("{:<{}}  {:<5}  {:<11}  {:>6}  {}\n", fmt::format("{}/{}", row.service, row.replica), widest,
               row.ready    ? "yes"
               : row.well() ? "-"
                            : "no",
               row.state, row.uptime.count() == 0 ? "-" : short_span(row.uptime), numbers);
    if (row.last_error.empty())
      continue;
    auto ago = row.last_error_at == 0
                   ? std::string{}
                   : fmt::format(" ({} ago)", short_span(wall_now() - from_micros(row.last_error_at)));
    fmt::print("{:<{}}  last error{}: {}\n", "", widest, ago, row.last_error);
  }
}

void print_json(const std::vector<replica_status>& rows, bool ready) {
  std::string out = fmt::format(R"({{"ready":{},"services":[)", ready);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    out += fmt::format(
        R"({}{{"service":{},"replica":{},"endpoint":{},"ready":{},"may_be_absent":{},"state":{},"uptime_s":{:.3f},"gauges":{{)",
        i == 0 ? "" : ",", json_string(row.service), row.replica, json_string(row.endpoint), row.ready,
        row.may_be_absent, json_string(row.state), static_cast<double>(row.uptime.count()) / 1e6);
    for (std::size_t g = 0; g < row.gauges.size(); ++g)
      out +=
          fmt::format("{}{}:{}", g == 0 ? "" : ",", json_string(row.gauges[g].first), row.gauges[g].second);
    out += fmt::format(R"(}},"last_error":{},"last_error_at":{}}})", json_string(row.last_error),
                       row.last_error_at == 0 ? "null"
                                              : json_string(to_rfc3339(from_micros(row.last_error_at))));
  }
  fmt::print("{}]}}\n", out);
}

expected<void> status(context& context, const status_options& given) {
  TROUPE_TRY(timeout, parse_duration(given.timeout));
  TROUPE_TRY(wait, parse_duration(given.wait));
  auto until = deadline::in(wait);
  for (;;) {
    TROUPE_TRY(rows, ask_all(context, timeout));
    bool ready = std::ranges::all_of(rows, &replica_status::well);
    if (!ready && !until.passed()) {
      std::this_thread::sleep_for(std::min<deadline::clock::duration>(100ms, until.left()));
      continue;
    }
    if (context.json)
      print_json(rows, ready);
    else
      print_text(rows);
    if (!ready)
      context.say_no();
    return {};
  }
}

} // namespace

void add_status_commands(command_line::command& app, context& context) {
  auto* sub = app.add_command(
      "status", "Show each service: ready or not, lag, last error; exit 1 when one is not ready");
  sub->footer("A replica above the catalog's least_replicas comes and goes with load: while nobody answers "
              "there it is "
              "\"absent\", which is not an error.");
  auto options = std::make_shared<status_options>();
  sub->add_option("--timeout", options->timeout, "How long to wait for answers")
      ->check(check_duration)
      ->show_default();
  sub->add_option("--wait", options->wait, "Ask again until every service is ready, for so long")
      ->check(check_duration)
      ->show_default();
  context.command(*sub, [&context, options] { return status(context, *options); });
}

} // namespace troupe::cli
