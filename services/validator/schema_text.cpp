#include "services/validator/schema.hpp"

namespace troupe::validator {

namespace {

/// A basic string of TOML 1.0.
std::string toml_text(std::string_view text) {
  std::string out = "\"";
  for (char c : text)
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    else
      out += c;
  return out += '"';
}

template <class List, class Show>
std::string listed(const List& values, Show&& show) {
  std::string out = "[";
  for (auto& each : values)
    out += (out.size() > 1 ? ", " : "") + show(each);
  return out + "]";
}

std::string shown(double number) {
  return fmt::format("{}", number);
}

void write_field(std::string& out, const field_rule& from) {
  out += fmt::format("\n  [[schema.field]]\n  name = {}\n", toml_text(from.name));
  if (from.type != field_type::any)
    out += fmt::format("  type = \"{}\"\n", to_string(from.type));
  if (from.required)
    out += "  required = true\n";
  for (auto [key, bound] : {std::pair{"min", &from.min}, {"max", &from.max}})
    if (*bound)
      out += fmt::format("  {} = {}\n", key, shown(**bound));
  for (auto [key, bound] : {std::pair{"min", &from.min_time}, {"max", &from.max_time}})
    if (*bound)
      out += fmt::format("  {} = {}\n", key, to_rfc3339(**bound));
  for (auto [key, bound] : {std::pair{"min_length", &from.min_length}, {"max_length", &from.max_length}})
    if (*bound)
      out += fmt::format("  {} = {}\n", key, **bound);
  if (!from.one_of_texts.empty())
    out += fmt::format("  one_of = {}\n", listed(from.one_of_texts, toml_text));
  if (!from.one_of_numbers.empty())
    out += fmt::format("  one_of = {}\n", listed(from.one_of_numbers, shown));
  if (!from.pattern.empty())
    out += fmt::format("  pattern = {}\n", toml_text(from.pattern));
  if (from.unique)
    out += "  unique = true\n";
  if (from.max_null_rate)
    out += fmt::format("  max_null_rate = {}\n", shown(*from.max_null_rate));
}

struct right_text {
  std::string operator()(const compare_rule::field& name) const { return "right = " + toml_text(name.name); }
  std::string operator()(double number) const { return "constant = " + shown(number); }
  std::string operator()(timestamp at) const { return "constant = " + to_rfc3339(at); }
  std::string operator()(const std::string& text) const { return "constant = " + toml_text(text); }
  std::string operator()(bool set) const { return set ? "constant = true" : "constant = false"; }
};

} // namespace

std::string to_toml(const std::vector<schema>& schemas) {
  std::string out;
  for (auto& each : schemas) {
    out += fmt::format("{}[[schema]]\nname = {}\nkind = \"{}\"\n", out.empty() ? "" : "\n",
                       toml_text(each.name), to_string(each.kind));
    if (each.type)
      out += fmt::format("type = {}\n", toml_text(*each.type));
    if (each.closed)
      out += "closed = true\n";
    if (each.max_ahead)
      out += fmt::format("max_ahead = \"{}\"\n", to_duration_text(*each.max_ahead));
    for (auto& field : each.fields)
      write_field(out, field);
    for (auto& rule : each.compares)
      out += fmt::format("\n  [[schema.compare]]\n  left = {}\n  op = \"{}\"\n  {}\n", toml_text(rule.left),
                         to_string(rule.op), std::visit(right_text{}, rule.right));
  }
  return out;
}

} // namespace troupe::validator
