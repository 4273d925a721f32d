#include "common/table/rows.hpp"

#include <duckdb.h>

#include <algorithm>

namespace troupe::table {

struct row_writer::buffer {
  std::vector<cell> types;
  duckdb_data_chunk chunk = nullptr;
  std::vector<duckdb_vector> vectors;
  std::vector<void*> data;
  std::uint64_t row = 0;
  std::size_t column = 0;
  std::string wrong;

  ~buffer() { duckdb_destroy_data_chunk(&chunk); }

  static duckdb_logical_type make_type(cell of) {
    auto list_of = [](duckdb_type child) {
      auto inner = duckdb_create_logical_type(child);
      auto outer = duckdb_create_list_type(inner);
      duckdb_destroy_logical_type(&inner);
      return outer;
    };
    switch (of) {
    case cell::boolean:
      return duckdb_create_logical_type(DUCKDB_TYPE_BOOLEAN);
    case cell::int32:
      return duckdb_create_logical_type(DUCKDB_TYPE_INTEGER);
    case cell::int64:
      return duckdb_create_logical_type(DUCKDB_TYPE_BIGINT);
    case cell::uint64:
      return duckdb_create_logical_type(DUCKDB_TYPE_UBIGINT);
    case cell::float32:
      return duckdb_create_logical_type(DUCKDB_TYPE_FLOAT);
    case cell::float64:
      return duckdb_create_logical_type(DUCKDB_TYPE_DOUBLE);
    case cell::text:
      return duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    case cell::blob:
      return duckdb_create_logical_type(DUCKDB_TYPE_BLOB);
    case cell::timestamp:
      return duckdb_create_logical_type(DUCKDB_TYPE_TIMESTAMP);
    case cell::text_list:
      return list_of(DUCKDB_TYPE_VARCHAR);
    case cell::int64_list:
      return list_of(DUCKDB_TYPE_BIGINT);
    case cell::float64_list:
      return list_of(DUCKDB_TYPE_DOUBLE);
    }
    return nullptr;
  }

  void make() {
    std::vector<duckdb_logical_type> made;
    for (auto each : types)
      made.push_back(make_type(each));
    chunk = duckdb_create_data_chunk(made.data(), made.size());
    for (auto& each : made)
      duckdb_destroy_logical_type(&each);
    bind();
  }

  void bind() {
    vectors.clear();
    data.clear();
    for (std::size_t i = 0; i < types.size(); ++i) {
      vectors.push_back(duckdb_data_chunk_get_vector(chunk, i));
      data.push_back(duckdb_vector_get_data(vectors.back()));
    }
  }

  void set_null(std::size_t at) {
    duckdb_vector_ensure_validity_writable(vectors[at]);
    duckdb_validity_set_row_invalid(duckdb_vector_get_validity(vectors[at]), row);
  }

