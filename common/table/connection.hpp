#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/table/column.hpp"
#include "common/table/rows.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace troupe::table {

struct options {
  std::filesystem::path file{};         ///< Empty: a database in memory.
  std::uint64_t memory_limit_bytes = 0; ///< 0: DuckDB's own limit, 80 % of the machine's memory.
  unsigned threads = 0;                 ///< 0: one per core.
  std::filesystem::path
      temp_directory{}; ///< Where sorts and joins spill; empty: beside the file, or nowhere for memory.
  bool read_only = false;
};

/// A parameter of a statement; std::monostate is NULL.
using value =
    std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string_view, timestamp>;

/// A literal of SQL: `it's` becomes `'it''s'`.
std::string sql_text(std::string_view text);
/// A name of SQL: `user id` becomes `"user id"`.
std::string sql_name(std::string_view name);

/// The rows of a query, computed while they are read: never more than a few chunks are in memory. Used by the
/// thread that uses the connection; the connection must not run anything else until the result is read to its
/// end or gone. Keeps the database open by itself.
class result {
public:
  result(result&&) noexcept;
  result& operator=(result&&) noexcept;
  ~result();

  std::size_t columns() const noexcept;
  std::string_view name(std::size_t column) const noexcept;
  const type_info& type(std::size_t column) const noexcept;
  /// The index of the column of that name.
  std::optional<std::size_t> find(std::string_view name) const noexcept;

  /// Moves on to the next chunk; false at the end. Fails with what the query failed with.
  expected<bool> next();

  /// Rows of the current chunk: 1 to 2,048 after `next()` gave true.
  std::uint64_t rows() const noexcept;
  const column_view& column(std::size_t index) const noexcept;

private:
  friend class connection;
  struct state;
  explicit result(std::unique_ptr<state> from);
  std::unique_ptr<state> state_;
};

/// Appends rows to a table. Used by the thread that uses the connection.
class appender final : public row_writer {
public:
  appender(appender&&) noexcept;
  ~appender() override;

  /// Makes what was added visible. Must be called; what is not flushed is lost.
  expected<void> flush();

private:
  friend class connection;
  struct state;
  explicit appender(std::unique_ptr<state> from);
  expected<void> consume() override;
  std::unique_ptr<state> state_;
};

/// A connection to a DuckDB database: statements in, rows out. One thread at a time; for another thread take
/// `another()`, which sees the same tables. `interrupt` alone may be called from any thread.
class connection {
public:
  static expected<connection> open(const options& options = {});

  connection(connection&&) noexcept;
  connection& operator=(connection&&) noexcept;
  ~connection();

  /// A second connection to the same database, for another thread.
  expected<connection> another() const;

  /// Runs statements (several, parted by `;`) and drops what they return.
  expected<void> run(std::string_view sql);
  /// Runs one statement with parameters `?` or `$1`; gives the number of changed rows.
  expected<std::uint64_t> run(std::string_view sql, std::span<const value> parameters);

  /// Runs one statement and streams what it returns.
  expected<result> query(std::string_view sql, std::span<const value> parameters = {});
  expected<result> query(std::string_view sql, std::initializer_list<value> parameters) {
    return query(sql, std::span<const value>{parameters.begin(), parameters.size()});
  }

  /// The single value of the first row; nothing where it is NULL or there is no row.
  expected<std::optional<std::int64_t>> integer(std::string_view sql, std::span<const value> parameters = {});
  expected<std::optional<double>> number(std::string_view sql, std::span<const value> parameters = {});
  expected<std::optional<std::string>> text(std::string_view sql, std::span<const value> parameters = {});

  /// Appends to an existing table, whose columns must be of kinds that `row_writer` takes.
  expected<appender> append_to(std::string_view table);

  /// Ends what the connection is running, with ec::canceled there. From any thread.
  void interrupt() noexcept;

  /// The duckdb_connection, for this folder only.
  void* handle() const noexcept;

private:
  struct state;
  explicit connection(std::shared_ptr<state> from) : state_{std::move(from)} {}
  std::shared_ptr<state> state_;
};

} // namespace troupe::table
