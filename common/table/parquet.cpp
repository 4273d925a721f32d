#include "common/table/parquet.hpp"

#include "common/core/file_sync.hpp"

#include <duckdb.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

namespace troupe::table {

namespace {

constexpr std::size_t most_waiting = 8; // Chunks of 2,048 rows.

/// What lies between the thread that adds rows and the one that writes the file.
struct feed {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<duckdb_data_chunk> waiting;
  bool complete = false;  // No more chunks will come.
  bool abandoned = false; // Nobody wants the file any more.
  bool over = false;      // The statement has ended.
  std::vector<column_spec> columns;

  ~feed() {
    for (auto& each : waiting)
      duckdb_destroy_data_chunk(&each);
  }
};

const char* sql_type(cell of) {
  switch (of) {
  case cell::boolean:
    return "BOOLEAN";
  case cell::int32:
    return "INTEGER";
  case cell::int64:
    return "BIGINT";
  case cell::uint64:
    return "UBIGINT";
  case cell::float32:
    return "FLOAT";
  case cell::float64:
    return "DOUBLE";
  case cell::text:
    return "VARCHAR";
  case cell::blob:
    return "BLOB";
  case cell::timestamp:
    return "TIMESTAMP";
  case cell::text_list:
    return "VARCHAR[]";
  case cell::int64_list:
    return "BIGINT[]";
  case cell::float64_list:
    return "DOUBLE[]";
  }
  return "VARCHAR";
}

duckdb_logical_type logical_type(cell of) {
  auto list_of = [](duckdb_type child) {
    auto inner = duckdb_create_logical_type(child);
    auto outer = duckdb_create_list_type(inner);
    duckdb_destroy_logical_type(&inner);
    return outer;
  };
  std::string_view name = sql_type(of);
  if (name == "VARCHAR[]")
    return list_of(DUCKDB_TYPE_VARCHAR);
  if (name == "BIGINT[]")
    return list_of(DUCKDB_TYPE_BIGINT);
  if (name == "DOUBLE[]")
    return list_of(DUCKDB_TYPE_DOUBLE);
  constexpr std::pair<std::string_view, duckdb_type> plain[] = {
      {"BOOLEAN", DUCKDB_TYPE_BOOLEAN},    {"INTEGER", DUCKDB_TYPE_INTEGER},
      {"BIGINT", DUCKDB_TYPE_BIGINT},      {"UBIGINT", DUCKDB_TYPE_UBIGINT},
      {"FLOAT", DUCKDB_TYPE_FLOAT},        {"DOUBLE", DUCKDB_TYPE_DOUBLE},
      {"VARCHAR", DUCKDB_TYPE_VARCHAR},    {"BLOB", DUCKDB_TYPE_BLOB},
      {"TIMESTAMP", DUCKDB_TYPE_TIMESTAMP}};
  for (auto& [known, type] : plain)
    if (known == name)
      return duckdb_create_logical_type(type);
  return nullptr;
}

feed& feed_of(void* extra) {
  return **static_cast<std::shared_ptr<feed>*>(extra);
}

void bind_feed(duckdb_bind_info info) {
  for (auto& each : feed_of(duckdb_bind_get_extra_info(info)).columns) {
    auto type = logical_type(each.type);
    duckdb_bind_add_result_column(info, each.name.c_str(), type);
    duckdb_destroy_logical_type(&type);
  }
}

void init_feed(duckdb_init_info info) {
  duckdb_init_set_max_threads(info, 1);
}

void read_feed(duckdb_function_info info, duckdb_data_chunk output) {
  auto& from = feed_of(duckdb_function_get_extra_info(info));
  std::unique_lock lock{from.mutex};
  from.changed.wait(lock, [&] { return !from.waiting.empty() || from.complete || from.abandoned; });
  if (from.abandoned)
    return duckdb_function_set_error(info, "abandoned");
  if (from.waiting.empty())
    return duckdb_data_chunk_set_size(output, 0);
  auto chunk = from.waiting.front();
  from.waiting.pop_front();
  from.changed.notify_all();
  lock.unlock();
  for (idx_t i = 0, count = duckdb_data_chunk_get_column_count(output); i < count; ++i)
    duckdb_vector_reference_vector(duckdb_data_chunk_get_vector(output, i),
                                   duckdb_data_chunk_get_vector(chunk, i));
  duckdb_data_chunk_set_size(output, duckdb_data_chunk_get_size(chunk));
  duckdb_destroy_data_chunk(&chunk);
}

expected<void> register_feed(const connection& at, const std::shared_ptr<feed>& from) {
  auto function = duckdb_create_table_function();
  duckdb_table_function_set_name(function, "troupe_rows");
  duckdb_table_function_set_extra_info(function, new std::shared_ptr<feed>{from}, [](void* extra) {
    delete static_cast<std::shared_ptr<feed>*>(extra);
  });
  duckdb_table_function_set_bind(function, bind_feed);
  duckdb_table_function_set_init(function, init_feed);
  duckdb_table_function_set_function(function, read_feed);
  auto done = duckdb_register_table_function(static_cast<duckdb_connection>(at.handle()), function);
  duckdb_destroy_table_function(&function);
  if (done == DuckDBError)
    return fail(ec::internal, "cannot register the rows of a Parquet file with DuckDB");
  return {};
}

} // namespace

std::string parquet_file(const std::filesystem::path& path) {
  std::string literal; // DuckDB takes a path for a glob: its signs stand for themselves in brackets.
  for (char each : std::filesystem::absolute(path).string())
    literal += each == '*' || each == '?' || each == '[' ? fmt::format("[{}]", each) : std::string{each};
  return fmt::format("read_parquet({}, binary_as_string = false, file_row_number = false, filename = false, "
                     "hive_partitioning = false, union_by_name = false)",
                     sql_text(literal));
}

struct parquet_writer::state {
  std::filesystem::path path;
  std::filesystem::path part;
  std::shared_ptr<feed> rows = std::make_shared<feed>();
  std::optional<connection> base;
  std::thread thread;
  expected<void> outcome;
  bool finished = false;

