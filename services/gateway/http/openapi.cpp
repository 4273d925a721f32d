#include "services/gateway/http/routes.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <string_view>

namespace troupe::gateway {

namespace {

namespace json = boost::json;

// What a schema says is what the code does, in both directions: tests/clients asks everything that the
// document allows and much that it does not. Where JSON Schema has no words for a bound, `description` has.
constexpr std::string_view schemas = R"j({
"Text":{"type":"string"},
"Welcome":{"type":"object","required":["service","paths"],"properties":{"service":{"type":"string"},"replica":{"type":"string"},"what":{"type":"string"},
  "keys":{"type":"string"},"paths":{"$ref":"#/components/schemas/Texts"}}},
"Document":{"type":"object"},
"Health":{"type":"object","required":["ready"],"properties":{"ready":{"type":"boolean"},"state":{"type":"string"}}},
"Name":{"description":"A text without control characters of at most 1,024 bytes of UTF-8, or a whole number in digits alone: 7 is the same as \"7\"",
  "type":["string","integer","boolean","null"],"maxLength":1024,"pattern":"^[^\\u0000-\\u001f\\u007f]*$"},
"RecordId":{"description":"A Name of at most 256 bytes. Without one a row has one by Idempotency-Key, or by its content where it has an event time",
  "type":["string","integer","boolean","null"],"maxLength":256,"pattern":"^[^\\u0000-\\u001f\\u007f]*$"},
"Attribute":{"description":"A text, a number, a flag, or an array, whose values are kept as texts; an object is kept as the text of its JSON; null is left out"},
"Flag":{"anyOf":[{"type":["boolean","null"]},{"enum":[0,1]},
  {"type":"string","pattern":"^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Yy][Ee][Ss]|[Nn][Oo]|0|1)$"}]},
"Map":{"type":"object","additionalProperties":{"$ref":"#/components/schemas/Attribute"}},
"Attributes":{"description":"Of a user or an item all of them: what is left out they have no more. The same as JSON in a text is taken, too. A name has 1 to 1,024 bytes",
  "type":["object","null"],"propertyNames":{"minLength":1,"maxLength":1024},
  "properties":{"hidden":{"$ref":"#/components/schemas/Flag"},"deleted":{"$ref":"#/components/schemas/Flag"}},
  "additionalProperties":{"$ref":"#/components/schemas/Attribute"}},
"Time":{"description":"RFC 3339, or a number since 1970 whose size says what it counts: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds; a fraction is allowed. A row dated more than max_ahead (1 h, or what a schema says) ahead of the clock is quarantined. An event without a time is of the instant of its acceptance; so is a user or an item, whose record then is newer than all there is of it",
  "anyOf":[{"type":"string","format":"date-time"},{"type":"string","pattern":"^[0-9]{1,20}([.][0-9]{1,9})?$"},{"type":"string","maxLength":0},{"type":"null"},
  {"type":"number","minimum":-62135596800,"exclusiveMaximum":253402300800000000000},{"type":"number","minimum":-62135596800000,"maximum":-100000000000},
  {"type":"number","minimum":-62135596800000000,"maximum":-100000000000000},{"type":"number","minimum":-62135596800000000000,"maximum":-100000000000000000}]},
"Shown":{"description":"Of a slate, and of nothing else: 1 to 1,000 items of a page, in their order, each at a place of its own (from 1; 0 or none: not known), with the probability that it stands there. The same as JSON in a text is taken, too",
  "type":["array","null"],"maxItems":1000,"items":{"type":"object","additionalProperties":false,"required":["item"],"properties":{
  "item":{"description":"A Name that is not empty","type":["string","integer","boolean"],"minLength":1,"maxLength":1024,"pattern":"^[^\\u0000-\\u001f\\u007f]+$"},
  "position":{"type":["integer","null"],"minimum":0,"maximum":4294967295},"propensity":{"type":["number","null"],"exclusiveMinimum":0,"maximum":1}}}},
"Row":{"description":"Events have type, user and item; slates, pages that were shown, have user and shown, no item and no value (kind says that a row is one, among events); users have user; items have item. A slate with a request_id and no id is that of its request: sent again it adds nothing. The fields of rows of the lake (partition, offset, ingest_time, untimed) are taken, too",
  "type":"object","additionalProperties":false,"properties":{"id":{"$ref":"#/components/schemas/RecordId"},"kind":{"enum":["event","slate","user","item"]},
  "type":{"$ref":"#/components/schemas/Name"},"user":{"$ref":"#/components/schemas/Name"},"item":{"$ref":"#/components/schemas/Name"},
  "event_time":{"$ref":"#/components/schemas/Time"},"value":{"type":["number","string","null"],"description":"A number, or a text that is one"},
  "request_id":{"$ref":"#/components/schemas/Name","description":"Of the answer that a click follows: what a rollout judges click rates by"},
  "attributes":{"$ref":"#/components/schemas/Attributes"},"context":{"$ref":"#/components/schemas/Attributes"},"shown":{"$ref":"#/components/schemas/Shown"}}},
"AnyRow":{"description":"Each row is judged by itself: what is no Row has a verdict that says why, and the others are taken",
  "anyOf":[{"$ref":"#/components/schemas/Row"},{}]},
"Rows":{"description":"At most max_rows (10,000): an array, one object, or an object a line, whatever Content-Type says","anyOf":[{"type":"array","items":{"$ref":"#/components/schemas/AnyRow"}},{"$ref":"#/components/schemas/Row"},{"type":"object"}]},
"Entity":{"description":"The whole of it. kind, and user or item, may be there, too; they are those of the address. A field that is null or an empty text is not there",
  "type":"object","additionalProperties":{"enum":[null,""]},"properties":{"id":{"$ref":"#/components/schemas/RecordId"},
  "attributes":{"$ref":"#/components/schemas/Attributes"},"event_time":{"$ref":"#/components/schemas/Time"}}},
"Verdicts":{"type":"object","required":["token","added","duplicate","refused","rows"],"properties":{"token":{"type":"string"},"added":{"type":"integer"},
  "duplicate":{"type":"integer"},"refused":{"type":"integer"},"rows":{"type":"array","items":{"type":"object","required":["row","id","outcome"],
  "properties":{"row":{"type":"integer"},"id":{"type":"string"},"outcome":{"enum":["added","duplicate","quarantined","invalid"]},"rule":{"type":"string"},
  "reason":{"type":"string"}}}}}},
"EntityRead":{"type":"object","required":["id","attributes","age_us"],"properties":{"id":{"type":"string"},"attributes":{"$ref":"#/components/schemas/Map"},
  "age_us":{"type":"integer"}}},
"AttributeName":{"type":"string","minLength":1,"description":"Of an attribute of items that rankers read: one that they do not is refused"},
"Filter":{"anyOf":[
  {"type":"object","additionalProperties":false,"required":["attribute","op","value"],"properties":{"attribute":{"$ref":"#/components/schemas/AttributeName"},
   "op":{"enum":["equals"]},"not":{"type":"boolean"},"value":{"type":["string","number","boolean"]}}},
  {"type":"object","additionalProperties":false,"required":["attribute","op","value"],"properties":{"attribute":{"$ref":"#/components/schemas/AttributeName"},
   "op":{"enum":["contains"]},"not":{"type":"boolean"},"value":{"type":"string"}}},
  {"type":"object","additionalProperties":false,"required":["attribute","op","value"],"properties":{"attribute":{"$ref":"#/components/schemas/AttributeName"},
   "op":{"enum":["at_least","at_most"]},"not":{"type":"boolean"},"value":{"type":"number"}}},
  {"type":"object","additionalProperties":false,"required":["attribute","op","value"],"properties":{"attribute":{"$ref":"#/components/schemas/AttributeName"},
   "op":{"enum":["one_of"]},"not":{"type":"boolean"},"value":{"type":"array","items":{"type":"string"},"maxItems":10000}}}]},
"Names":{"type":["array","null"],"items":{"$ref":"#/components/schemas/Name"},"maxItems":10000},
"RecommendRequest":{"type":"object","additionalProperties":false,"properties":{"user":{"$ref":"#/components/schemas/Name"},
  "session":{"$ref":"#/components/schemas/Names"},"context":{"type":["object","null"],"additionalProperties":{"$ref":"#/components/schemas/Attribute"}},
  "filters":{"type":["array","null"],"maxItems":100,"items":{"$ref":"#/components/schemas/Filter"}},
  "exclude":{"$ref":"#/components/schemas/Names"},"candidates":{"$ref":"#/components/schemas/Names"},
  "n":{"type":["integer","null"],"minimum":1,"maximum":1000,"default":10},"explain":{"type":["boolean","null"],"default":false}}},
"Item":{"type":"object","required":["item","position"],"properties":{"item":{"type":"string"},"position":{"type":"integer"},"title":{"type":"string"},
  "score":{"type":["number","null"]},"propensity":{"type":["number","null"]},"sources":{"type":"array","items":{"type":"string"}},
  "because":{"type":"array","items":{"type":"string"}},"models":{"type":"object","additionalProperties":{"type":["number","null"]}},
  "notes":{"type":"array","items":{"type":"string"}}}},
"Stages":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"us":{"type":"integer"},"count":{"type":"integer"}}}},
"Features":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"status":{"enum":["missing","present","stale"]},
  "age_us":{"type":"integer"},"value":{"type":"string"}}}},
