#include "common/config/section.hpp"

#include "common/core/file.hpp"

#include <toml++/toml.h>

namespace troupe {

namespace {

expected<config_value> value_of(const toml::node& node, std::string_view key, std::string_view origin) {
  if (const auto* flag = node.as_boolean())
    return config_value{flag->get()};
  if (const auto* whole = node.as_integer())
    return config_value{whole->get()};
  if (const auto* real = node.as_floating_point())
    return config_value{real->get()};
  if (const auto* text = node.as_string())
    return config_value{text->get()};
  if (const auto* list = node.as_array()) {
    std::vector<std::string> items;
    for (const auto& item : *list) {
      if (const auto* text = item.as_string())
        items.push_back(text->get());
      else
        return fail(ec::invalid_argument, "{}: key {} is a list of something other than texts", origin, key);
    }
    return config_value{std::move(items)};
  }
  return fail(ec::invalid_argument,
              "{}: key {} is a date or a time, which no setting takes; write it as a text", origin, key);
}

expected<void> flatten(const toml::table& table, const std::string& prefix, config_section& into) {
  for (const auto& [key, node] : table) {
    auto name = prefix + std::string{key.str()};
    if (const auto* inner = node.as_table()) {
      TROUPE_CHECK(flatten(*inner, name + ".", into));
      continue;
    }
    TROUPE_TRY(value, value_of(node, name, into.origin));
    into.values.insert_or_assign(std::move(name), std::move(value));
  }
  return {};
}

} // namespace

std::string to_text(const config_value& value) {
  struct writer {
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
    std::string operator()(std::int64_t whole) const { return fmt::format("{}", whole); }
    std::string operator()(double real) const { return fmt::format("{}", real); }
    std::string operator()(const std::string& text) const {
      std::string out = "\"";
      for (char c : text) {
        if (c == '"' || c == '\\')
          out += '\\';
        out += c;
      }
      return out + '"';
    }
    std::string operator()(const std::vector<std::string>& list) const {
      std::string out = "[";
      for (const auto& item : list)
        out += (out.size() > 1 ? ", " : "") + (*this)(item);
      return out + "]";
    }
  };
  return std::visit(writer{}, value);
}

expected<void> config_section::set(std::string_view assignment) {
  auto at = assignment.find('=');
  if (at == std::string_view::npos || at == 0)
    return fail(ec::invalid_argument, "--set {}: expected key=value", assignment);
  auto trim = [](std::string_view text) {
    while (!text.empty() && text.front() == ' ')
      text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ')
      text.remove_suffix(1);
    return text;
  };
  auto key = trim(assignment.substr(0, at));
  auto text = trim(assignment.substr(at + 1));
  try {
    auto table = toml::parse("value = " + std::string{text});
    if (table.size() == 1) {
      if (auto value = value_of(*table.get("value"), key, "--set")) {
        values.insert_or_assign(std::string{key}, std::move(*value));
        return {};
      }
    }
  } catch (const toml::parse_error&) {
    // Not TOML: a bare word such as 7d. Taken as a text.
  }
  values.insert_or_assign(std::string{key}, std::string{text});
  return {};
}

expected<config_section> parse_config(std::string_view text, std::string origin) {
  config_section section{std::move(origin), {}};
  try {
    auto table = toml::parse(text, section.origin);
    TROUPE_CHECK(flatten(table, "", section));
  } catch (const toml::parse_error& err) {
    return fail(ec::invalid_argument, "cannot read {}: line {}, column {}: {}", section.origin,
                err.source().begin.line, err.source().begin.column, err.description());
  }
  return section;
}

expected<config_section> read_config(const std::filesystem::path& file) {
  TROUPE_TRY(text, read_file(file));
  return parse_config(text, file.string());
}

} // namespace troupe
