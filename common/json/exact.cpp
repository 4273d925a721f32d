#include "common/json/exact.hpp"

#include "common/core/json_string.hpp"
#include "common/core/text_start.hpp"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <unordered_set>

namespace troupe {

namespace {

namespace ondemand = simdjson::ondemand;
using kind = exact_value::kind;

constexpr int deepest = 64;
constexpr std::size_t few = 12;

/// A number as RFC 8259 has it.
bool is_number(std::string_view text) noexcept {
  auto digits = [&] {
    auto count = std::min(text.find_first_not_of("0123456789"), text.size());
    text.remove_prefix(count);
    return count;
  };
  if (text.starts_with('-'))
    text.remove_prefix(1);
  bool zero = text.starts_with('0');
  if (auto count = digits(); count == 0 || (zero && count > 1))
    return false;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (digits() == 0)
      return false;
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-'))
      text.remove_prefix(1);
    if (digits() == 0)
      return false;
  }
  return text.empty();
}

std::string_view without_spaces_behind(std::string_view text) noexcept {
  return text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
}

} // namespace

struct exact_document::state {
  using node = exact_value::node;

  ondemand::parser parser;
  std::string bytes; // With the room behind them that the parser wants.
  std::vector<node> nodes;
  std::unordered_set<std::string_view> names;
  std::string wrong; // What the parser does not know of.

  bool fail_with(std::string reason) {
    if (wrong.empty())
      wrong = std::move(reason);
    return false;
  }
  bool failed(simdjson::error_code code) {
    return code != simdjson::SUCCESS && !fail_with(simdjson::error_message(code));
  }

  node& put(std::string_view key, kind is, std::string_view text = {}) {
    return nodes.emplace_back(node{is, 1, key, text});
  }

  /// Takes a value and all below it; false where it is wrong. `from` is a value or the document itself.
  template <class Value>
  bool take(Value& from, std::string_view key, int depth) {
    ondemand::json_type type{};
    if (failed(from.type().get(type)))
      return false;
    if (type == ondemand::json_type::object)
      return take_object(from, key, depth);
    if (type == ondemand::json_type::array)
      return take_list(from, key, depth);
    if (type == ondemand::json_type::string) {
      std::string_view text;
      if (failed(from.get_string().get(text)))
        return false;
      put(key, kind::text, text);
      return true;
    }
    // What is not taken the iterator around it passes over.
    std::string_view token;
    if (failed(simdjson::simdjson_result<std::string_view>{from.raw_json_token()}.get(token)))
      return false;
    token = without_spaces_behind(token);
    if (token == "null")
      put(key, kind::null);
    else if (token == "true" || token == "false")
      put(key, kind::flag, token);
    else if (is_number(token))
      put(key, kind::number, token);
    else
      return fail_with(fmt::format("`{}` is no value", text_start(token, 32)));
    return true;
  }

  template <class Value>
  bool take_list(Value& from, std::string_view key, int depth) {
    if (depth == deepest)
      return fail_with(fmt::format("it is more than {} levels deep", deepest));
    auto at = nodes.size();
    put(key, kind::list);
    ondemand::array list;
    if (failed(from.get_array().get(list)))
      return false;
    for (auto each : list) {
      ondemand::value value;
      if (failed(simdjson::simdjson_result<ondemand::value>{each}.get(value)) || !take(value, {}, depth + 1))
        return false;
    }
    nodes[at].size = static_cast<std::uint32_t>(nodes.size() - at);
    return true;
  }

  template <class Value>
  bool take_object(Value& from, std::string_view key, int depth) {
    if (depth == deepest)
      return fail_with(fmt::format("it is more than {} levels deep", deepest));
    auto at = nodes.size();
    put(key, kind::object);
    ondemand::object object;
    if (failed(from.get_object().get(object)))
      return false;
    for (auto each : object) {
      ondemand::field field;
      std::string_view name;
      if (failed(std::move(each).get(field)) || failed(field.unescaped_key().get(name)))
        return false;
      auto value = field.value();
      if (!take(value, name, depth + 1))
        return false;
    }
    nodes[at].size = static_cast<std::uint32_t>(nodes.size() - at);
    return has_names_once(at);
  }

  /// Most names differ in length or at their beginning.
  static bool is_same(std::string_view a, std::string_view b) noexcept {
    return a.size() == b.size() && (a.empty() || (a.front() == b.front() && a == b));
  }

  bool has_names_once(std::size_t at) {
    names.clear();
    std::size_t end = at + nodes[at].size, before = 0;
    for (auto i = at + 1; i < end; i += nodes[i].size, ++before) {
      bool twice = false;
      if (before < few) // As most have it: looking at each is quicker than a set.
        for (auto j = at + 1; j < i && !twice; j += nodes[j].size)
          twice = is_same(nodes[j].key, nodes[i].key);
      else if (before == few)
        for (auto j = at + 1; j <= i; j += nodes[j].size)
          twice = !names.insert(nodes[j].key).second;
      else
        twice = !names.insert(nodes[i].key).second;
      if (twice)
        return fail_with(fmt::format("`{}` stands twice in one object", text_start(nodes[i].key, 64)));
    }
    return true;
  }
};