"Recommendations":{"type":"object","required":["request_id","arm","release","degraded","items"],"properties":{"request_id":{"type":"string"},
  "user":{"type":"string"},"arm":{"type":"string"},"release":{"type":"string"},"degraded":{"type":"array","items":{"type":"string"}},
  "degraded_codes":{"type":"array","description":"`degraded` for programs, one for each; absent where that is empty. code: what stands before its colon; share: how much of that is lacking (deadline: the share of the candidates that a model did not score)","items":{"type":"object","properties":{"code":{"type":"string"},"share":{"type":"number"}}}},
  "items":{"type":"array","items":{"$ref":"#/components/schemas/Item"}},"short_page":{"$ref":"#/components/schemas/ShortPage"},
  "stages":{"$ref":"#/components/schemas/Stages"},"features":{"$ref":"#/components/schemas/Features"}}},
"ShortPage":{"type":"object","description":"Why there are fewer items than were asked for; absent where there are as many, or no list was looked at. considered: items that sources had to give; left_out: how many of them were left out, by reason","properties":{"considered":{"type":"integer"},"left_out":{"type":"object","properties":{"excluded":{"type":"integer"},"seen":{"type":"integer"},"deleted":{"type":"integer"},"hidden":{"type":"integer"},"expired":{"type":"integer"},"filter":{"type":"integer"},"rule":{"type":"integer"},"cap":{"type":"integer"}}}}},
"Inspection":{"type":"object","required":["request_id","at","route"],"properties":{"request_id":{"type":"string"},"at":{"type":"string","format":"date-time"},
  "route":{"type":"string"},"trace_id":{"type":"string"},"user":{"type":"string"},"item":{"type":"string"},"arm":{"type":"string"},
  "release":{"type":"string"},"routing_version":{"type":"integer"},"rollout":{"type":"string"},"gateway_us":{"type":"integer"},
  "degraded":{"type":"array","items":{"type":"string"}},"stages":{"$ref":"#/components/schemas/Stages"},"features":{"$ref":"#/components/schemas/Features"},
  "items":{"type":"array","items":{"$ref":"#/components/schemas/Item"}},"short_page":{"$ref":"#/components/schemas/ShortPage"}}},
