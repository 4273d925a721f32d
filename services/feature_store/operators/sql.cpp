#include "services/feature_store/operators/sql.hpp"

#include "services/feature_store/operators/operator.hpp"

#include "common/table/connection.hpp"

namespace troupe::feature_store {

std::string sql_column(const field& what) {
  switch (what.of) {
  case field::part::value:
    return "e.val";
  case field::part::item:
    return "e.itm";
  case field::part::user:
    return "e.usr";
  case field::part::type:
    return "e.type";
  default:
    return "e." + table::sql_name(what.name);
  }
}

std::string sql_filter(const feature_definition& def, std::string_view more) {
  auto out = fmt::format("FILTER (WHERE {}e.entity AND {}", def.op->of_entity() ? "" : "NOT ", more);
  if (def.window)
    out += fmt::format(" AND e.et // {0} >= (l.t - {1}) // {0}", def.hop.count(), def.window->count());
  for (auto& each : def.where) {
    auto equals = std::holds_alternative<std::string>(each.equals)
                      ? table::sql_text(std::get<std::string>(each.equals))
                  : std::holds_alternative<double>(each.equals)
                      ? fmt::format("{}", std::get<double>(each.equals))
                      : table::sql_text(std::get<bool>(each.equals) ? "true" : "false");
    out += fmt::format(" AND {} = {}", sql_column(each.what), equals);
  }
  return out + ")";
}

std::string sql_newest(const feature_definition& def, const std::string& column) {
  return sql_newest(def, column, column + " IS NOT NULL");
}

std::string sql_newest(const feature_definition& def, const std::string& column, std::string_view more) {
  return fmt::format("list_extract(list({} {}) {}, -1)", column, sql_order, sql_filter(def, more));
}

} // namespace troupe::feature_store
