#pragma once

#include "services/feature_store/operators/operator.hpp"
#include "services/feature_store/views/view.hpp"
#include "services/ingest/client/record_stream.hpp"

#include "common/event/record.hpp"
#include "common/table/connection.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <cmath>
#include <optional>
#include <random>
#include <string>
#include <variant>
#include <vector>

/// The independent answer for tests: the same records in DuckDB, features as SQL.
namespace troupe::feature_store::oracle {

/// A feature in our TOML and, as its operator says it, in SQL.
struct pair {
  std::string name;
  std::string toml;
  std::string sql;
};

inline std::string view_toml(const std::string& name, const std::string& entity,
                             const std::vector<pair>& features) {
  auto out = fmt::format("[[view]]\nname = \"{}\"\nentity = \"{}\"\nsource = [\"rating\", \"click\", "
                         "\"impression\"]\n",
                         name, entity);
  for (auto& each : features)
    out += fmt::format("[[view.feature]]\nname = \"{}\"\n{}", each.name, each.toml);
  return out;
}

inline void add_feature(std::vector<pair>& to, const std::string& name, const std::string& toml) {
  auto views = parse_views(view_toml("v", "user", {{name, toml, {}}}), name);
  if (!views)
    FAIL(views.error().text);
  auto& def = views->front().features.front();
  to.push_back({name, toml, def.op->sql(def)});
}

/// Every operator of events over every window, for a view whose other side is `other` ("item" or "user").
inline std::vector<pair> every_operator(const std::string& other) {
  constexpr std::int64_t minute = 60'000'000, hour = 60 * minute, day = 24 * hour;
  std::vector<pair> all;
  for (auto& [name, window] :
       {std::pair{"all", std::int64_t{0}}, {"6h", 6 * hour}, {"7d", 7 * day}, {"40d", 40 * day}}) {
    auto w = window ? fmt::format("window = \"{}us\"\n", window) : std::string{};
    auto add = [&](const std::string& as, std::string_view op, const std::string& more) {
      add_feature(all, fmt::format("{}_{}", as, name), fmt::format("operator = \"{}\"\n{}{}", op, more, w));
    };
    add("count", "count", "");
    add("sum", "sum", "of = \"value\"\n");
    add("mean", "mean", "");
    add("min", "min", "");
    add("max", "max", "");
    add("rate", "rate", "numerator = \"click\"\ndenominator = \"rating\"\n");
    add("last", "last", "of = \"value\"\n");
    add("last_n", "last_n", fmt::format("of = \"{}\"\nn = 5\n", other));
    add("distinct_count", "distinct_count", fmt::format("of = \"{}\"\n", other));
    add("time_since", "time_since", "");
    add("decayed_count", "decayed_count", "half_life = \"2d\"\n");
    add("where", "count", "where = { type = \"rating\", \"context.device\" = \"mobile\" }\n");
  }
  return all;
}

/// Every operator of an entity's own records.
inline std::vector<pair> every_record_operator() {
  std::vector<pair> all;
  add_feature(all, "device", "operator = \"attribute\"\nof = \"attribute.device\"\n");
  add_feature(all, "record", "operator = \"record\"\n");
  return all;
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

/// Pages of one to six items and clicks, with the same instants again and again; `as_events`: each item of a
/// page is an impression of its own, as it was in logs of before.
inline std::vector<record> generated_pages(std::size_t count, unsigned seed, bool as_events) {
  std::mt19937 random{seed};
  std::vector<record> all;
  for (auto& each : generated(count, seed)) {
    each.value.reset();
    if (each.type == "click") {
      all.push_back(std::move(each));
      continue;
    }
    each.type = "impression";
    each.kind = record_kind::slate;
    auto items = 1 + random() % 6;
    for (unsigned i = 1; i <= items; ++i)
      each.shown.push_back({fmt::format("i{}", random() % 30), i, 0.5});
    each.item.clear();
    if (!as_events) {
      all.push_back(std::move(each));
      continue;
    }
    for (auto& one : each.shown) {
      auto event = each;
      event.kind = record_kind::event;
      event.shown.clear();
      event.id += fmt::format(":{}", one.position);
      event.item = one.item;
      event.attributes.push_back({"position", static_cast<double>(one.position)});
      all.push_back(std::move(event));
    }
  }
  return all;
}

/// What is asked of pages and clicks, for a view whose other side is `other`.
inline std::vector<pair> page_operators(const std::string& other) {
  std::vector<pair> all;
  for (auto& window : {"", "window = \"7d\"\n"}) {
    auto add = [&](const std::string& name, const std::string& toml) {
      add_feature(all, name + (*window ? "_7d" : ""), toml + window);
    };
    add("count", "operator = \"count\"\nwhere = { type = \"impression\" }\n");
    add("rate", "operator = \"rate\"\nnumerator = \"click\"\ndenominator = \"impression\"\n");
    add("last_n", fmt::format("operator = \"last_n\"\nof = \"{}\"\nn = 7\n", other));
    add("distinct", fmt::format("operator = \"distinct_count\"\nof = \"{}\"\n", other));
    add("since", "operator = \"time_since\"\n");
    add("decayed", "operator = \"decayed_count\"\nhalf_life = \"2d\"\n");
    add("first", "operator = \"count\"\nwhere = { \"context.position\" = 1 }\n");
    add("place", "operator = \"mean\"\nof = \"context.position\"\n");
    add("mobile", "operator = \"count\"\nwhere = { \"context.device\" = \"mobile\" }\n");
  }
  return all;
}

/// What a record says of users, some of it that they are deleted.
inline std::vector<record> generated_users(std::size_t count, unsigned seed) {
  auto all = generated(count, seed);
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto& each = all[i];
    each.kind = record_kind::user;
    each.type.clear();
    each.item.clear();
    each.value.reset();
    if (i % 5 == 0)
      each.attributes.push_back({"deleted", true});
    else if (i % 3 == 0)
      each.attributes.push_back({"languages", text_list{"de", "it"}});
    each.untimed = i % 7 == 0;
    normalise(each);
  }
  return all;
}

/// The record as the operator `record` shows it, written by another library.
inline std::string record_text(const record& of) {
  boost::json::object out;
  for (auto& each : of.attributes)
    if (each.name == "deleted")
      return {};
    else if (auto* words = std::get_if<text_list>(&each.value))
      out[each.name] = boost::json::value_from(*words);
    else
      out[each.name] = std::get<std::string>(each.value);
  return boost::json::serialize(out);
}

/// Records in DuckDB, with the place in the log that `stream` gives them.
inline table::connection database(const ingest::memory_stream& stream) {
  auto db = table::connection::open();
  REQUIRE(db);
  REQUIRE(db->run("CREATE TABLE rows(entity BOOLEAN, replaces BOOLEAN, record VARCHAR, type VARCHAR, usr "
                  "VARCHAR, itm VARCHAR, val DOUBLE, et BIGINT, it BIGINT, part BIGINT, off BIGINT, "
                  "device VARCHAR, shown VARCHAR[], places VARCHAR[])"));
  auto rows = db->append_to("rows");
  REQUIRE(rows);
  for (auto& partition : stream.batches())
    for (auto& each : partition)
      for (std::size_t i = 0; i < each.size(); ++i) {
        auto rec = to_record(each[i]);
        bool entity = is_entity(rec.kind);
        auto text = entity ? record_text(rec) : "";
        rows->add(entity)
            .add(entity && (rec.untimed || text.empty()))
            .add(text)
            .add(rec.type)
            .add(rec.user)
            .add(rec.item);
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
        std::vector<std::string> items, places;
        for (auto& one : rec.shown) {
          items.push_back(one.item);
          places.push_back(fmt::format("{}", one.position));
        }
        rows->add(std::span<const std::string>{items}).add(std::span<const std::string>{places});
        REQUIRE(rows->end_row());
      }
  REQUIRE(rows->flush());
  REQUIRE(
      db->run("CREATE TABLE flat AS SELECT * EXCLUDE (shown, places), 0 AS idx, NULL::DOUBLE AS position "
              "FROM rows WHERE len(shown) = 0 UNION ALL BY NAME SELECT * EXCLUDE (itm, shown, places), "
              "unnest(shown) AS itm, unnest(range(len(shown))) AS idx, unnest(places)::DOUBLE AS position "
              "FROM rows WHERE len(shown) > 0"));
  REQUIRE(db->run("CREATE TABLE ev AS SELECT e.*, coalesce(s.since, 0) AS since FROM flat e LEFT JOIN ("
                  "SELECT e.part, e.off, max(b.off) + 1 AS since FROM flat e JOIN flat b ON e.entity AND "
                  "b.replaces AND b.usr = e.usr AND b.itm = e.itm AND b.part = e.part AND b.off <= e.off AND "
                  "b.et <= e.et GROUP BY e.part, e.off) s USING (part, off)"));
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