"Key":{"type":"string","pattern":"^[^\\u0000-\\u001f\\u007f]*$"},
"Instant":{"type":["string","null"],"format":"date-time"},
"Number":{"type":["number","null"]},
"Texts":{"type":"object","additionalProperties":{"type":"string"}},
"Gate":{"type":"array","items":{"type":"object","properties":{"metric":{"type":"string"},"value":{"$ref":"#/components/schemas/Number"},
  "bound":{"$ref":"#/components/schemas/Number"},"against":{"type":"string"},"passed":{"type":"boolean"},"reason":{"type":"string"}}}},
"Run":{"type":"object","required":["run_id","state"],"properties":{"run_id":{"type":"string"},"experiment":{"type":"string"},"name":{"type":"string"},
  "state":{"enum":["running","done","failed","canceled"]},"error":{"type":"string"},"created":{"$ref":"#/components/schemas/Instant"},
  "ended":{"$ref":"#/components/schemas/Instant"},"parameters":{"$ref":"#/components/schemas/Texts"},"tags":{"$ref":"#/components/schemas/Texts"},
  "artefacts":{"$ref":"#/components/schemas/Texts"},"metrics":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},
  "points":{"type":"integer"},"last":{"$ref":"#/components/schemas/Number"},"least":{"$ref":"#/components/schemas/Number"},
  "most":{"$ref":"#/components/schemas/Number"}}}}}},
