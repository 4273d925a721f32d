#include "services/validator/profile.hpp"

#include "common/core/time.hpp"

#include <boost/json.hpp>

#include <array>
#include <cmath>
#include <cstring>

namespace troupe::validator {

namespace {

namespace json = boost::json;

constexpr std::array<double, 9> shown_quantiles{0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99};
constexpr std::size_t shown_values = 20;

/// Text cut in the middle of a character loses that character.
std::string_view whole_characters(std::string_view text) noexcept {
  for (std::size_t back = 1; back <= 4 && back <= text.size(); ++back) {
    auto lead = static_cast<unsigned char>(text[text.size() - back]);
    if ((lead & 0xc0) == 0x80)
      continue;
    std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    return length > back ? text.substr(0, text.size() - back) : text;
  }
  return text;
}

json::value shown_number(double number, bool time) {
  if (time)
    return json::value(to_rfc3339(from_micros(static_cast<std::int64_t>(number))));
  if (number == std::trunc(number) && std::abs(number) < 9e15)
    return json::value(static_cast<std::int64_t>(number));
  return json::value(number);
}

json::object summary_of(const number_summary& from, bool time) {
  json::object to;
  to["min"] = shown_number(from.least, time);
  to["max"] = shown_number(from.greatest, time);
  to["mean"] = time ? shown_number(from.mean, true) : json::value(from.mean);
  to["stddev"] = time ? json::value(from.deviation() / 1e6) : json::value(from.deviation());
  json::object quantiles;
  auto found = from.quantiles.at(shown_quantiles);
  for (std::size_t i = 0; i < found.size(); ++i)
    quantiles[fmt::format("{}", shown_quantiles[i])] = shown_number(found[i], time);
  to["quantiles"] = std::move(quantiles);
  json::array counts;
  for (std::size_t i = 0; i < from.bins.bins(); ++i)
    counts.emplace_back(from.bins[i]);
  to["histogram"] =
      json::object{{"from", shown_number(from.bins.start(), time)},
                   {"width", time ? json::value(from.bins.width() / 1e6) : json::value(from.bins.width())},
                   {"counts", std::move(counts)}};
  return to;
}

std::string_view type_name_of(const column_profile& column) noexcept {
  auto kinds = (column.texts > 0 ? 1 : 0) + (column.numbers > 0 ? 1 : 0) + (column.flags > 0 ? 1 : 0) +
               (column.lists > 0 ? 1 : 0);
  if (kinds > 1)
    return "mixed";
  if (column.times == column.present && column.present > 0)
    return "time";
  if (column.numbers > 0)
    return column.integers == column.numbers ? "integer" : "number";
  return column.flags > 0 ? "flag" : column.lists > 0 ? "list" : "text";
}

json::value shown_json(std::string_view kept) {
  if (kept.size() == 9 && kept[0] == 'n') {
    double number;
    std::memcpy(&number, kept.data() + 1, sizeof number);
    return shown_number(number, false);
  }
  if (!kept.empty() && kept[0] == 'f')
    return json::value(kept == "f1");
  return json::value(whole_characters(kept.substr(std::min<std::size_t>(1, kept.size()))));
}

json::object column_of(const column_profile& from, std::uint64_t rows, std::string_view name) {
  json::object to;
  auto type = type_name_of(from);
  to["name"] = name;
  to["type"] = type;
  to["count"] = from.present;
  to["nulls"] = rows >= from.present ? rows - from.present : 0;
  to["distinct"] = static_cast<std::uint64_t>(std::llround(from.distinct.estimate()));
  to["distinct_exact"] = from.distinct.exact();
  if (from.values)
    to["values"] = summary_of(*from.values, type == "time");
  if (from.lengths)
    to["lengths"] = summary_of(*from.lengths, false);
  json::array top;
  for (auto& each : from.top.list(shown_values))
    top.push_back(json::object{{"value", shown_json(each.value)},
                               {"count", each.count},
                               {"at_most", each.count + from.top.shortfall()}});
  if (!top.empty())
    to["top"] = std::move(top);
  return to;
}

template <class Visit>
void each_column(const profile::group& in, Visit&& visit) {
  for (auto& column : in.core)
    if (column.present > 0)
      visit(column, column.name);
  for (auto& column : in.shown)
    if (column.present > 0)
      visit(column, column.name);
  for (auto& column : in.others)
    visit(column, (is_entity(in.kind) ? "attributes." : "context.") + column.name);
}

/// JSON with numbers as people write them; `depth` below zero: on one line.
void write_json(std::string& out, const json::value& from, int depth) {
  auto next = depth < 0 ? depth : depth + 1;
  auto pad = [&](int level) {
    if (depth >= 0)
      out += '\n' + std::string(static_cast<std::size_t>(level) * 2, ' ');
  };
  if (auto* object = from.if_object()) {
    out += '{';
    for (bool first = true; auto& each : *object) {
      out += first ? "" : ",";
      first = false;
      pad(next);
      out += json::serialize(json::value(each.key())) + (depth < 0 ? ":" : ": ");
      write_json(out, each.value(), next);
    }
    if (!object->empty())
      pad(depth);
    out += '}';
  } else if (auto* array = from.if_array()) {
    bool broken = !array->empty() && array->front().is_object();
    out += '[';
    for (std::size_t i = 0; i < array->size(); ++i) {
      out += i == 0 ? "" : broken || depth < 0 ? "," : ", ";
      if (broken)
        pad(next);
      write_json(out, (*array)[i], broken ? next : -1);
    }
    if (broken)
      pad(depth);
    out += ']';
  } else if (auto* number = from.if_double()) {
    // Moments of numbers near the end of the range overflow; JSON has no infinity.
    out += std::isfinite(*number) ? fmt::format("{}", *number) : "null";
  } else {
    out += json::serialize(from);
  }
}

std::string plain(const json::value& from) {
  if (auto* text = from.if_string())
    return std::string{text->data(), text->size()};
  if (auto* number = from.if_double())
    return fmt::format("{:.6g}", *number);
  return json::serialize(from);
}

} // namespace

std::string shown_top_value(std::string_view kept) {
  return plain(shown_json(kept));
}

std::string to_json(const profile& from, bool pretty) {
  json::object to;
  to["version"] = 1;
  to["rows"] = from.rows();
  to["left_out"] = from.left_out();
  json::object refused;
  for (auto& [rule, times] : from.refused())
    refused[rule] = times;
  to["refused"] = std::move(refused);
  json::array groups;
  for (auto& each : from.groups()) {
    json::object group;
    group["kind"] = to_string(each->kind);
    if (each->kind == record_kind::event)
      group["type"] = each->type;
    group["rows"] = each->rows;
    json::array columns;
    each_column(*each, [&](auto& column, const std::string& name) {
      columns.push_back(column_of(column, each->rows, name));
    });
    group["columns"] = std::move(columns);
    groups.push_back(std::move(group));
  }
  to["groups"] = std::move(groups);
  std::string text;
  write_json(text, to, pretty ? 0 : -1);
  return text;
}

std::string to_table(const profile& from) {
  std::string text = fmt::format("{} rows\n", from.rows());
  for (auto& [rule, times] : from.refused())
    text += fmt::format("refused by {}: {}\n", rule, times);
  if (from.left_out() > 0)
    text += fmt::format("left out (more than {} types or {} columns): {}\n", profile::most_groups,
                        profile::most_columns, from.left_out());
  for (auto& each : from.groups()) {
    text += fmt::format("\n{}{}{}: {} rows\n", to_string(each->kind), each->type.empty() ? "" : " ",
                        each->type, each->rows);
    text +=
        fmt::format("  {:<24} {:<8} {:>10} {:>9} {:>11} {:>20} {:>20} {:>20} {:>20}  {}\n", "column", "type",
                    "count", "nulls", "distinct", "min", "median", "mean", "max", "most frequent");
    each_column(*each, [&](auto& column, const std::string& name) {
      auto type = type_name_of(column);
      std::array<std::string, 4> numbers;
      if (auto* values = column.values ? column.values.get() : column.lengths.get()) {
        constexpr std::array<double, 1> half{0.5};
        bool time = type == "time";
        numbers = {plain(shown_number(values->least, time)),
                   plain(shown_number(values->quantiles.at(half)[0], time)),
                   time ? plain(shown_number(values->mean, true)) : fmt::format("{:.6g}", values->mean),
                   plain(shown_number(values->greatest, time))};
        if (!column.values)
          for (auto& each_number : numbers)
            each_number += column.lists > 0 ? " words" : " chars";
      }
      std::string top;
      for (auto& entry : column.top.list(3))
        top += fmt::format("{}{} ({})", top.empty() ? "" : ", ", shown_top_value(entry.value), entry.count);
      text +=
          fmt::format("  {:<24} {:<8} {:>10} {:>9} {:>11} {:>20} {:>20} {:>20} {:>20}  {}\n", name, type,
                      column.present, each->rows - std::min(each->rows, column.present),
                      fmt::format("{}{:.0f}", column.distinct.exact() ? "" : "~", column.distinct.estimate()),
                      numbers[0], numbers[1], numbers[2], numbers[3], top);
    });
  }
  return text;
}

} // namespace troupe::validator
