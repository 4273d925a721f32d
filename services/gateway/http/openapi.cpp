#include "services/gateway/http/routes.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <string_view>

namespace troupe::gateway {

namespace {

namespace json = boost::json;

constexpr std::string_view schemas = R"j({
"Text":{"type":"string"},
"Document":{"type":"object"},
"Health":{"type":"object","properties":{"ready":{"type":"boolean"},"state":{"type":"string"}}},
"Value":{"oneOf":[{"type":"string"},{"type":"number"},{"type":"boolean"},{"type":"array","items":{"type":"string"}}]},
"Attribute":{"description":"A text, a number, a flag, or an array, whose values are kept as texts; an object is kept as the text of its JSON; null is left out"},
"Map":{"type":"object","additionalProperties":{"$ref":"#/components/schemas/Attribute"}},
"Record":{"description":"Attributes. Of a user or an item all of them: what is left out they have no more. hidden (items) and deleted are flags: true or false, 1 or 0, yes or no","anyOf":[{"$ref":"#/components/schemas/Map"},{"type":"string","description":"The same as JSON in a text"}]},
"Identity":{"description":"A text without control characters, or a whole number in digits alone: 7 is the same as \"7\"","type":["string","integer","boolean"],"maxLength":1024},
"Row":{"type":"object","additionalProperties":false,"properties":{"id":{"$ref":"#/components/schemas/Identity"},"kind":{"enum":["event","user","item"]},"type":{"$ref":"#/components/schemas/Identity"},"user":{"$ref":"#/components/schemas/Identity"},"item":{"$ref":"#/components/schemas/Identity"},"event_time":{"$ref":"#/components/schemas/Time"},"value":{"type":["number","string"],"description":"A number, or a text that is one"},"request_id":{"type":["string","integer","boolean"],"description":"Of the answer that a click follows: what a rollout judges click rates by"},"attributes":{"$ref":"#/components/schemas/Record"},"context":{"$ref":"#/components/schemas/Record"}}},
"Time":{"description":"RFC 3339, or a number since 1970 whose size says what it counts: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds; a fraction is allowed. A row dated more than max_ahead (1 h, or what a schema says) ahead of the clock is quarantined. An event without a time is of the instant of its acceptance; so is a user or an item, whose record then is newer than all there is of it","anyOf":[{"type":"string","format":"date-time"},{"type":"string","pattern":"^[0-9]{1,20}([.][0-9]+)?$"},{"type":"number","minimum":-62135596800,"maximum":1e20}]},
"Rows":{"oneOf":[{"type":"array","items":{"$ref":"#/components/schemas/Row"}},{"$ref":"#/components/schemas/Row"}]},
"Entity":{"type":"object","properties":{"attributes":{"$ref":"#/components/schemas/Record"},"event_time":{"$ref":"#/components/schemas/Time"}}},
"Verdicts":{"type":"object","properties":{"token":{"type":"string"},"added":{"type":"integer"},"duplicate":{"type":"integer"},"refused":{"type":"integer"},"rows":{"type":"array","items":{"type":"object","properties":{"row":{"type":"integer"},"id":{"type":"string"},"outcome":{"enum":["added","duplicate","quarantined","invalid"]},"rule":{"type":"string"},"reason":{"type":"string"}}}}}},
"Attributes":{"type":"object","properties":{"id":{"type":"string"},"attributes":{"$ref":"#/components/schemas/Map"},"age_us":{"type":"integer"}}},
"Filter":{"type":"object","additionalProperties":false,"required":["attribute","op","value"],"properties":{"attribute":{"type":"string"},"op":{"enum":["equals","contains","at_least","at_most","one_of"]},"not":{"type":"boolean"},"value":{"$ref":"#/components/schemas/Value"}}},
"RecommendRequest":{"type":"object","additionalProperties":false,"properties":{"user":{"$ref":"#/components/schemas/Identity"},"session":{"type":"array","items":{"$ref":"#/components/schemas/Identity"}},"context":{"$ref":"#/components/schemas/Map"},"filters":{"type":"array","maxItems":100,"items":{"$ref":"#/components/schemas/Filter"}},"exclude":{"type":"array","items":{"$ref":"#/components/schemas/Identity"}},"candidates":{"type":"array","items":{"$ref":"#/components/schemas/Identity"}},"n":{"type":"integer","minimum":1,"maximum":1000,"default":10},"explain":{"type":"boolean","default":false}}},
"Recommendations":{"type":"object","properties":{"request_id":{"type":"string"},"user":{"type":"string"},"arm":{"type":"string"},"release":{"type":"string"},"degraded":{"type":"array","items":{"type":"string"}},"items":{"type":"array","items":{"type":"object","properties":{"item":{"type":"string"},"position":{"type":"integer"},"title":{"type":"string"},"score":{"type":"number"},"propensity":{"type":"number"},"sources":{"type":"array","items":{"type":"string"}},"because":{"type":"array","items":{"type":"string"}}}}},"short_page":{"$ref":"#/components/schemas/ShortPage"}}},
"ShortPage":{"type":"object","description":"Why there are fewer items than were asked for; absent where there are as many. considered: items that sources had to give; left_out: how many of them were left out, by reason","properties":{"considered":{"type":"integer"},"left_out":{"type":"object","properties":{"excluded":{"type":"integer"},"seen":{"type":"integer"},"deleted":{"type":"integer"},"hidden":{"type":"integer"},"expired":{"type":"integer"},"filter":{"type":"integer"},"rule":{"type":"integer"},"cap":{"type":"integer"}}}}},
"Inspection":{"type":"object","properties":{"request_id":{"type":"string"},"at":{"type":"string","format":"date-time"},"route":{"type":"string"},"trace_id":{"type":"string"},"user":{"type":"string"},"item":{"type":"string"},"arm":{"type":"string"},"release":{"type":"string"},"routing_version":{"type":"integer"},"rollout":{"type":"string"},"gateway_us":{"type":"integer"},"degraded":{"type":"array","items":{"type":"string"}},"stages":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"us":{"type":"integer"},"count":{"type":"integer"}}}},"features":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"status":{"enum":["missing","present","stale"]},"age_us":{"type":"integer"},"value":{"type":"string"}}}},"items":{"type":"array","items":{"type":"object"}},"short_page":{"$ref":"#/components/schemas/ShortPage"}}},
"Reason":{"type":"object","additionalProperties":false,"properties":{"reason":{"type":"string"}}},
"Problem":{"type":"object","required":["type","title","status"],"properties":{"type":{"type":"string"},"title":{"type":"string"},"status":{"type":"integer"},"detail":{"type":"string"},"code":{"type":"string"}}}
})j";