"Model":{"type":"object","required":["name","version","manifest_sha256"],"properties":{"name":{"type":"string"},"version":{"type":"integer"},
  "manifest_sha256":{"type":"string"},"manifest":{},"created":{"$ref":"#/components/schemas/Instant"},"aliases":{"type":"array","items":{"type":"string"}},
  "tags":{"$ref":"#/components/schemas/Texts"},"gate":{"$ref":"#/components/schemas/Gate"}}},
"Release":{"type":"object","required":["id","name"],"properties":{"id":{"type":"string"},"name":{"type":"string"},"manifest":{},
  "created":{"$ref":"#/components/schemas/Instant"},"gate":{"$ref":"#/components/schemas/Gate"}}},
"Rollout":{"type":"object","required":["rollout_id","state"],"properties":{"rollout_id":{"type":"string"},"strategy":{"type":"string"},
  "release":{"type":"string"},"from_release":{"type":"string"},
  "state":{"enum":["pending","preparing","running","paused","promoting","done","aborting","rolled_back","failed"]},"step":{"type":"integer"},
  "steps":{"type":"integer"},"weight":{"$ref":"#/components/schemas/Number"},"reason":{"type":"string"},"started":{"$ref":"#/components/schemas/Instant"},
  "ended":{"$ref":"#/components/schemas/Instant"},"decisions":{"type":"array","items":{"type":"object","properties":{
  "at":{"$ref":"#/components/schemas/Instant"},"step":{"type":"integer"},"metric":{"type":"string"},"arm":{"type":"string"},"against":{"type":"string"},
  "window_us":{"type":"integer"},"value":{"$ref":"#/components/schemas/Number"},"bound":{"$ref":"#/components/schemas/Number"},"n":{"type":"integer"},
  "verdict":{"enum":["not_enough_data","pass","fail"]},"action":{"type":"string"},"reason":{"type":"string"}}}}}},
"Runs":{"type":"object","required":["runs","last"],"properties":{"runs":{"type":"array","items":{"$ref":"#/components/schemas/Run"}},"last":{"type":"boolean","description":"There are no more"}}},
"Models":{"type":"object","required":["models","last"],"properties":{"models":{"type":"array","items":{"$ref":"#/components/schemas/Model"}},"last":{"type":"boolean","description":"There are no more"}}},
"Releases":{"type":"object","required":["releases","last"],"properties":{"releases":{"type":"array","items":{"$ref":"#/components/schemas/Release"}},"last":{"type":"boolean","description":"There are no more"}}},
"Rollouts":{"type":"object","required":["rollouts","last"],"properties":{"rollouts":{"type":"array","items":{"$ref":"#/components/schemas/Rollout"}},"last":{"type":"boolean","description":"There are no more"}}},
"Reason":{"type":"object","additionalProperties":false,"properties":{"reason":{"type":"string"}}},
"Problem":{"description":"RFC 9457","type":"object","required":["type","title","status","code","detail"],"properties":{"type":{"type":"string"},"title":{"type":"string"},
  "status":{"type":"integer"},"detail":{"type":"string"},"code":{"type":"string","description":"The name of the error; it stays the same"}}}
})j";

