#include "common/ingest_format/mapping/row_values.hpp"

#include "common/core/hash.hpp"
#include "common/core/text_start.hpp"
#include "common/json/identity.hpp"

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

std::string described(const bound_source& from) {
  if (from.parts.size() == 1 && from.parts[0].of == part::from::column)
    return fmt::format("column {}", from.parts[0].column.name);
  return "its template";
}

std::string shown(std::string_view text) {
  return fmt::format("`{}{}`", text_start(text, 60), text.size() > 60 ? "..." : "");
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
  auto at = object->find(column.path.front());
  for (std::size_t i = 1; i < column.path.size() && at; ++i) {
    auto& step = column.path[i];
    if (!at->is(exact_value::kind::list)) {
      at = at->find(step);
      continue;
    }
    std::size_t index = 0;
    auto [stop, bad] = std::from_chars(step.data(), step.data() + step.size(), index);
    at = bad == std::errc{} && stop == step.data() + step.size() ? at->find(index) : std::nullopt;
  }
  if (!at && column.path.size() > 1)
    at = object->find(column.name);
  if (!at || at->is(exact_value::kind::null))
    return {};
  if (!at->is(exact_value::kind::text))
    return {cell::state::json, {}, at};
  auto text = trims ? trimmed(at->text()) : at->text();
  return is_null(text) ? cell{} : cell{cell::state::text, text, {}};
}

void row_values::append(const cell& from, std::string& to) {
  if (from.is == cell::state::text)
    to += from.text;
  else
    append_word(to, *from.json);
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
    if (from.rule.identity && found.is == cell::state::json) {
      auto exact = identity_of(*found.json);
      if (!exact) {
        refuse("parse", from.name, fmt::format("column {}: {}", each.column.name, exact.error().text));
        return false;
      }
      to += *exact;
      continue;
    }
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
  if (from.parts.size() == 1 && from.parts[0].of == part::from::column && from.rule.words.empty()) {
    auto found = look(from.parts[0].column, from.rule.trim);
    if (auto exact = found.is == cell::state::json ? found.json->number() : std::nullopt)
      return *exact * from.rule.scale + from.rule.offset;
  }
  if (!text_of(from, scratch))
    return std::nullopt;
  auto read = read_number(scratch);
  auto number = read.value_or(0) * from.rule.scale + from.rule.offset;
  if (!read || !std::isfinite(number)) {
    refuse("parse", from.name,
           fmt::format("{} of {} is not a finite number", shown(scratch), described(from)));
    return std::nullopt;
  }
  return number;
}

std::optional<bool> row_values::flag_of(const bound_source& from) {
  if (!text_of(from, scratch))
    return std::nullopt;
  if (auto flag = read_flag(scratch))
    return flag;
  for (auto [word, flag] :
       {std::pair{"t", true}, {"y", true}, {"Y", true}, {"f", false}, {"n", false}, {"N", false}})
    if (scratch == word)
      return flag;
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

std::optional<text_list> row_values::list_of(const bound_source& from) {
  text_list words;
  if (!from.flags.empty()) {
    for (auto& [column, word] : from.flags) {
      scratch.clear();
      auto found = look(column, true);
      if (found.is == cell::state::missing)
        continue;
      append(found, scratch);
      auto flag = read_flag(scratch);
      if (!flag)
        refuse("parse", from.name, fmt::format("{} of column {} is not 0 or 1", shown(scratch), column.name));
      else if (*flag)
        words.push_back(word);
    }
    return words;
  }
  if (from.parts.size() == 1 && from.parts[0].of == part::from::column) {
    auto found = look(from.parts[0].column, from.rule.trim);
    if (found.is == cell::state::json && found.json->is(exact_value::kind::list)) {
      for (auto each : *found.json)
        if (!each.is(exact_value::kind::null)) {
          std::string word;
          append_word(word, each);
          words.push_back(word_of(from, word));
        }
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

std::optional<attribute_value> row_values::natural(std::string_view name, exact_value from) {
  if (from.is(exact_value::kind::null))
    return std::nullopt;
  auto value = read_attribute(from);
  if (!value)
    refuse("parse", name, fmt::format("{} of {} is not a finite number", shown(from.text()), name));
  return value;
}

} // namespace troupe::ingest_format::rules