json::object content(std::string_view schema) {
  bool text = schema == "Text";
  json::object out{{text ? "text/plain" : "application/json",
                    {{"schema", {{"$ref", "#/components/schemas/" + std::string{schema}}}}}}};
  if (schema == "Rows")
    out["application/x-ndjson"] = {{"schema", {{"$ref", "#/components/schemas/Row"}}}};
  return out;
}

/// `get_v1_users_id_recommendations`.
std::string operation_id(const route& from) {
  std::string out;
  for (const char* at = from.method; *at != 0; ++at)
    out += static_cast<char>(*at | 0x20);
  for (char c : std::string_view{from.pattern})
    if (c == '/' || c == '.')
      out += '_';
    else if (c != '{' && c != '}')
      out += c;
  return out;
}

struct known_header {
  std::string_view name, type, meaning;
};

constexpr known_header known_headers[] = {
    {"Idempotency-Key", "string",
     "Names rows that have no id: sent again with the same key they add nothing"},
    {"X-Deadline-Ms", "integer",
     "The answer is wanted within so many milliseconds; a fallback where need be"},
    {"X-Consistency-Token", "string",
     "That of the answer to a write, which this answer must have seen; where it cannot, `degraded` says "
     "features or items_behind"},
};

/// The first of the words, and leaves the others.
std::string_view take_word(std::string_view& words) {
  auto word = words.substr(0, words.find(' '));
  words.remove_prefix(std::min(words.size(), word.size() + 1));
  return word;
}

json::array parameters_of(const route& from) {
  json::array out;
  for (std::string_view names = from.headers; !names.empty();) {
    auto name = take_word(names);
    for (const auto& each : known_headers)
      if (each.name == name)
        out.push_back({{"name", each.name},
                       {"in", "header"},
                       {"description", each.meaning},
                       {"schema", {{"type", each.type}}}});
  }
  std::string_view pattern = from.pattern;
  for (auto open = pattern.find('{'); open != std::string_view::npos; open = pattern.find('{', open + 1)) {
    std::string name{pattern.substr(open + 1, pattern.find('}', open) - open - 1)};
    out.push_back({{"name", name}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}});
  }
  std::string_view names = from.parameters;
  while (!names.empty()) {
    auto name = take_word(names);
    bool list = name.ends_with("[]");
    json::object schema{{"type", name == "n" || name == "limit" ? "integer"
                                 : name == "explain"            ? "boolean"
                                                                : "string"}};
    if (list)
      schema = {{"type", "array"}, {"items", {{"type", "string"}}}};
    json::object made{{"name", std::string{list ? name.substr(0, name.size() - 2) : name}},
                      {"in", "query"},
                      {"schema", schema}};
    if (name == "filter[]")
      made["description"] =
          "attribute:op:value, with not: before it for the contrary; op is equals, contains, "
          "at_least, at_most or one_of (values parted by commas)";
    out.push_back(std::move(made));
  }
  return out;
}

} // namespace

std::string openapi() {
  json::object paths;
  for (const auto& each : routes()) {
    json::object out{
        {"summary", each.summary},
        {"operationId", operation_id(each)},
        {"parameters", parameters_of(each)},
        {"responses",
         {{"200", {{"description", each.summary}, {"content", content(each.result)}}},
          {"default",
           {{"description", "A problem document (RFC 9457)"},
            {"content",
             {{"application/problem+json", {{"schema", {{"$ref", "#/components/schemas/Problem"}}}}}}}}}}}};
    if (each.body)
      out["requestBody"] = {{"required", std::string_view{each.body} != "Reason"},
                            {"content", content(each.body)}};
    if (each.scope == 0)
      out["security"] = json::array{};
    else
      out["x-scope"] = security::scopes_text(each.scope);
    std::string method = each.method;
    for (auto& c : method)
      c = static_cast<char>(c | 0x20);
    auto& path = paths[each.pattern];
    if (!path.is_object())
      path = json::object{};
    path.get_object()[method] = std::move(out);
  }
  json::object components{{"schemas", json::parse(json::string_view{schemas.data(), schemas.size()})},
                          {"securitySchemes", {{"key", {{"type", "http"}, {"scheme", "bearer"}}}}}};
  json::object all{{"openapi", "3.1.0"},
                   {"info", {{"title", "Troupe gateway"}, {"version", "1"}}},
                   {"security", json::array{json::object{{"key", json::array{}}}}},
                   {"paths", std::move(paths)},
                   {"components", std::move(components)}};
  return json::serialize(all);
}

} // namespace troupe::gateway