  void join() {
    if (thread.joinable())
      thread.join();
  }

  void abandon() {
    {
      std::lock_guard lock{rows->mutex};
      rows->abandoned = true;
    }
    rows->changed.notify_all();
    join();
    base.reset();
    std::error_code ignored;
    std::filesystem::remove(part, ignored);
  }

  ~state() {
    if (!finished)
      abandon();
  }
};

parquet_writer::parquet_writer(std::vector<cell> types, std::unique_ptr<state> from)
    : row_writer{std::move(types)}, state_{std::move(from)} {}
parquet_writer::~parquet_writer() = default;

expected<std::unique_ptr<parquet_writer>> parquet_writer::open(const std::filesystem::path& path,
                                                               std::vector<column_spec> columns,
                                                               parquet_options options) {
  auto made = std::make_unique<state>();
  made->path = path;
  made->part = path;
  made->part += ".part";
  std::vector<cell> types;
  for (auto& each : columns)
    types.push_back(each.type);
  made->rows->columns = std::move(columns);
  TROUPE_TRY(base, connection::open({.threads = 1}));
  made->base.emplace(std::move(base));
  TROUPE_CHECK(register_feed(*made->base, made->rows));
  auto sql = fmt::format(
      "COPY (SELECT {} FROM troupe_rows()) TO {} (FORMAT parquet, COMPRESSION {}, ROW_GROUP_SIZE {})",
      options.select, sql_text(made->part.string()), sql_text(options.compression), options.row_group_rows);
  made->thread = std::thread{[at = made.get(), sql] {
    at->outcome = at->base->run(sql);
    std::lock_guard lock{at->rows->mutex};
    at->rows->over = true;
    at->rows->changed.notify_all();
  }};
  return std::unique_ptr<parquet_writer>{new parquet_writer{std::move(types), std::move(made)}};
}

expected<void> parquet_writer::consume() {
  auto& rows = *state_->rows;
  std::unique_lock lock{rows.mutex};
  rows.changed.wait(lock, [&] { return rows.waiting.size() < most_waiting || rows.over; });
  if (rows.over) {
    lock.unlock();
    state_->join();
    auto why =
        state_->outcome ? error{ec::internal, "the file ended before its rows"} : state_->outcome.error();
    return with_context(fmt::format("writing {}", state_->path.string()), std::move(why));
  }
  rows.waiting.push_back(static_cast<duckdb_data_chunk>(take_chunk()));
  rows.changed.notify_all();
  return {};
}

expected<std::uint64_t> parquet_writer::finish() {
  if (filled() > 0)
    TROUPE_CHECK(consume());
  {
    std::lock_guard lock{state_->rows->mutex};
    state_->rows->complete = true;
  }
  state_->rows->changed.notify_all();
  state_->join();
  if (!state_->outcome)
    return with_context(fmt::format("writing {}", state_->path.string()), state_->outcome.error());
  state_->base.reset();
  TROUPE_CHECK(sync_file(state_->part));
  std::error_code why;
  auto size = std::filesystem::file_size(state_->part, why);
  if (!why)
    std::filesystem::rename(state_->part, state_->path, why);
  if (why)
    return fail(errno_code(why.value()), "cannot put {} in its place: {}", state_->path.string(),
                why.message());
  state_->finished = true;
  auto folder = state_->path.parent_path();
  TROUPE_CHECK(sync_file(folder.empty() ? std::filesystem::path{"."} : folder));
  return size;
}

} // namespace troupe::table