  /// Appends `count` elements to the list column; gives the index of the first in the child.
  std::uint64_t grow_list(std::size_t at, std::uint64_t count) {
    auto first = duckdb_list_vector_get_size(vectors[at]);
    duckdb_list_vector_reserve(vectors[at], first + count);
    duckdb_list_vector_set_size(vectors[at], first + count);
    static_cast<duckdb_list_entry*>(data[at])[row] = {first, count};
    return first;
  }
};

row_writer::row_writer(std::vector<cell> types) : buffer_{std::make_unique<buffer>()} {
  buffer_->types = std::move(types);
}
row_writer::row_writer(row_writer&&) noexcept = default;
row_writer::~row_writer() = default;

bool row_writer::begin(const char* what, bool fits) {
  auto& at = *buffer_;
  if (!at.chunk)
    at.make();
  if (at.column >= at.types.size() || !fits) {
    if (at.wrong.empty())
      at.wrong = at.column >= at.types.size() ? fmt::format("a row has more than {} cells", at.types.size())
                                              : fmt::format("cell {} does not take {}", at.column + 1, what);
    ++at.column;
    return false;
  }
  return true;
}

namespace {

bool is_number(cell of) noexcept {
  return of == cell::int32 || of == cell::int64 || of == cell::uint64 || of == cell::float32 ||
         of == cell::float64;
}

} // namespace

template <class Number>
row_writer& row_writer::add_number(Number number, const char* what) {
  auto& at = *buffer_;
  bool known = at.column < at.types.size();
  if (!begin(what, known && is_number(at.types[at.column])))
    return *this;
  auto* data = at.data[at.column];
  switch (at.types[at.column]) {
  case cell::int32:
    static_cast<std::int32_t*>(data)[at.row] = static_cast<std::int32_t>(number);
    break;
  case cell::int64:
    static_cast<std::int64_t*>(data)[at.row] = static_cast<std::int64_t>(number);
    break;
  case cell::uint64:
    static_cast<std::uint64_t*>(data)[at.row] = static_cast<std::uint64_t>(number);
    break;
  case cell::float32:
    static_cast<float*>(data)[at.row] = static_cast<float>(number);
    break;
  default:
    static_cast<double*>(data)[at.row] = static_cast<double>(number);
  }
  ++at.column;
  return *this;
}

row_writer& row_writer::add(std::int64_t number) {
  return add_number(number, "a whole number");
}
row_writer& row_writer::add(std::uint64_t number) {
  return add_number(number, "a whole number");
}
row_writer& row_writer::add(double number) {
  return add_number(number, "a number");
}

row_writer& row_writer::add(bool flag) {
  auto& at = *buffer_;
  if (begin("a flag", at.column < at.types.size() && at.types[at.column] == cell::boolean)) {
    static_cast<bool*>(at.data[at.column])[at.row] = flag;
    ++at.column;
  }
  return *this;
}

row_writer& row_writer::add(std::string_view text) {
  auto& at = *buffer_;
  bool known = at.column < at.types.size();
  if (begin("text", known && (at.types[at.column] == cell::text || at.types[at.column] == cell::blob))) {
    duckdb_vector_assign_string_element_len(at.vectors[at.column], at.row, text.data(), text.size());
    ++at.column;
  }
  return *this;
}

row_writer& row_writer::add(timestamp when) {
  auto& at = *buffer_;
  bool known = at.column < at.types.size();
  if (begin("a time",
            known && (at.types[at.column] == cell::timestamp || at.types[at.column] == cell::int64))) {
    static_cast<std::int64_t*>(at.data[at.column])[at.row] = micros_of(when);
    ++at.column;
  }
  return *this;
}

template <class Words>
row_writer& row_writer::add_words(Words words) {
  auto& at = *buffer_;
  if (begin("a list of words", at.column < at.types.size() && at.types[at.column] == cell::text_list)) {
    auto first = at.grow_list(at.column, words.size());
    auto child = duckdb_list_vector_get_child(at.vectors[at.column]);
    for (std::size_t i = 0; i < words.size(); ++i)
      duckdb_vector_assign_string_element_len(child, first + i, words[i].data(), words[i].size());
    ++at.column;
  }
  return *this;
}

row_writer& row_writer::add(std::span<const std::string> words) {
  return add_words(words);
}
row_writer& row_writer::add(std::span<const std::string_view> words) {
  return add_words(words);
}

row_writer& row_writer::add(std::span<const std::int64_t> numbers) {
  auto& at = *buffer_;
  if (begin("a list of whole numbers",
            at.column < at.types.size() && at.types[at.column] == cell::int64_list)) {
    auto first = at.grow_list(at.column, numbers.size());
    auto child = duckdb_vector_get_data(duckdb_list_vector_get_child(at.vectors[at.column]));
    std::copy(numbers.begin(), numbers.end(), static_cast<std::int64_t*>(child) + first);
    ++at.column;
  }
  return *this;
}

row_writer& row_writer::add(std::span<const double> numbers) {
  auto& at = *buffer_;
  if (begin("a list of numbers", at.column < at.types.size() && at.types[at.column] == cell::float64_list)) {
    auto first = at.grow_list(at.column, numbers.size());
    auto child = duckdb_vector_get_data(duckdb_list_vector_get_child(at.vectors[at.column]));
    std::copy(numbers.begin(), numbers.end(), static_cast<double*>(child) + first);
    ++at.column;
  }
  return *this;
}

row_writer& row_writer::add_null() {
  auto& at = *buffer_;
  if (begin("NULL", at.column < at.types.size())) {
    at.set_null(at.column);
    if (at.types[at.column] >= cell::text_list)
      at.grow_list(at.column, 0);
    ++at.column;
  }
  return *this;
}

expected<void> row_writer::end_row() {
  auto& at = *buffer_;
  if (at.wrong.empty() && at.column < at.types.size())
    at.wrong = fmt::format("a row has {} cells, {} are needed", at.column, at.types.size());
  at.column = 0;
  if (!at.wrong.empty()) {
    // What the row marked NULL must not show in the row that takes its place.
    for (auto each : at.vectors)
      if (auto* valid = duckdb_vector_get_validity(each))
        duckdb_validity_set_row_valid(valid, at.row);
    return fail(ec::invalid_argument, "cannot add a row: {}", std::exchange(at.wrong, {}));
  }
  ++at.row;
  ++rows_added_;
  return at.row == duckdb_vector_size() ? consume() : expected<void>{};
}

void* row_writer::chunk() const noexcept {
  if (buffer_->chunk)
    duckdb_data_chunk_set_size(buffer_->chunk, buffer_->row);
  return buffer_->chunk;
}

void* row_writer::take_chunk() {
  auto* taken = chunk();
  buffer_->chunk = nullptr;
  buffer_->row = 0;
  return taken;
}

std::uint64_t row_writer::filled() const noexcept {
  return buffer_ ? buffer_->row : 0;
}

void row_writer::reset() {
  if (buffer_->chunk) {
    duckdb_data_chunk_reset(buffer_->chunk);
    buffer_->bind();
  }
  buffer_->row = 0;
}

} // namespace troupe::table
