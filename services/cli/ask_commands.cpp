#include "services/cli/ask_commands.hpp"

#include "services/cli/gateway_access.hpp"

#include "common/command_line/command_line.hpp"
#include "common/http/router.hpp"

#include <boost/json.hpp>

namespace troupe::cli {

namespace {

namespace json = boost::json;

std::string joined(const json::value& from, std::string_view key) {
  std::string out;
  const auto* object = from.if_object();
  const auto* list = object ? object->if_contains(json::string_view{key.data(), key.size()}) : nullptr;
  if (list && list->is_array())
    for (const auto& each : list->get_array())
      if (each.is_string())
        out += (out.empty() ? "" : ", ") + std::string{each.get_string().data(), each.get_string().size()};
  return out;
}

const json::array& list_at(const json::value& from, std::string_view key) {
  static const json::array none;
  const auto* object = from.if_object();
  const auto* list = object ? object->if_contains(json::string_view{key.data(), key.size()}) : nullptr;
  return list && list->is_array() ? list->get_array() : none;
}

void print_items(const json::value& from, bool explain) {
  for (const auto& each : list_at(from, "items")) {
    fmt::print("{:>3}  {:<12} {:<48} {:>10.4f}  {}\n", number_at(each, "position"), text_at(each, "item"),
               text_at(each, "title"), number_at(each, "score"), joined(each, "sources"));
    if (!explain)
      continue;
    if (auto because = joined(each, "because"); !because.empty())
      fmt::print("     because of {}\n", because);
    const auto* object = each.if_object();
    const auto* models = object ? object->if_contains("models") : nullptr;
    if (models && models->is_object())
      for (const auto& [name, score] : models->get_object())
        fmt::print("     {} {:.4f}\n", std::string_view{name.data(), name.size()},
                   score.is_number() ? score.to_number<double>() : 0);
    if (auto propensity = number_at(each, "propensity"); propensity < 1)
      fmt::print("     propensity {:.4f}\n", propensity);
    if (auto notes = joined(each, "notes"); !notes.empty())
      fmt::print("     {}\n", notes);
  }
}

/// `fewer than asked for: of 15 considered, 12 seen, 3 filter`; empty where there are as many.
std::string short_page(const json::value& from) {
  const auto* object = from.if_object();
  const auto* page = object ? object->if_contains("short_page") : nullptr;
  if (!page)
    return {};
  auto considered = number_at(*page, "considered");
  auto out = considered == 0 ? std::string{"fewer than asked for: there was nothing to consider"}
                             : fmt::format("fewer than asked for: of {} considered", considered);
  if (const auto* reasons = page->as_object().if_contains("left_out"); reasons && reasons->is_object())
    for (const auto& [reason, items] : reasons->get_object())
      out +=
          fmt::format(", {} {}", items.is_number() ? items.to_number<double>() : 0, std::string_view{reason});
  return out;
}

void print_answer(const json::value& from, bool explain) {
  if (auto at = text_at(from, "at"); !at.empty())
    fmt::print("{}  {}  for {}\n", at, text_at(from, "route"),
               text_at(from, "item").empty() ? text_at(from, "user") : text_at(from, "item"));
  print_items(from, explain);
  if (auto why = short_page(from); !why.empty())
    fmt::print("{}\n", why);
  for (const auto& each : list_at(from, "degraded"))
    fmt::print("degraded: {}\n", std::string_view{each.get_string().data(), each.get_string().size()});
  if (explain) {
    for (const auto& each : list_at(from, "stages"))
      fmt::print("stage {:<16} {:>9.3f} ms  {}\n", text_at(each, "name"), number_at(each, "us") / 1e3,
                 number_at(each, "count"));
    for (const auto& each : list_at(from, "features"))
      fmt::print("feature {:<32} {:<8} age {:>9.1f} s  {}\n", text_at(each, "name"), text_at(each, "status"),
                 number_at(each, "age_us") / 1e6, text_at(each, "value"));
  }
  auto arm = text_at(from, "arm"), release = text_at(from, "release"), rollout = text_at(from, "rollout");
  fmt::print("request {}, {}{}\n", text_at(from, "request_id"),
             arm.empty() ? "no arm" : fmt::format("arm {}, release {}", arm, release.substr(0, 12)),
             rollout.empty() ? "" : ", rollout " + rollout);
}

struct ask_options {
  gateway_options gateway;
  std::string id;
  unsigned n = 10;
  bool explain = false;
};

expected<void> show(context& context, const ask_options& given, const std::string& target, bool explain) {
  TROUPE_TRY(gateway, gateway_access::open(context, given.gateway));
  TROUPE_TRY(answer, gateway.call("GET", target));
  if (context.json)
    fmt::print("{}\n", json::serialize(answer));
  else
    print_answer(answer, explain);
  return {};
}

} // namespace

void add_ask_commands(command_line::command& app, context& context) {
  auto asked = std::make_shared<ask_options>();
  auto asking = [&](const char* name, const char* what, const char* subject, const char* meaning) {
    auto* sub = app.add_command(name, what);
    sub->add_option(subject, asked->id, meaning)->required();
    asked->gateway.bind(*sub);
    return sub;
  };
  auto* recommend = asking("recommend", "What a user should see", "user", "Id of the user");
  recommend->add_option("-n,--n", asked->n)->check(command_line::between(1, 1'000))->show_default();
  recommend->add_flag("--explain", asked->explain, "Sources, scores, stages, features with their ages");
  context.command(*recommend, [&context, asked] {
    return show(context, *asked,
                fmt::format("/v1/users/{}/recommendations?n={}{}", http::percent_encode(asked->id), asked->n,
                            asked->explain ? "&explain=true" : ""),
                asked->explain);
  });
  auto* similar = asking("similar", "Items like an item", "item", "Id of the item");
  similar->add_option("-n,--n", asked->n)->check(command_line::between(1, 1'000))->show_default();
  context.command(*similar, [&context, asked] {
    return show(context, *asked,
                fmt::format("/v1/items/{}/similar?n={}", http::percent_encode(asked->id), asked->n), false);
  });
  auto* explain =
      asking("explain", "What happened to a request", "request", "Its id, as the answer named it");
  context.command(*explain, [&context, asked] {
    return show(context, *asked, "/v1/requests/" + http::percent_encode(asked->id), true);
  });
}

} // namespace troupe::cli
