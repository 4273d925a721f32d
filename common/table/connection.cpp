#include "common/table/connection.hpp"

#include "common/table/detail.hpp"

#include <duckdb.h>

#include <algorithm>
#include <cctype>

namespace troupe::table {

namespace {

struct database {
  duckdb_database handle = nullptr;
  ~database() { duckdb_close(&handle); }
};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

ec code_of(duckdb_error_type type, std::string_view text) {
  if (contains(text, "No space left on device"))
    return ec::disk_full;
  switch (type) {
  case DUCKDB_ERROR_IO:
    return contains(text, "No files found") ? ec::not_found : ec::io_failed;
  case DUCKDB_ERROR_OUT_OF_MEMORY:
    return ec::overloaded;
  case DUCKDB_ERROR_INTERRUPT:
    return ec::canceled;
  case DUCKDB_ERROR_INTERNAL:
  case DUCKDB_ERROR_FATAL:
    return ec::internal;
  case DUCKDB_ERROR_SERIALIZATION:
    return ec::corrupt;
  case DUCKDB_ERROR_CONSTRAINT:
  case DUCKDB_ERROR_TRANSACTION:
    return ec::conflict;
  default:
    return ec::invalid_argument;
  }
}

/// The first line: DuckDB adds the statement and an arrow below it.
std::string first_line(const char* text) {
  std::string_view all = text ? text : "unknown reason";
  return std::string{all.substr(0, all.find('\n'))};
}

std::string shortened(std::string_view sql) {
  std::string line;
  for (char each : sql.substr(0, 120))
    line += each == '\n' ? ' ' : each;
  return sql.size() > 120 ? line + "..." : line;
}

unexpected<error> failed(std::string_view sql, duckdb_error_type type, const char* text) {
  auto why = first_line(text);
  return fail(code_of(type, why), "cannot run `{}`: {}", shortened(sql), why);
}

duckdb_error_type type_in(std::string_view text) {
  if (text.starts_with("IO Error"))
    return DUCKDB_ERROR_IO;
  if (text.starts_with("Out of Memory"))
    return DUCKDB_ERROR_OUT_OF_MEMORY;
  if (text.starts_with("INTERNAL"))
    return DUCKDB_ERROR_INTERNAL;
  if (text.starts_with("INTERRUPT"))
    return DUCKDB_ERROR_INTERRUPT;
  if (text.starts_with("Constraint"))
    return DUCKDB_ERROR_CONSTRAINT;
  return DUCKDB_ERROR_INVALID_INPUT;
}

unexpected<error> failed(std::string_view sql, const char* text) {
  return failed(sql, type_in(text ? text : ""), text);
}

std::string with_doubled(std::string_view text, char mark) {
  std::string out{mark};
  for (char each : text) {
    out += each;
    if (each == mark)
      out += each;
  }
  return out + mark;
}

duckdb_state bind(duckdb_prepared_statement statement, idx_t at, const value& what) {
  return std::visit(
      [&]<class T>(const T& each) {
        if constexpr (std::is_same_v<T, std::monostate>)
          return duckdb_bind_null(statement, at);
        else if constexpr (std::is_same_v<T, bool>)
          return duckdb_bind_boolean(statement, at, each);
        else if constexpr (std::is_same_v<T, std::int64_t>)
          return duckdb_bind_int64(statement, at, each);
        else if constexpr (std::is_same_v<T, std::uint64_t>)
          return duckdb_bind_uint64(statement, at, each);
        else if constexpr (std::is_same_v<T, double>)
          return duckdb_bind_double(statement, at, each);
        else if constexpr (std::is_same_v<T, timestamp>)
          return duckdb_bind_timestamp(statement, at, {micros_of(each)});
        else
          return duckdb_bind_varchar_length(statement, at, each.data(), each.size());
      },
      what);
}

} // namespace

std::string sql_text(std::string_view text) {
  return with_doubled(text, '\'');
}

std::string sql_name(std::string_view name) {
  return with_doubled(name, '"');
}

struct connection::state {
  std::shared_ptr<database> base;
  duckdb_connection handle = nullptr;
  ~state() { duckdb_disconnect(&handle); }
};

struct result::state {
  std::shared_ptr<void> owner; // The connection and its database.
  std::string sql;
  duckdb_result handle{};
  bool held = false;
  std::vector<type_info> types;
  std::vector<std::string> names;
  duckdb_data_chunk chunk = nullptr;
  std::vector<column_view> views;
  std::uint64_t rows = 0;

