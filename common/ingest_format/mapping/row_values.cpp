#include "common/ingest_format/mapping/row_values.hpp"

#include "common/core/hash.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace troupe::ingest_format::rules {

std::string_view trimmed(std::string_view text) noexcept {
  auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos)
    return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

void append_element(dom::element from, std::string& to) {
  switch (from.type()) {
  case dom::element_type::STRING: {
    std::string_view text;
    if (from.get(text) == simdjson::SUCCESS)
      to += text;
    break;
  }
  case dom::element_type::DOUBLE: {
    double number = 0;
    if (from.get(number) == simdjson::SUCCESS)
      fmt::format_to(std::back_inserter(to), "{}", number);
    break;
  }
  default:
    to += simdjson::minify(from);
  }
}

std::string described(const bound_source& from) {
  if (from.parts.size() == 1 && from.parts[0].of == part::from::column)
    return fmt::format("column {}", from.parts[0].column.name);
  return "its template";
}

std::string shown(std::string_view text) {
  return fmt::format("`{}{}`", text.substr(0, 60), text.size() > 60 ? "..." : "");
}

bool row_values::is_null(std::string_view text) const noexcept {
  if (only_empty_is_null)
    return text.empty();
  return std::find(null_tokens.begin(), null_tokens.end(), text) != null_tokens.end();
}

void row_values::refuse(std::string_view rule, std::string_view field, std::string reason) {
  if (!wrong)
    wrong = refusal{std::string{rule}, std::string{field}, std::move(reason)};
}

cell row_values::look(const bound_column& column, bool trims) const {
  if (format == file_format::csv) {
    if (column.index >= row->fields.size())
      return {};
    auto text = row->fields[column.index];
    if (trims)
      text = trimmed(text);
    return is_null(text) ? cell{} : cell{cell::state::text, text, {}};
  }
  dom::element at;
  auto found = object.at_key(column.path.front()).get(at);
  for (std::size_t i = 1; i < column.path.size() && found == simdjson::SUCCESS; ++i) {
    dom::array list;
    std::size_t index = 0;
    auto& step = column.path[i];
    if (at.get(list) == simdjson::SUCCESS) {
      auto [stop, bad] = std::from_chars(step.data(), step.data() + step.size(), index);
      bool number = bad == std::errc{} && stop == step.data() + step.size();
      found = number ? list.at(index).get(at) : simdjson::NO_SUCH_FIELD;
    } else {
      found = at.at_key(step).get(at);
    }
  }
  if (found != simdjson::SUCCESS && column.path.size() > 1)
    found = object.at_key(column.name).get(at);
  if (found != simdjson::SUCCESS || at.is_null())
    return {};
  std::string_view text;
  if (at.get(text) != simdjson::SUCCESS)
    return {cell::state::json, {}, at};
  if (trims)
    text = trimmed(text);
  return is_null(text) ? cell{} : cell{cell::state::text, text, {}};
}

void row_values::append(const cell& from, std::string& to) {
  if (from.is == cell::state::text)
    to += from.text;
  else
    append_element(from.json, to);
}

bool row_values::text_of(const bound_source& from, std::string& to) {
  to.clear();
  bool there = true;
  for (auto& each : from.parts) {
    if (each.of != part::from::column) {
      to += each.text;
      continue;
    }
    auto found = look(each.column, from.rule.trim);
    there = found.is != cell::state::missing;
    if (!there)
      break;
    append(found, to);
  }
  if (!there) {
    if (!from.rule.otherwise)
      return false;
    to = *from.rule.otherwise;
  }
  if (!from.rule.words.empty())
    if (auto word = from.rule.words.find(to); word != from.rule.words.end())
      to = word->second;
  if (from.rule.hash)
    to = to_hex(hash_wide(to));
  return !to.empty();
}

