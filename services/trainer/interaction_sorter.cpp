#include "services/trainer/interaction_sorter.hpp"

#include "common/table/parquet.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

namespace troupe::trainer {

namespace {

/// Of a row, with what sorting takes.
constexpr std::uint64_t row_bytes = 8 + 4 + 4 + 8 + 1 + 8;

/// Of a name, beside its letters.
constexpr std::uint64_t name_overhead = 96;

/// What DuckDB needs to sort at all.
constexpr std::uint64_t least_memory = std::uint64_t{64} << 20;

constexpr auto make_table = "CREATE TABLE interactions (\"user\" VARCHAR, item VARCHAR, event_time BIGINT, "
                            "value DOUBLE, place BIGINT)";
constexpr auto in_order =
    "SELECT \"user\", item, event_time, value FROM interactions ORDER BY event_time, place";

expected<void> write_row(table::parquet_writer& out, std::string_view user, std::string_view item,
                         std::int64_t event_time, std::optional<double> value) {
  out.add(user).add(item).add(event_time);
  if (value)
    out.add(*value);
  else
    out.add_null();
  return out.end_row();
}

} // namespace

std::uint32_t interaction_sorter::number(std::string_view name) {
  if (auto known = numbers_.find(name); known != numbers_.end())
    return known->second;
  auto number = static_cast<std::uint32_t>(names_.size());
  numbers_.emplace(names_.emplace_back(name), number);
  name_bytes_ += name.size() + name_overhead;
  return number;
}

std::uint64_t interaction_sorter::held_bytes() const noexcept {
  return times_.size() * row_bytes + name_bytes_;
}

expected<void> interaction_sorter::add(std::uint32_t user, std::uint32_t item, std::int64_t event_time,
                                       std::optional<double> value) {
  users_.push_back(user);
  items_.push_back(item);
  times_.push_back(event_time);
  has_value_.push_back(value ? 1 : 0);
  values_.push_back(value.value_or(0));
  // Growing holds a vector twice for a moment.
  return held_bytes() < memory_bytes_ / 4 * 3 ? expected<void>{} : spill();
}

expected<void> interaction_sorter::spill() {
  if (!db_) {
    TROUPE_TRY(opened,
               table::connection::open({.file = work_ / "rows.duckdb",
                                        .memory_limit_bytes = std::max(memory_bytes_ / 4, least_memory),
                                        .threads = 1,
                                        .temp_directory = work_ / "spill",
                                        .read_only = false}));
    db_.emplace(std::move(opened));
    TROUPE_CHECK(db_->run(make_table));
  }
  TROUPE_TRY(into, db_->append_to("interactions"));
  for (std::size_t i = 0; i < times_.size(); ++i) {
    into.add(std::string_view{names_[users_[i]]}).add(std::string_view{names_[items_[i]]}).add(times_[i]);
    if (has_value_[i] != 0)
      into.add(values_[i]);
    else
      into.add_null();
    into.add(static_cast<std::int64_t>(spilled_ + i));
    TROUPE_CHECK(into.end_row());
  }
  TROUPE_CHECK(into.flush());
  spilled_ += times_.size();
  users_ = {}, items_ = {}, times_ = {}, has_value_ = {}, values_ = {};
  numbers_.clear();
  names_.clear();
  name_bytes_ = 0;
  ++generation_;
  return {};
}

/// Row numbers by time. Where instant and row number fit into 64 bits together they are sorted as numbers.
std::vector<std::uint64_t> interaction_sorter::order() const {
  std::vector<std::uint64_t> rows(times_.size());
  std::iota(rows.begin(), rows.end(), std::uint64_t{0});
  if (rows.size() < 2)
    return rows;
  auto [least, most] = std::ranges::minmax(times_);
  std::int64_t unit = 1'000'000;
  for (auto each : times_)
    while (each % unit != 0)
      unit /= 1'000;
  auto span = static_cast<std::uint64_t>(most / unit) - static_cast<std::uint64_t>(least / unit);
  auto row_bits = static_cast<int>(std::bit_width(rows.size()));
  if (static_cast<int>(std::bit_width(span)) + row_bits > 64) {
    std::ranges::stable_sort(rows, {}, [this](std::uint64_t row) { return times_[row]; });
    return rows;
  }
  for (auto& row : rows)
    row |= (static_cast<std::uint64_t>(times_[row] / unit) - static_cast<std::uint64_t>(least / unit))
           << row_bits;
  std::ranges::sort(rows);
  for (auto& row : rows)
    row &= (std::uint64_t{1} << row_bits) - 1;
  return rows;
}

expected<std::uint64_t> interaction_sorter::write(const std::filesystem::path& file) {
  using table::cell;
  if (db_)
    TROUPE_CHECK(spill());
  TROUPE_TRY(out, table::parquet_writer::open(file, {{"user", cell::text},
                                                     {"item", cell::text},
                                                     {"event_time", cell::int64},
                                                     {"value", cell::float64}}));
  auto value_at = [this](std::uint64_t row) {
    return has_value_[row] != 0 ? std::optional{values_[row]} : std::nullopt;
  };
  if (!db_)
    for (auto row : order())
      TROUPE_CHECK(write_row(*out, names_[users_[row]], names_[items_[row]], times_[row], value_at(row)));
  if (db_) {
    TROUPE_TRY(sorted, db_->query(in_order));
    for (;;) {
      TROUPE_TRY(more, sorted.next());
      if (!more)
        break;
      for (std::uint64_t i = 0; i < sorted.rows(); ++i) {
        auto value = sorted.column(3).is_null(i) ? std::nullopt : std::optional{sorted.column(3).number(i)};
        TROUPE_CHECK(write_row(*out, sorted.column(0).text(i), sorted.column(1).text(i),
                               sorted.column(2).integer(i), value));
      }
    }
  }
  auto rows = out->rows_added();
  TROUPE_CHECK(out->finish());
  return rows;
}

} // namespace troupe::trainer