std::string_view without_mark(std::string_view text) noexcept {
  constexpr std::string_view mark = "\xef\xbb\xbf";
  return text.substr(text.starts_with(mark) ? mark.size() : 0);
}

exact_document::exact_document() : state_{std::make_unique<state>()} {}
exact_document::~exact_document() = default;
exact_document::exact_document(exact_document&&) noexcept = default;
exact_document& exact_document::operator=(exact_document&&) noexcept = default;

expected<exact_value> exact_document::read(std::string_view text) {
  auto& in = *state_;
  text = without_mark(text);
  in.nodes.clear();
  in.wrong.clear();
  // The parser says nothing of what stands behind a lone scalar: that is read as a list of one.
  auto first = text.find_first_not_of(" \t\r\n");
  bool nested = first != std::string_view::npos && (text[first] == '{' || text[first] == '[');
  in.bytes.assign(nested ? "" : "[");
  in.bytes += text;
  in.bytes += nested ? "" : "]";
  auto size = in.bytes.size();
  in.bytes.append(simdjson::SIMDJSON_PADDING, '\0');
  ondemand::document document;
  if (in.failed(in.parser.iterate(in.bytes.data(), size, in.bytes.size()).get(document)))
    return fail(ec::invalid_argument, "no JSON: {}", in.wrong);
  bool good = in.take(document, {}, 0);
  if (good && document.current_location().error() != simdjson::OUT_OF_BOUNDS)
    good = in.fail_with("something stands behind its end");
  if (good && !nested && (in.nodes[0].size != 2 || in.nodes.size() != 2))
    good = in.fail_with("it is not one value");
  if (good)
    return exact_value{in.nodes.data() + (nested ? 0 : 1)};
  const char* place = nullptr;
  if (document.current_location().get(place) == simdjson::SUCCESS)
    return fail(ec::invalid_argument, "no JSON at byte {}: {}", place - in.bytes.data(), in.wrong);
  return fail(ec::invalid_argument, "no JSON: {}", in.wrong);
}

exact_value exact_document::of_texts(std::span<const std::pair<std::string_view, std::string_view>> cells) {
  auto& nodes = state_->nodes;
  nodes.clear();
  state_->put({}, kind::object).size = static_cast<std::uint32_t>(cells.size() + 1);
  for (auto& [name, text] : cells)
    state_->put(name, text.empty() ? kind::null : kind::text, text);
  return exact_value{nodes.data()};
}

std::string_view exact_objects::keep(std::string_view text) {
  constexpr std::size_t piece = std::size_t{1} << 16;
  if (text.size() > left_) {
    left_ = std::max(piece, text.size());
    free_ = pieces_.emplace_back(new char[left_]).get();
  }
  if (!text.empty())
    std::memcpy(free_, text.data(), text.size());
  std::string_view kept{free_, text.size()};
  free_ += text.size();
  left_ -= text.size();
  return kept;
}

std::size_t exact_objects::open(exact_value::kind is, std::string_view key) {
  nodes_.push_back({is, 1, key, {}});
  return nodes_.size() - 1;
}

std::size_t exact_objects::most_bytes(std::size_t at) const noexcept {
  std::size_t bytes = 0;
  for (auto i = at; i < at + nodes_[at].size; ++i)
    bytes += 8 + 6 * (nodes_[i].key.size() + nodes_[i].text.size()); // A control character: `\u0001`.
  return bytes;
}

std::optional<double> exact_value::number() const noexcept {
  double value = 0;
  auto end = at_->text.data() + at_->text.size();
  if (at_->is != kind::number)
    return std::nullopt;
  auto [stop, wrong] = std::from_chars(at_->text.data(), end, value);
  if (stop != end || wrong != std::errc{} || !std::isfinite(value))
    return std::nullopt;
  return value;
}

bool exact_value::is_whole() const noexcept {
  return at_->is == kind::number && at_->text.find_first_of(".eE") == std::string_view::npos;
}

std::optional<exact_value> exact_value::find(std::string_view key) const noexcept {
  if (at_->is == kind::object)
    for (auto each : *this)
      if (each.key() == key)
        return each;
  return std::nullopt;
}

std::optional<exact_value> exact_value::find(std::size_t index) const noexcept {
  if (at_->is == kind::list)
    for (auto each : *this)
      if (index-- == 0)
        return each;
  return std::nullopt;
}

std::string_view kind_name(exact_value what) noexcept {
  switch (what.is()) {
  case kind::null:
    return "null";
  case kind::flag:
    return "a flag";
  case kind::number:
    return "a number";
  case kind::text:
    return "a text";
  case kind::list:
    return "an array";
  case kind::object:
    return "an object";
  }
  return "nothing";
}

void append_json(std::string& out, exact_value what) {
  switch (what.is()) {
  case kind::null:
    out += "null";
    return;
  case kind::flag:
  case kind::number:
    out += what.text();
    return;
  case kind::text:
    return append_json_string(out, what.text());
  case kind::list:
  case kind::object:
    break;
  }
  bool object = what.is(kind::object), first = true;
  out += object ? '{' : '[';
  for (auto each : what) {
    if (!std::exchange(first, false))
      out += ',';
    if (object) {
      append_json_string(out, each.key());
      out += ':';
    }
    append_json(out, each);
  }
  out += object ? '}' : ']';
}

} // namespace troupe