  ~state() {
    duckdb_destroy_data_chunk(&chunk);
    if (held)
      duckdb_destroy_result(&handle);
  }
};

result::result(std::unique_ptr<state> from) : state_{std::move(from)} {}
result::result(result&&) noexcept = default;
result& result::operator=(result&&) noexcept = default;
result::~result() = default;

std::size_t result::columns() const noexcept {
  return state_->types.size();
}
std::string_view result::name(std::size_t column) const noexcept {
  return state_->names[column];
}
const type_info& result::type(std::size_t column) const noexcept {
  return state_->types[column];
}
std::uint64_t result::rows() const noexcept {
  return state_->rows;
}
const column_view& result::column(std::size_t index) const noexcept {
  return state_->views[index];
}

std::optional<std::size_t> result::find(std::string_view name) const noexcept {
  auto& names = state_->names;
  auto at = std::find(names.begin(), names.end(), name);
  return at == names.end() ? std::nullopt
                           : std::optional<std::size_t>{static_cast<std::size_t>(at - names.begin())};
}

expected<bool> result::next() {
  auto& at = *state_;
  duckdb_destroy_data_chunk(&at.chunk);
  at.rows = 0;
  do {
    duckdb_destroy_data_chunk(&at.chunk);
    at.chunk = duckdb_fetch_chunk(at.handle);
    if (!at.chunk) {
      if (auto* text = duckdb_result_error(&at.handle); text && *text)
        return failed(at.sql, duckdb_result_error_type(&at.handle), text);
      return false;
    }
    at.rows = duckdb_data_chunk_get_size(at.chunk);
  } while (at.rows == 0);
  at.views.clear();
  for (std::size_t i = 0; i < at.types.size(); ++i)
    at.views.emplace_back(at.types[i], duckdb_data_chunk_get_vector(at.chunk, i));
  return true;
}

connection::connection(connection&&) noexcept = default;
connection& connection::operator=(connection&&) noexcept = default;
connection::~connection() = default;

void* connection::handle() const noexcept {
  return state_->handle;
}

expected<connection> connection::open(const options& options) {
  duckdb_config config = nullptr;
  if (duckdb_create_config(&config) == DuckDBError)
    return fail(ec::internal, "cannot make a DuckDB configuration");
  auto set = [&](const char* key, const std::string& text) { duckdb_set_config(config, key, text.c_str()); };
  // Nothing is fetched from the network behind the user's back.
  set("autoinstall_known_extensions", "false");
  set("autoload_known_extensions", "false");
  if (options.memory_limit_bytes > 0)
    set("memory_limit", fmt::format("{}B", options.memory_limit_bytes));
  if (options.threads > 0)
    set("threads", std::to_string(options.threads));
  if (!options.temp_directory.empty())
    set("temp_directory", options.temp_directory.string());
  if (options.read_only)
    set("access_mode", "READ_ONLY");
  auto base = std::make_shared<database>();
  char* why = nullptr;
  auto path = options.file.empty() ? std::string{":memory:"} : options.file.string();
  auto opened = duckdb_open_ext(path.c_str(), &base->handle, config, &why);
  duckdb_destroy_config(&config);
  if (opened == DuckDBError) {
    auto text = first_line(why);
    duckdb_free(why);
    return fail(code_of(type_in(text), text), "cannot open the DuckDB database {}: {}", path, text);
  }
  auto made = std::make_shared<state>();
  made->base = std::move(base);
  if (duckdb_connect(made->base->handle, &made->handle) == DuckDBError)
    return fail(ec::internal, "cannot connect to the DuckDB database {}", path);
  return connection{std::move(made)};
}

expected<connection> connection::another() const {
  auto made = std::make_shared<state>();
  made->base = state_->base;
  if (duckdb_connect(made->base->handle, &made->handle) == DuckDBError)
    return fail(ec::internal, "cannot make a second connection to the DuckDB database");
  return connection{std::move(made)};
}

expected<void> connection::run(std::string_view sql) {
  duckdb_result out{};
  auto done = duckdb_query(state_->handle, std::string{sql}.c_str(), &out);
  auto text = done == DuckDBError ? std::string{duckdb_result_error(&out)} : std::string{};
  auto type = done == DuckDBError ? duckdb_result_error_type(&out) : DUCKDB_ERROR_INVALID;
  duckdb_destroy_result(&out);
  if (done == DuckDBError)
    return failed(sql, type, text.c_str());
  return {};
}

expected<std::uint64_t> connection::run(std::string_view sql, std::span<const value> parameters) {
  TROUPE_TRY(rows, query(sql, parameters));
  while (true) {
    TROUPE_TRY(more, rows.next());
    if (!more)
      return duckdb_rows_changed(&rows.state_->handle);
  }
}

expected<result> connection::query(std::string_view sql, std::span<const value> parameters) {
  auto made = std::make_unique<result::state>();
  made->owner = state_;
  made->sql = sql;
  struct prepared {
    duckdb_prepared_statement handle = nullptr;
    ~prepared() { duckdb_destroy_prepare(&handle); }
  } statement;
  if (duckdb_prepare(state_->handle, made->sql.c_str(), &statement.handle) == DuckDBError)
    return failed(sql, duckdb_prepare_error(statement.handle));
  if (auto wanted = duckdb_nparams(statement.handle); wanted != parameters.size())
    return fail(ec::invalid_argument, "cannot run `{}`: it has {} parameters, {} were given", shortened(sql),
                wanted, parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i)
    if (bind(statement.handle, i + 1, parameters[i]) == DuckDBError)
      return fail(ec::invalid_argument, "cannot run `{}`: parameter {} cannot be bound", shortened(sql),
                  i + 1);
  struct under_way {
    duckdb_pending_result handle = nullptr;
    ~under_way() { duckdb_destroy_pending(&handle); }
  } pending;
  made->held = true;
  if (duckdb_pending_prepared_streaming(statement.handle, &pending.handle) == DuckDBError)
    return failed(sql, duckdb_pending_error(pending.handle));
  if (duckdb_execute_pending(pending.handle, &made->handle) == DuckDBError) {
    auto* text = duckdb_result_error(&made->handle);
    if (text && *text)
      return failed(sql, duckdb_result_error_type(&made->handle), text);
    return failed(sql, duckdb_pending_error(pending.handle));
  }
  for (idx_t i = 0, count = duckdb_column_count(&made->handle); i < count; ++i) {
    auto type = duckdb_column_logical_type(&made->handle, i);
    made->types.push_back(detail::describe(type));
    duckdb_destroy_logical_type(&type);
    made->names.emplace_back(duckdb_column_name(&made->handle, i));
  }
  return result{std::move(made)};
}

namespace {

/// Reads `get(column, 0)` of the first row, if it is there and not NULL.
template <class T, class Get>
expected<std::optional<T>> single(expected<result> rows, Get get) {
  if (!rows)
    return unexpected<error>{rows.error()};
  TROUPE_TRY(more, rows->next());
  if (!more || rows->columns() == 0 || rows->column(0).is_null(0))
    return std::optional<T>{};
  return std::optional<T>{get(rows->column(0))};
}

} // namespace

expected<std::optional<std::int64_t>> connection::integer(std::string_view sql,
                                                          std::span<const value> parameters) {
  return single<std::int64_t>(query(sql, parameters), [](auto& column) { return column.integer(0); });
}

expected<std::optional<double>> connection::number(std::string_view sql, std::span<const value> parameters) {
  return single<double>(query(sql, parameters), [](auto& column) { return column.number(0); });
}

expected<std::optional<std::string>> connection::text(std::string_view sql,
                                                      std::span<const value> parameters) {
  return single<std::string>(query(sql, parameters),
                             [](auto& column) { return std::string{column.text(0)}; });
}

void connection::interrupt() noexcept {
  duckdb_interrupt(state_->handle);
}

struct appender::state {
  std::shared_ptr<void> owner;
  std::string table;
  std::vector<cell> types;
  duckdb_appender handle = nullptr;
  ~state() { duckdb_appender_destroy(&handle); }
};

appender::appender(std::unique_ptr<state> from) : row_writer{from->types}, state_{std::move(from)} {}
appender::appender(appender&&) noexcept = default;
appender::~appender() = default;

namespace {

std::optional<cell> cell_of(const type_info& type) {
  switch (type.of) {
  case kind::boolean:
    return cell::boolean;
  case kind::int32:
    return cell::int32;
  case kind::int64:
    return cell::int64;
  case kind::uint64:
    return cell::uint64;
  case kind::float32:
    return cell::float32;
  case kind::float64:
    return cell::float64;
  case kind::text:
    return cell::text;
  case kind::blob:
    return cell::blob;
  case kind::timestamp:
    return cell::timestamp;
  case kind::list:
    switch (type.children.front().of) {
    case kind::text:
      return cell::text_list;
    case kind::int64:
      return cell::int64_list;
    case kind::float64:
      return cell::float64_list;
    default:
      return std::nullopt;
    }
  default:
    return std::nullopt;
  }
}

} // namespace

expected<appender> connection::append_to(std::string_view table) {
  auto made = std::make_unique<appender::state>();
  made->owner = state_;
  made->table = table;
  if (duckdb_appender_create(state_->handle, nullptr, made->table.c_str(), &made->handle) == DuckDBError)
    return fail(ec::not_found, "cannot append to table {}: {}", table,
                first_line(duckdb_appender_error(made->handle)));
  for (idx_t i = 0, count = duckdb_appender_column_count(made->handle); i < count; ++i) {
    auto type = duckdb_appender_column_type(made->handle, i);
    auto info = detail::describe(type);
    duckdb_destroy_logical_type(&type);
    auto one = cell_of(info);
    if (!one)
      return fail(ec::invalid_argument,
                  "cannot append to table {}: column {} is of kind {}, which no row can be written to", table,
                  i + 1, to_string(info.of));
    made->types.push_back(*one);
  }
  return appender{std::move(made)};
}

expected<void> appender::consume() {
  auto done = duckdb_append_data_chunk(state_->handle, static_cast<duckdb_data_chunk>(chunk()));
  if (done == DuckDBError)
    return fail(ec::io_failed, "cannot append to table {}: {}", state_->table,
                first_line(duckdb_appender_error(state_->handle)));
  reset();
  return {};
}

expected<void> appender::flush() {
  if (filled() > 0)
    TROUPE_CHECK(consume());
  if (duckdb_appender_flush(state_->handle) == DuckDBError) {
    auto why = first_line(duckdb_appender_error(state_->handle));
    return fail(code_of(type_in(why), why), "cannot append to table {}: {}", state_->table, why);
  }
  return {};
}

} // namespace troupe::table
