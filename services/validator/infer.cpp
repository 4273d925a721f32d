#include "services/validator/infer.hpp"

#include <algorithm>
#include <cstring>

namespace troupe::validator {

namespace {

constexpr double most_set_values = 16;
constexpr double least_repeats = 10;

field_type field_type_of(const column_profile& column) noexcept {
  auto only = [&](std::uint64_t count) { return count == column.present; };
  if (column.present == 0)
    return field_type::any;
  if (only(column.times))
    return field_type::time;
  if (only(column.numbers))
    return only(column.integers) ? field_type::integer : field_type::number;
  return only(column.texts)   ? field_type::text
         : only(column.flags) ? field_type::flag
         : only(column.lists) ? field_type::list
                              : field_type::any;
}

bool repeats(const column_profile& column) noexcept {
  auto values = column.distinct.estimate();
  return column.distinct.exact() && column.top.exact() && values >= 1 && values <= most_set_values &&
         static_cast<double>(column.present) >= values * least_repeats;
}

field_rule infer_field(const column_profile& column, std::string name, std::uint64_t rows) {
  field_rule to;
  to.name = std::move(name);
  to.type = field_type_of(column);
  to.required = column.present >= rows;
  bool number = to.type == field_type::number || to.type == field_type::integer;
  if (number && column.values) {
    to.min = column.values->least;
    to.max = column.values->greatest;
  }
  if ((to.type == field_type::text || to.type == field_type::list) && repeats(column)) {
    auto seen = column.top.list(sketch::top_values::capacity);
    bool whole = std::all_of(seen.begin(), seen.end(),
                             [](auto& each) { return each.value.size() < sketch::top_values::longest; });
    for (auto& each : seen)
      if (whole)
        to.one_of_texts.push_back(each.value.substr(1));
    std::sort(to.one_of_texts.begin(), to.one_of_texts.end());
  }
  return to;
}

} // namespace

std::vector<schema> infer_schemas(const profile& seen) {
  std::vector<schema> all;
  for (auto& group : seen.groups()) {
    schema to;
    to.kind = group->kind;
    to.name = group->type.empty() ? std::string{to_string(group->kind)}
                                  : fmt::format("{}/{}", to_string(group->kind), group->type);
    if (group->kind == record_kind::event)
      to.type = group->type;
    for (auto& column : group->core)
      if (column.present > 0 && column.name != "id" &&
          (column.name != "event_time" || !is_entity(group->kind))) {
        auto field = infer_field(column, column.name, group->rows);
        // Identifiers are an open world: the items seen so far are not the items there will ever be.
        field.one_of_texts.clear();
        to.fields.push_back(std::move(field));
      }
    // Of each item that slates show: as many as there are, where the column is a full one.
    for (auto& column : group->shown)
      if (column.present > 0)
        to.fields.push_back(infer_field(column, column.name, group->core[2].present));
    for (auto& column : group->others)
      to.fields.push_back(infer_field(
          column, (is_entity(group->kind) ? "attributes." : "context.") + column.name, group->rows));
    all.push_back(std::move(to));
  }
  return all;
}

} // namespace troupe::validator
