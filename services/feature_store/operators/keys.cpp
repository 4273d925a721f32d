#include "services/feature_store/operators/keys.hpp"

namespace troupe::feature_store {

namespace {

using namespace std::chrono_literals;

std::chrono::microseconds default_hop(std::chrono::microseconds window) {
  return window < 12h        ? std::chrono::microseconds{5min}
         : window < 12 * 24h ? std::chrono::microseconds{1h}
                             : 24h;
}

} // namespace

expected<void> parse_window(const toml::table& table, std::string_view where, feature_definition& into) {
  TROUPE_TRY(window, span_key(table, "window", where));
  TROUPE_TRY(hop, span_key(table, "hop", where));
  into.window = window;
  if (!window)
    return hop ? fail(ec::invalid_argument, "{}: hop without window means nothing", where) : expected<void>{};
  into.hop = hop.value_or(default_hop(*window));
  if (into.hop > *window)
    return fail(ec::invalid_argument, "{}: hop {} is longer than the window {}", where,
                to_duration_text(into.hop), to_duration_text(*window));
  if (*window / into.hop > 10'000)
    return fail(ec::invalid_argument, "{}: window {} has more than 10,000 hops of {}", where,
                to_duration_text(*window), to_duration_text(into.hop));
  return {};
}

expected<void> parse_of(const toml::table& table, std::string_view where, feature_definition& into) {
  TROUPE_TRY(of, text_key(table, "of", where));
  if (!of)
    return fail(ec::invalid_argument,
                "{}: operator {} needs of = \"value\", \"item\", \"user\" or \"context.NAME\"", where,
                table["operator"].value_or(std::string_view{}));
  TROUPE_TRY(what, parse_field(*of, where));
  into.of = std::move(what);
  return {};
}

expected<void> parse_number(const toml::table& table, std::string_view where, feature_definition& into) {
  TROUPE_TRY(of, text_key(table, "of", where));
  TROUPE_TRY(what, parse_field(of.value_or("value"), where));
  if (what.of != field::part::value && what.of != field::part::context)
    return fail(ec::invalid_argument, "{}: operator {} needs numbers, {} is text", where,
                table["operator"].value_or(std::string_view{}), to_string(what));
  into.of = std::move(what);
  return parse_window(table, where, into);
}

expected<void> parse_type(const toml::table& table, std::string_view where, feature_definition& into) {
  TROUPE_TRY(type, text_key(table, "type", where));
  std::string chosen{type.value_or(into.of.of == field::part::value ? "number" : "text")};
  for (auto each : {value_type::number, value_type::text, value_type::list})
    if (chosen == to_string(each)) {
      into.type = each;
      return {};
    }
  return fail(ec::invalid_argument, "{}: type '{}' is not number, text or list", where, chosen);
}

} // namespace troupe::feature_store
