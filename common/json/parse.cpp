#include "common/json/parse.hpp"

#include "common/json/exact.hpp"

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>

#include <charconv>

namespace troupe {

namespace json = boost::json;

namespace {

/// Builds the value as Boost.JSON's own parser does, but for doubles.
struct builder {
  static constexpr std::size_t max_object_size = json::object::max_size();
  static constexpr std::size_t max_array_size = json::array::max_size();
  static constexpr std::size_t max_key_size = json::string::max_size();
  static constexpr std::size_t max_string_size = json::string::max_size();

  json::value_stack made;
  std::size_t members = 0; ///< Of all objects, as they are written.

  using text = json::string_view;
  using problem = json::error_code;
  bool on_document_begin(problem&) { return true; }
  bool on_document_end(problem&) { return true; }
  bool on_object_begin(problem&) { return true; }
  bool on_object_end(std::size_t count, problem&) {
    members += count;
    return made.push_object(count), true;
  }
  bool on_array_begin(problem&) { return true; }
  bool on_array_end(std::size_t values, problem&) { return made.push_array(values), true; }
  bool on_key_part(text part, std::size_t, problem&) { return made.push_chars(part), true; }
  bool on_key(text part, std::size_t, problem&) { return made.push_key(part), true; }
  bool on_string_part(text part, std::size_t, problem&) { return made.push_chars(part), true; }
  bool on_string(text part, std::size_t, problem&) { return made.push_string(part), true; }
  bool on_number_part(text, problem&) { return true; }
  bool on_int64(std::int64_t number, text, problem&) { return made.push_int64(number), true; }
  bool on_uint64(std::uint64_t number, text, problem&) { return made.push_uint64(number), true; }
  bool on_double(double near, text digits, problem&) {
    // The document is parsed in one piece, so these are all digits. Beyond a double's range nothing is exact.
    double exact = near;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), exact).ec != std::errc{})
      exact = near;
    return made.push_double(exact), true;
  }
  bool on_bool(bool flag, problem&) { return made.push_bool(flag), true; }
  bool on_null(problem&) { return made.push_null(), true; }
  bool on_comment_part(text, problem&) { return true; }
  bool on_comment(text, problem&) { return true; }
};

/// Members of all objects, where each key counts once.
std::size_t members_of(const json::value& in) {
  std::size_t out = 0;
  if (const auto* object = in.if_object()) {
    out = object->size();
    for (const auto& [key, value] : *object)
      out += members_of(value);
  } else if (const auto* array = in.if_array()) {
    for (const auto& each : *array)
      out += members_of(each);
  }
  return out;
}

} // namespace

expected<json::value> parse_json(std::string_view text, std::size_t deepest) {
  json::parse_options options;
  options.max_depth = deepest;
  json::basic_parser<builder> parser{options};
  parser.handler().made.reset();
  json::error_code failed;
  auto read = parser.write_some(false, text.data(), text.size(), failed);
  if (!failed && text.find_first_not_of(" \t\r\n", read) != std::string_view::npos)
    failed = json::error::extra_data;
  if (failed)
    return fail(ec::invalid_argument, "no JSON at byte {}: {}", read, failed.message());
  auto made = parser.handler().made.release();
  if (members_of(made) == parser.handler().members)
    return made;
  auto named = exact_document{}.read(text); // It says which.
  return named ? fail(ec::invalid_argument, "no JSON: an object has a key twice")
               : unexpected<error>{std::move(named).error()};
}

} // namespace troupe