/// Every parameter that a route may name, by that name.
constexpr std::string_view parameters = R"j({
"Idempotency-Key":{"in":"header","description":"Names rows that have no id: sent again with the same key they add nothing","schema":{"type":"string"}},
"X-Deadline-Ms":{"in":"header","description":"The answer is wanted within so many milliseconds; a fallback where need be","schema":{"type":"integer","minimum":1,"maximum":60000}},
"X-Consistency-Token":{"in":"header","description":"That of the answer to a write, which this answer must have seen; where it cannot, `degraded` says features or items_behind",
  "schema":{"type":"string","pattern":"^([0-9]{1,9}:[0-9]{1,19}(,[0-9]{1,9}:[0-9]{1,19})*(;[!+]?([A-Za-z0-9._~-]|%[0-9A-F]{2})+)*(;[*])?)?$"}},
"{id}":{"in":"path","required":true,"description":"Percent-encoded UTF-8 of at most 1,024 bytes, without control characters",
  "schema":{"type":"string","minLength":1,"maxLength":1024,"pattern":"^[^\\u0000-\\u001f\\u007f]+$"}},
"n":{"in":"query","schema":{"type":"integer","minimum":1,"maximum":1000,"default":10}},
"limit":{"in":"query","schema":{"type":"integer","minimum":1,"maximum":1000,"default":100}},
"explain":{"in":"query","description":"With the scores of each model, stages and features; 1 and 0 are taken, too, and the name alone","allowEmptyValue":true,
  "schema":{"type":"boolean","default":false}},
"exclude[]":{"in":"query","description":"An item that is not wanted; may be repeated","schema":{"type":"array","items":{"type":"string","pattern":"^[^\\u0000-\\u001f\\u007f]*$"}}},
"filter[]":{"in":"query","description":"attribute:op:value, with not: before it for the contrary; op is equals, contains, at_least, at_most or one_of (values parted by commas). May be repeated, 100 times at most. An attribute that rankers do not read is refused",
  "schema":{"type":"array","maxItems":100,"items":{"type":"string","pattern":"^(not:)?[^:]+:((equals|contains|one_of):.*|(at_least|at_most):-?[0-9]{1,15}([.][0-9]{1,15})?)$"}}},
"experiment":{"in":"query","description":"Only its runs","schema":{"$ref":"#/components/schemas/Key"}},
"name":{"in":"query","description":"Only its versions","schema":{"$ref":"#/components/schemas/Key"}},
"version":{"in":"query","description":"A number, an alias or a hash","schema":{"$ref":"#/components/schemas/Key"}},
"before":{"in":"query","description":"The id of the last one of the page before","schema":{"$ref":"#/components/schemas/Key"}},
"after":{"in":"query","description":"The last one of the page before: name:version","schema":{"type":"string","pattern":"^([^\\u0000-\\u001f\\u007f]+:[0-9]{1,19})?$"}}
})j";

/// What an answer that is no success means, and the header that it has.
struct refusal {
  const char* status;
  const char* meaning;
  const char* header = nullptr;
  const char* header_type = nullptr;
};

constexpr refusal refusals[] = {
    {"400", "The request is wrong: its address, a parameter, a header or its body. `detail` says what is"},
    {"401", "No API key, or one that is not known", "WWW-Authenticate", "string"},
    {"403", "The API key lacks the scope; without any keys: not asked from this machine"},
    {"404", "There is none of this id"},
    {"409", "Its state does not allow it"},
    {"413", "The body is larger than max_body, or has more than max_rows rows"},
    {"414", "The address is longer than max_header (16 KiB)"},
    {"415", "The body has a Content-Encoding", "Accept-Encoding", "string"},
    {"422", "A rule refuses the record: it is in the quarantine"},
    {"429", "More requests a second than this caller may have", "Retry-After", "integer"},
    {"431", "Address and headers are longer than max_header (16 KiB)"},
    {"503", "A service behind the gateway is away, or there are too many requests at work", "Retry-After",
     "integer"},
    {"504", "A service behind the gateway did not answer in time"},
};

json::value parsed(std::string_view text) {
  return json::parse(json::string_view{text.data(), text.size()});
}

json::object schema_of(std::string_view name) {
  return {{"$ref", "#/components/schemas/" + std::string{name}}};
}

json::object content(std::string_view schema) {
  json::object out{{schema == "Text" ? "text/plain" : "application/json", {{"schema", schema_of(schema)}}}};
  if (schema == "Rows")
    out["application/x-ndjson"] = {{"schema", schema_of("Rows")}};
  if (schema == "Welcome")
    out["text/html"] = {{"schema", schema_of("Text")}};
  return out;
}

