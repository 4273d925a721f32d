#pragma once

#include "services/feature_store/view.hpp"
#include "services/ingest/client/record_stream.hpp"

#include "common/event/record.hpp"
#include "common/table/connection.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <optional>
#include <random>
#include <string>
#include <variant>
#include <vector>

/// The independent answer for tests: the same events in DuckDB, features as SQL.
namespace troupe::feature_store::oracle {

/// A feature in our TOML and, over the columns of `e` (an event) and `l` (a label with ent and t), in SQL.
struct pair {
  std::string name;
  std::string toml;
  std::string sql;
};

inline std::string span_text(std::int64_t us) {
  return fmt::format("{}us", us);
}

/// Every operator over every window, for a view whose other side is `other` ("item" or "user").
inline std::vector<pair> every_operator(const std::string& other) {
  constexpr std::int64_t minute = 60'000'000, hour = 60 * minute, day = 24 * hour;
  struct span {
    std::string name;
    std::int64_t window, hop;
  };
  std::vector<span> spans{
      {"all", 0, 0}, {"6h", 6 * hour, 5 * minute}, {"7d", 7 * day, hour}, {"40d", 40 * day, day}};
  std::vector<pair> all;
  std::string column = other == "item" ? "e.itm" : "e.usr";
  for (auto& [name, window, hop] : spans) {
    std::string w = window ? fmt::format("window = \"{}\"\n", span_text(window)) : "";
    std::string in = window ? fmt::format("(e.et // {0} >= (l.t - {1}) // {0})", hop, window) : "true";
    in = "(e.usr IS NOT NULL AND " + in + ")";
    auto add = [&](std::string op, std::string extra, std::string sql) {
      all.push_back({op + "_" + name, fmt::format("operator = \"{}\"\n{}{}", op, extra, w), std::move(sql)});
    };
    auto when = [&](const std::string& more = "true") {
      return fmt::format("FILTER (WHERE {} AND {})", in, more);
    };
    add("count", "", fmt::format("nullif(count(*) {}, 0)::DOUBLE", when()));
    add("sum", "of = \"value\"\n", fmt::format("sum(e.val) {}", when()));
    add("mean", "", fmt::format("avg(e.val) {}", when()));
    add("min", "", fmt::format("min(e.val) {}", when()));
    add("max", "", fmt::format("max(e.val) {}", when()));
    add("rate", "numerator = \"click\"\ndenominator = \"rating\"\n",
        fmt::format("(count(*) {})::DOUBLE / nullif(count(*) {}, 0)", when("e.type = 'click'"),
                    when("e.type = 'rating'")));
    add("last", "of = \"value\"\n",
        fmt::format("list_extract(list(e.val ORDER BY e.et, e.part, e.off) {}, -1)",
                    when("e.val IS NOT NULL")));
    add("last_n", fmt::format("of = \"{}\"\nn = 5\n", other),
        fmt::format("array_to_string(list_slice(list({} ORDER BY e.et, e.part, e.off) {}, -5, -1), ' ')",
                    column, when()));
    add("distinct_count", fmt::format("of = \"{}\"\n", other),
        fmt::format("nullif(count(DISTINCT {}) {}, 0)::DOUBLE", column, when()));
    add("time_since", "", fmt::format("(l.t - max(e.et) {})::DOUBLE / 1000000", when()));
    add("decayed_count", "half_life = \"2d\"\n",
        // Without a window, what is older than 64 half lives is dropped, by whole tiles.
        fmt::format(
            "sum(pow(0.5, (l.t - e.et)::DOUBLE / {})) {}", 2 * day,
            when(window ? "true" : fmt::format("(e.et // {0} >= (l.t - {1}) // {0})", 2 * day, 128 * day))));
    all.push_back(
        {"where_" + name,
         fmt::format(
             "operator = \"count\"\nwhere = {{ type = \"rating\", \"context.device\" = \"mobile\" }}\n{}", w),
         fmt::format("nullif(count(*) {}, 0)::DOUBLE", when("e.type = 'rating' AND e.device = 'mobile'"))});
  }
  return all;
}

inline std::string view_toml(const std::string& name, const std::string& entity,
                             const std::vector<pair>& features) {
  auto out = fmt::format("[[view]]\nname = \"{}\"\nentity = \"{}\"\nsource = [\"rating\", \"click\"]\n", name,
                         entity);
  for (auto& each : features)
    out += fmt::format("[[view.feature]]\nname = \"{}\"\n{}", each.name, each.toml);
  return out;
}

/// Events of a small world: many equal instants, values missing, arrival out of order.
inline std::vector<record> generated(std::size_t count, unsigned seed) {
  std::mt19937 random{seed};
  std::vector<record> all;
  constexpr std::int64_t start = 1'600'000'000'000'000;
  for (std::size_t i = 0; i < count; ++i) {
    record each;
    each.id = fmt::format("g{}", i);
    each.type = random() % 3 == 0 ? "click" : "rating";
    each.user = fmt::format("u{}", random() % 40);
    each.item = fmt::format("i{}", (random() % 60) * (random() % 60) / 60);
    // 120 days; seconds are coarse, so that many are equal.
    auto minutes = static_cast<std::int64_t>(random() % (120 * 24 * 12)) * 5;
    each.event_time = from_micros(start + minutes * 60'000'000);
    each.ingest_time =
        each.event_time + std::chrono::microseconds{static_cast<std::int64_t>(random() % 3) * 86'400'000'000};
    if (random() % 5 != 0)
      each.value = static_cast<double>(static_cast<int>(random() % 2001) - 1000) / 8;
    if (random() % 2)
      each.attributes.push_back({"device", std::string{random() % 2 ? "mobile" : "desktop"}});
    all.push_back(std::move(each));
  }
  return all;
}

/// Events in DuckDB, with the place in the log that `stream` gives them.
inline table::connection database(const ingest::memory_stream& stream) {
  auto db = table::connection::open();
  REQUIRE(db);
  REQUIRE(db->run("CREATE TABLE ev(type VARCHAR, usr VARCHAR, itm VARCHAR, val DOUBLE, et BIGINT, it BIGINT, "
                  "part BIGINT, off BIGINT, "
                  "device VARCHAR)"));
  auto rows = db->append_to("ev");
  REQUIRE(rows);
  for (auto& partition : stream.batches())
    for (auto& each : partition)
      for (std::size_t i = 0; i < each.size(); ++i) {
        auto rec = to_record(each[i]);
        if (rec.kind != record_kind::event)
          continue;
        rows->add(rec.type).add(rec.user).add(rec.item);
        rec.value ? rows->add(*rec.value) : rows->add_null();
        rows->add(micros_of(rec.event_time))
            .add(micros_of(rec.ingest_time))
            .add(static_cast<std::int64_t>(each.partition()));
        rows->add(static_cast<std::int64_t>(each.base_offset() + i));
        std::string device;
        for (auto& attribute : rec.attributes)
          if (attribute.name == "device")
            device = std::get<std::string>(attribute.value);
        device.empty() ? rows->add_null() : rows->add(device);
        REQUIRE(rows->end_row());
      }
  REQUIRE(rows->flush());
  return std::move(*db);
}

/// One row per row of `labels` (columns n, ent, t), in the order of n. `visible` says which events a label
/// sees.
inline std::string query(const std::vector<pair>& features, const std::string& labels,
                         const std::string& entity, const std::string& visible) {
  std::string out = "SELECT l.n";
  for (auto& each : features)
    out += ", " + each.sql;
  return out + fmt::format(" FROM {} l LEFT JOIN ev e ON e.{} = l.ent AND {} GROUP BY l.n, l.t ORDER BY l.n",
                           labels, entity == "user" ? "usr" : "itm", visible);
}

/// A cell as either side has it: nothing, a number or text.
using cell = std::variant<std::monostate, double, std::string>;

inline cell read_cell(const table::column_view& column, std::uint64_t row) {
  using table::kind;
  if (column.is_null(row))
    return {};
  if (column.type().of == kind::text) {
    std::string text{column.text(row)};
    return text.empty() ? cell{} : cell{text};
  }
  if (column.type().of == kind::list) {
    auto words = column.child();
    auto range = column.elements(row);
    std::string joined;
    for (std::uint64_t i = 0; i < range.length; ++i)
      joined += (i ? " " : "") + std::string{words.text(range.offset + i)};
    return joined;
  }
  return column.number(row);
}

inline bool same(const cell& a, const cell& b) {
  if (a.index() != b.index())
    return false;
  auto* x = std::get_if<double>(&a);
  if (!x)
    return a == b;
  auto y = std::get<double>(b);
  return std::abs(*x - y) <= 1e-9 * std::max({1.0, std::abs(*x), std::abs(y)});
}

inline std::string show(const cell& of) {
  if (auto* number = std::get_if<double>(&of))
    return fmt::format("{}", *number);
  if (auto* text = std::get_if<std::string>(&of))
    return *text;
  return "NULL";
}

inline std::vector<std::vector<cell>> rows_of(table::connection& db, const std::string& sql,
                                              std::size_t skip) {
  auto found = db.query(sql);
  if (!found)
    FAIL(found.error().text);
  std::vector<std::vector<cell>> out;
  for (;;) {
    auto more = found->next();
    if (!more)
      FAIL(more.error().text);
    if (!*more)
      return out;
    for (std::uint64_t row = 0; row < found->rows(); ++row) {
      auto& cells = out.emplace_back();
      for (auto c = skip; c < found->columns(); ++c)
        cells.push_back(read_cell(found->column(c), row));
    }
  }
}

inline void compare(const std::vector<std::vector<cell>>& ours, const std::vector<std::vector<cell>>& theirs,
                    const std::vector<pair>& features) {
  REQUIRE(ours.size() == theirs.size());
  std::size_t wrong = 0;
  for (std::size_t r = 0; r < ours.size(); ++r) {
    REQUIRE(ours[r].size() == theirs[r].size());
    for (std::size_t c = 0; c < ours[r].size(); ++c)
      if (!same(ours[r][c], theirs[r][c]) && ++wrong <= 10)
        MESSAGE("row ", r, " ", features[c].name, ": ours ", show(ours[r][c]), ", SQL ", show(theirs[r][c]));
  }
  CHECK(wrong == 0);
}

} // namespace troupe::feature_store::oracle