std::optional<double> row_values::number_of(const bound_source& from) {
  double number = 0;
  if (from.parts.size() == 1 && from.parts[0].of == part::from::column && from.rule.words.empty()) {
    auto found = look(from.parts[0].column, from.rule.trim);
    if (found.is == cell::state::json && found.json.get(number) == simdjson::SUCCESS)
      return number * from.rule.scale + from.rule.offset;
  }
  if (!text_of(from, scratch))
    return std::nullopt;
  auto text = trimmed(scratch);
  auto [stop, bad] = std::from_chars(text.data() + text.starts_with('+'), text.data() + text.size(), number);
  number = number * from.rule.scale + from.rule.offset;
  if (bad != std::errc{} || stop != text.data() + text.size() || !std::isfinite(number)) {
    refuse("parse", from.name,
           fmt::format("{} of {} is not a finite number", shown(scratch), described(from)));
    return std::nullopt;
  }
  return number;
}

std::optional<bool> row_values::flag_of(const bound_source& from) {
  if (!text_of(from, scratch))
    return std::nullopt;
  for (auto word : {"1", "true", "True", "TRUE", "t", "yes", "Y", "y"})
    if (scratch == word)
      return true;
  for (auto word : {"0", "false", "False", "FALSE", "f", "no", "N", "n"})
    if (scratch == word)
      return false;
  refuse("parse", from.name, fmt::format("{} of {} is not a flag", shown(scratch), described(from)));
  return std::nullopt;
}

std::optional<timestamp> row_values::time_of(const bound_source& from) {
  if (!text_of(from, scratch))
    return std::nullopt;
  auto at = from.rule.format.read(scratch);
  if (!at)
    refuse("parse", from.name,
           fmt::format("{} of {} is not a time of format {}", shown(scratch), described(from),
                       from.rule.format.text()));
  return at;
}

const std::string& row_values::word_of(const bound_source& from, const std::string& word) const {
  auto known = from.rule.words.find(word);
  return known == from.rule.words.end() ? word : known->second;
}

text_list row_values::list_of(dom::array from) {
  text_list words;
  for (auto each : from)
    if (!each.is_null())
      append_element(each, words.emplace_back());
  return words;
}

std::optional<text_list> row_values::list_of(const bound_source& from) {
  text_list words;
  if (!from.flags.empty()) {
    for (auto& [column, word] : from.flags) {
      scratch.clear();
      auto found = look(column, true);
      if (found.is == cell::state::missing)
        continue;
      append(found, scratch);
      if (scratch == "1" || scratch == "true")
        words.push_back(word);
      else if (scratch != "0" && scratch != "false")
        refuse("parse", from.name, fmt::format("{} of column {} is not 0 or 1", shown(scratch), column.name));
    }
    return words;
  }
  if (from.parts.size() == 1 && from.parts[0].of == part::from::column) {
    auto found = look(from.parts[0].column, from.rule.trim);
    dom::array list;
    if (found.is == cell::state::json && found.json.get(list) == simdjson::SUCCESS) {
      words = list_of(list);
      for (auto& each : words)
        each = word_of(from, each);
      return words;
    }
  }
  if (!text_of(from, scratch))
    return std::nullopt;
  std::string_view rest = scratch;
  while (true) {
    auto end = rest.find(from.rule.separator);
    auto word = from.rule.trim ? trimmed(rest.substr(0, end)) : rest.substr(0, end);
    if (!is_null(word))
      words.push_back(word_of(from, std::string{word}));
    if (end == std::string_view::npos)
      return words;
    rest.remove_prefix(end + from.rule.separator.size());
  }
}

std::optional<attribute_value> row_values::natural(dom::element from) {
  switch (from.type()) {
  case dom::element_type::NULL_VALUE:
    return std::nullopt;
  case dom::element_type::BOOL:
    return from.get_bool().value_unsafe();
  case dom::element_type::INT64:
    return static_cast<double>(from.get_int64().value_unsafe());
  case dom::element_type::UINT64:
    return static_cast<double>(from.get_uint64().value_unsafe());
  case dom::element_type::DOUBLE:
    return from.get_double().value_unsafe();
  case dom::element_type::ARRAY:
    return list_of(from.get_array().value_unsafe());
  default: {
    std::string text;
    append_element(from, text);
    return text;
  }
  }
}

} // namespace troupe::ingest_format::rules
