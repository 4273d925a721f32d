#include "services/validator/compiled_schema.hpp"

#include <algorithm>

namespace troupe::validator {

namespace {

cell constant_of(const compare_rule& rule) {
  cell to;
  if (auto* number = std::get_if<double>(&rule.right)) {
    to.kind = cell::holds::number;
    to.number = *number;
  } else if (auto* at = std::get_if<timestamp>(&rule.right)) {
    to.kind = cell::holds::time;
    to.time = micros_of(*at);
  } else if (auto* text = std::get_if<std::string>(&rule.right)) {
    to.kind = cell::holds::text;
    to.text = *text;
  } else if (auto* set = std::get_if<bool>(&rule.right)) {
    to.kind = cell::holds::flag;
    to.number = *set ? 1 : 0;
  }
  return to;
}

std::size_t slot_for(compiled_schema& in, const std::string& name) {
  auto attribute = attribute_of(name);
  for (auto& each : in.fields)
    if (each->rule.name == name || (!attribute.empty() && each->attribute == attribute))
      return each->slot;
  auto made = std::make_unique<compiled_field>();
  made->rule.name = name;
  made->declared = false;
  made->slot = in.fields.size();
  made->attribute = attribute_of(made->rule.name);
  in.fields.push_back(std::move(made));
  return in.fields.back()->slot;
}

} // namespace

std::unique_ptr<compiled_schema> compile(schema from) {
  auto to = std::make_unique<compiled_schema>();
  to->from = std::move(from);
  for (auto& rule : to->from.fields) {
    auto made = std::make_unique<compiled_field>();
    made->rule = rule;
    made->slot = to->fields.size();
    made->attribute = attribute_of(made->rule.name);
    if (!rule.pattern.empty())
      made->pattern = std::make_shared<const RE2>(rule.pattern, RE2::Quiet);
    for (auto& text : made->rule.one_of_texts)
      made->texts.insert(text);
    if (rule.unique)
      to->unique.push_back(made->slot);
    to->counts_nulls |= rule.max_null_rate.has_value();
    to->fields.push_back(std::move(made));
  }
  for (auto& rule : to->from.compares) {
    auto& made = to->compares.emplace_back();
    made.rule = rule;
    made.left = slot_for(*to, rule.left);
    if (auto* field = std::get_if<compare_rule::field>(&rule.right))
      made.right = slot_for(*to, field->name);
    else
      made.constant = constant_of(rule); // Its text lives in to->from.
  }
  for (auto& each : to->fields)
    to->holds_shown |= each->shown = is_of_shown(to->from.kind, each->rule.name);
  for (auto& each : to->compares)
    each.shown = to->fields[each.left]->shown || (each.right && to->fields[*each.right]->shown);
  for (std::size_t i = 0; i < core_names.size(); ++i) {
    auto at = std::find_if(to->fields.begin(), to->fields.end(),
                           [&](auto& each) { return each->rule.name == core_names[i]; });
    to->core[i] = at == to->fields.end() ? -1 : static_cast<int>((*at)->slot);
  }
  for (auto& each : to->fields)
    if (!each->attribute.empty())
      to->attributes.push_back(each.get());
  std::sort(to->attributes.begin(), to->attributes.end(),
            [](auto* a, auto* b) { return a->attribute < b->attribute; });
  return to;
}

} // namespace troupe::validator
