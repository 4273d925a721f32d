#include "common/artefact/canonical_json.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

namespace troupe::artefact {

namespace {

namespace json = boost::json;

void write(std::string& out, const json::value& of) {
  switch (of.kind()) {
  case json::kind::object: {
    std::vector<const json::key_value_pair*> pairs;
    for (auto& each : of.get_object())
      pairs.push_back(&each);
    std::sort(pairs.begin(), pairs.end(), [](auto* a, auto* b) {
      return std::string_view{a->key().data(), a->key().size()} <
             std::string_view{b->key().data(), b->key().size()};
    });
    out += '{';
    for (auto* each : pairs) {
      if (out.back() != '{')
        out += ',';
      out += json::serialize(each->key());
      out += ':';
      write(out, each->value());
    }
    out += '}';
    return;
  }
  case json::kind::array:
    out += '[';
    for (auto& each : of.get_array()) {
      if (out.back() != '[')
        out += ',';
      write(out, each);
    }
    out += ']';
    return;
  case json::kind::double_: {
    auto number = of.get_double();
    if (number == 0)
      number = 0; // No minus sign.
    // A whole number is written as one, so that 3.0 and 3 are the same value in the same form.
    if (std::trunc(number) == number && std::abs(number) < 9007199254740992.0)
      fmt::format_to(std::back_inserter(out), "{}", static_cast<std::int64_t>(number));
    else
      fmt::format_to(std::back_inserter(out), "{}", number);
    return;
  }
  default:
    out += json::serialize(of);
  }
}

} // namespace

std::string canonical(const json::value& of) {
  std::string out;
  write(out, of);
  return out;
}

expected<json::value> parse_json(std::string_view text, std::string_view what) {
  boost::system::error_code err;
  auto value = json::parse({text.data(), text.size()}, err);
  if (err)
    return fail(ec::invalid_argument, "{} is not JSON: {}", what, err.message());
  return value;
}

} // namespace troupe::artefact