json::object problem_content() {
  return {{"application/problem+json", {{"schema", schema_of("Problem")}}}};
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

json::array parameters_of(const route& from, const json::object& known) {
  json::array out;
  auto add = [&](std::string_view key, std::string_view name) {
    auto made = known.at(json::string_view{key.data(), key.size()}).as_object();
    made["name"] = name;
    out.push_back(std::move(made));
  };
  for (auto name : words_in(from.headers))
    add(name, name);
  std::string_view pattern = from.pattern;
  for (auto open = pattern.find('{'); open != std::string_view::npos; open = pattern.find('{', open + 1))
    add("{id}", pattern.substr(open + 1, pattern.find('}', open) - open - 1));
  for (auto name : words_in(from.parameters))
    add(name, name.substr(0, name.find('[')));
  return out;
}

/// Whether a route may answer so. What every route may answer, and what nobody should count on, is `default`.
bool may_answer(const route& from, std::string_view status, bool keys) {
  std::string_view method = from.method;
  bool named = std::string_view{from.pattern}.find('{') != std::string_view::npos;
  if (status == "400")
    return true;
  if (from.scope == 0)
    return !keys && status == "403";
  if (status == "401")
    return keys;
  if (status == "404")
    return named && (method == "GET" || method == "POST");
  if (status == "409")
    return named && method == "POST";
  if (status == "413" || status == "415")
    return from.body != nullptr;
  if (status == "422")
    return method == "PUT" || method == "DELETE";
  return true;
}

json::object responses_of(const route& from, bool keys) {
  json::object out{{"200", {{"description", from.summary}, {"content", content(from.result)}}}};
  for (const auto& each : refusals) {
    if (!may_answer(from, each.status, keys))
      continue;
    json::object made{{"description", each.meaning}, {"content", problem_content()}};
    if (each.header)
      made["headers"] = {{each.header, {{"schema", {{"type", each.header_type}}}}}};
    out[each.status] = std::move(made);
  }
  if (std::string_view{from.result} == "Health")
    out["503"] = {{"description", "It is not ready"}, {"content", content(from.result)}};
  out["default"] = {{"description", "Anything else that goes wrong"}, {"content", problem_content()}};
  return out;
}

} // namespace

std::string openapi(bool keys) {
  auto known = parsed(parameters).as_object();
  json::object paths;
  for (const auto& each : routes()) {
    json::object out{{"summary", each.summary},
                     {"operationId", operation_id(each)},
                     {"parameters", parameters_of(each, known)},
                     {"responses", responses_of(each, keys)}};
    if (each.body)
      out["requestBody"] = {{"required", std::string_view{each.body} != "Reason"},
                            {"content", content(each.body)}};
    if (each.scope != 0)
      out["x-scope"] = security::scopes_text(each.scope);
    else if (keys)
      out["security"] = json::array{};
    std::string method = each.method;
    for (auto& c : method)
      c = static_cast<char>(c | 0x20);
    auto& path = paths[each.pattern];
    if (!path.is_object())
      path = json::object{};
    path.get_object()[method] = std::move(out);
  }
  json::object all{{"openapi", "3.1.0"},
                   {"info",
                    {{"title", "Troupe gateway"},
                     {"version", "1"},
                     {"description", "Bodies are JSON. A query parameter, or a field of a body, that is not "
                                     "named here or that comes twice is "
                                     "refused. An address that has other methods answers 405 and names them "
                                     "in Allow, as OPTIONS does."}}},
                   {"paths", std::move(paths)},
                   {"components", {{"schemas", parsed(schemas)}}}};
  if (keys) {
    all["security"] =
        json::array{json::object{{"bearer", json::array{}}}, json::object{{"header", json::array{}}}};
    all["components"].as_object()["securitySchemes"] = {
        {"bearer", {{"type", "http"}, {"scheme", "bearer"}}},
        {"header", {{"type", "apiKey"}, {"in", "header"}, {"name", "X-Api-Key"}}}};
  }
  return json::serialize(all);
}

} // namespace troupe::gateway
