#include "common/ingest_format/readers/parquet_reader.hpp"

#include "common/core/hash.hpp"
#include "common/core/json_string.hpp"
#include "common/core/raw_file.hpp"
#include "common/event/record.hpp"
#include "common/table/parquet.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cmath>

namespace troupe::ingest_format {

namespace {

using table::column_view;
using table::kind;
using table::type_info;

/// The size up to which every whole number is one of its own in a float.
constexpr double exact_float32 = 1 << 24, exact_float64 = 9007199254740992; // 2^53

/// What can be read of a column and all below it: what has no kind of its own comes as its text.
std::string readable(const type_info& type) {
  switch (type.of) {
  case kind::boolean:
    return "BOOLEAN";
  case kind::int8:
    return "TINYINT";
  case kind::int16:
    return "SMALLINT";
  case kind::int32:
    return "INTEGER";
  case kind::int64:
    return "BIGINT";
  case kind::uint8:
    return "UTINYINT";
  case kind::uint16:
    return "USMALLINT";
  case kind::uint32:
    return "UINTEGER";
  case kind::uint64:
    return "UBIGINT";
  case kind::hugeint:
    return "HUGEINT";
  case kind::float32:
    return "FLOAT";
  case kind::float64:
    return "DOUBLE";
  case kind::decimal:
    return fmt::format("DECIMAL({}, {})", type.width, type.scale);
  case kind::blob:
    return "BLOB";
  case kind::date:
    return "DATE";
  case kind::timestamp:
    return "TIMESTAMP";
  case kind::timestamp_s:
    return "TIMESTAMP_S";
  case kind::timestamp_ms:
    return "TIMESTAMP_MS";
  case kind::timestamp_ns:
    return "TIMESTAMP_NS";
  case kind::timestamp_tz:
    return "TIMESTAMP WITH TIME ZONE";
  case kind::list:
    return readable(type.children[0]) + "[]";
  case kind::map: {
    auto& pair = type.children[0].children;
    return fmt::format("MAP({}, {})", readable(pair[0]), readable(pair[1]));
  }
  case kind::structure: {
    std::string fields;
    for (std::size_t i = 0; i < type.children.size(); ++i)
      fields += fmt::format("{}{} {}", i > 0 ? ", " : "", table::sql_name(type.names[i]),
                            readable(type.children[i]));
    return fmt::format("STRUCT({})", fields);
  }
  case kind::null:
  case kind::text:
  case kind::enumeration:
  case kind::other:
    break;
  }
  return "VARCHAR";
}

bool holds_other(const type_info& type) {
  return type.of == kind::other || std::any_of(type.children.begin(), type.children.end(), holds_other);
}

/// What is behind the first dot of `path`; nothing where that does not begin with `name`.
std::optional<std::string_view> below(std::string_view path, std::string_view name) {
  auto dot = path.find('.');
  if (path.substr(0, dot) != name)
    return std::nullopt;
  return dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
}

/// A row in the making, and the first value of it that cannot be said.
struct row_in_work {
  std::string text;
  std::optional<refusal> wrong;

  void refuse(const std::string& column, std::string reason) {
    if (!wrong)
      wrong = refusal{"parse", column, std::move(reason)};
  }
};

/// Writes the values of one column, or of a part of one, as JSON with every digit they have. What is refused
/// is written so that whoever reads the row again, out of the quarantine, refuses it too: as what is no JSON,
/// or as a number that is no name.
struct printer {
  column_view view;
  std::string name; // As in a mapping: `who.id`.
  bool identity = false;
  std::vector<printer> parts;
  std::vector<std::string> keys; // Of a structure.

  printer(const column_view& of, std::string called) : view{of}, name{std::move(called)} {
    auto& type = of.type();
    if (type.of == kind::structure)
      for (std::size_t i = 0; i < type.children.size(); ++i) {
        parts.emplace_back(of.child(i), name + '.' + type.names[i]);
        append_json_string(keys.emplace_back(), type.names[i]);
      }
    else if (type.of == kind::list || type.of == kind::map)
      parts.emplace_back(of.child(), name);
  }

  /// Marks what lies at `path` below this as an identity.
  void mark(std::string_view path) {
    auto first = path.substr(0, path.find('.'));
    auto rest = path.substr(std::min(first.size() + 1, path.size()));
    switch (view.type().of) {
    case kind::structure: {
      for (std::size_t i = 0; i < parts.size(); ++i)
        if (view.type().names[i] == first)
          parts[i].mark(rest);
      break;
    }
    case kind::list:
      parts[0].mark(rest);
      break;
    case kind::map:
      parts[0].parts[1].mark(rest);
      break;
    default:
      identity = path.empty();
    }
  }

  void print(row_in_work& to, std::uint64_t row) const {
    auto& out = to.text;
    if (view.is_null(row)) {
      out += "null";
      return;
    }
    switch (view.type().of) {
    case kind::boolean:
      out += view.flag(row) ? "true" : "false";
      break;
    case kind::float32: // The digits of the float, not of its double.
      print_float(to, view.data<float>()[row], exact_float32);
      break;
    case kind::float64:
      print_float(to, view.data<double>()[row], exact_float64);
      break;
    case kind::decimal:
      print_decimal(out, row);
      break;
    case kind::date:
    case kind::timestamp:
    case kind::timestamp_s:
    case kind::timestamp_ms:
    case kind::timestamp_ns:
    case kind::timestamp_tz:
      print_time(to, row);
      break;
    case kind::text:
    case kind::enumeration:
      append_json_string(out, view.text(row));
      break;
    case kind::blob:
      print_bytes(to, row);
      break;
    case kind::list:
      print_list(to, row);
      break;
    case kind::map:
      print_map(to, row);
      break;
    case kind::structure:
      print_structure(to, row);
      break;
    case kind::null:
    case kind::other: // `readable` has made a text of it.
      out += "null";
      break;
    default:
      view.append_digits(row, out);
    }
  }

  template <class Float>
  void print_float(row_in_work& to, Float value, double exact) const {
    auto text = fmt::format("{}", value);
    if (identity && !(value == std::trunc(value) && std::abs(value) <= static_cast<Float>(exact))) {
      to.refuse(name,
                fmt::format("{} of column {} is no name of a user, an item or a record: the column is of "
                            "type {}, which holds whole numbers exactly up to {:.0f} alone; write it as a "
                            "text or a whole number",
                            text, name, to_string(view.type().of), exact));
      to.text += text; // Of NaN and infinity no JSON.
      if (std::isfinite(value) && text.find_first_of(".e") == std::string::npos)
        to.text += "e0"; // The same number, and no name.
    } else if (std::isfinite(value))
      to.text += text;
    else
      append_json_string(to.text, text); // Not a JSON number: whoever wants a number refuses the text.
  }

  /// A name with a point in it is a text: as a number of JSON it would be none.
  void print_decimal(std::string& out, std::uint64_t row) const {
    bool text = identity && view.type().scale > 0;
    if (text)
      out += '"';
    view.append_digits(row, out);
    if (text)
      out += '"';
  }

  void print_time(row_in_work& to, std::uint64_t row) const {
    if (auto at = view.instant(row)) {
      auto text = to_rfc3339(*at);
      if (view.type().of == kind::timestamp_ns) // Which has three digits more.
        if (auto below = ((view.integer(row) % 1'000) + 1'000) % 1'000; below != 0) {
          text.pop_back();
          text += fmt::format("{}{:03}Z", text.find('.') == std::string::npos ? ".000000" : "", below);
        }
      return append_json_string(to.text, text);
    }
    auto text = no_instant(row);
    to.refuse(name,
              fmt::format("column {} holds no instant: {}, outside of the years 1 to 9999", name, text));
    to.text += text;
  }

  std::string no_instant(std::uint64_t row) const {
    bool date = view.type().of == kind::date;
    std::int64_t value = view.integer(row), last = date ? INT32_MAX : INT64_MAX;
    if (value == last || value == -last)
      return value > 0 ? "infinity" : "-infinity";
    return fmt::format("{} {} since 1970", value, date ? "days" : to_string(view.type().of));
  }

  /// Many writers do not say that their bytes are text. Those that are none are kept as `\xff00`.
  void print_bytes(row_in_work& to, std::uint64_t row) const {
    if (auto text = view.text(row); valid_utf8(text))
      return append_json_string(to.text, text);
    to.refuse(name, fmt::format("column {} holds bytes that are no text: they are not valid UTF-8", name));
    to.text += "\\x" + to_hex(as_bytes(view.text(row)));
  }

  void print_list(row_in_work& to, std::uint64_t row) const {
    auto [first, length] = view.elements(row);
    to.text += '[';
    for (std::uint64_t i = 0; i < length; ++i) {
      if (i > 0)
        to.text += ',';
      parts[0].print(to, first + i);
    }
    to.text += ']';
  }

  void print_map(row_in_work& to, std::uint64_t row) const {
    auto [first, length] = view.elements(row);
    auto &key = parts[0].parts[0], &value = parts[0].parts[1];
    to.text += '{';
    for (std::uint64_t i = 0; i < length; ++i) {
      if (i > 0)
        to.text += ',';
      row_in_work called;
      key.print(called, first + i);
      if (called.wrong)
        to.refuse(name, called.wrong->reason);
      if (called.wrong || called.text.starts_with('"'))
        to.text += called.text;
      else
        append_json_string(to.text, called.text);
      to.text += ':';
      value.print(to, first + i);
    }
    to.text += '}';
  }

  void print_structure(row_in_work& to, std::uint64_t row) const {
    to.text += '{';
    bool any = false;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].view.is_null(row))
        continue;
      if (std::exchange(any, true))
        to.text += ',';
      to.text += keys[i];
      to.text += ':';
      parts[i].print(to, row);
    }
    to.text += '}';
  }
};

class parquet_reader final : public source_reader {
public:
  parquet_reader(std::filesystem::path path, const source_options& options, std::uint64_t bytes)
      : source_reader{file_format::parquet, bytes}, path_{std::move(path)}, options_{options} {}

  expected<void> start(const raw_file& file, source_position from) {
    if (auto done = try_start(from); !done)
      return broken(done.error());
    TROUPE_TRY(contents, table_of_contents(file)); // Which was whole: DuckDB has read it.
    content_ = hash_wide(contents);
    return {};
  }

  expected<const row_batch*> next(std::size_t max_rows) override {
    batch_.clear();
    if (auto wanted = check_wanted(); !wanted)
      return broken(wanted.error());
    if (at_ == rows_in_chunk_) {
      auto more = next_chunk();
      if (!more)
        return broken(more.error());
      if (*more)
        make_printers();
    }
    for (; at_ < rows_in_chunk_ && batch_.rows.size() < max_rows; ++at_)
      take(at_);
    batch_.after = {read_, 0};
    return &batch_;
  }

  std::uint64_t bytes_read() const noexcept override {
    if (total_ == 0 || read_ >= total_)
      return bytes_total();
    return static_cast<std::uint64_t>(static_cast<double>(bytes_total()) * static_cast<double>(read_) /
                                      static_cast<double>(total_));
  }

private:
  /// The end of the file: its columns, and where they lie with how many rows and which values.
  expected<std::string> table_of_contents(const raw_file& file) const {
    TROUPE_TRY(tail, file.read(bytes_total() - 8, 4));
    std::uint64_t length = 0;
    for (std::size_t i = tail.size(); i-- > 0;)
      length = length << 8 | static_cast<unsigned char>(tail[i]);
    return file.read(bytes_total() - 8 - std::min(length, bytes_total() - 8), length);
  }

  expected<void> check_wanted() const {
    if (options_.stop && *options_.stop)
      return fail(ec::canceled, "it was stopped");
    return {};
  }

  /// False at the end.
  expected<bool> next_chunk() {
    TROUPE_TRY(more, rows_->next());
    at_ = 0;
    rows_in_chunk_ = more ? rows_->rows() : 0;
    return more;
  }

  /// Reads and drops: DuckDB's OFFSET does the same, but cannot be stopped.
  expected<void> skip(std::uint64_t rows) {
    while (rows > 0) {
      TROUPE_CHECK(check_wanted());
      TROUPE_TRY(more, next_chunk());
      if (!more)
        return {};
      at_ = std::min(rows, rows_in_chunk_);
      rows -= at_;
    }
    if (at_ < rows_in_chunk_)
      make_printers();
    return {};
  }

  /// Of the chunk at hand.
  void make_printers() {
    printers_.clear();
    for (std::size_t i = 0; i < read_columns_.size(); ++i)
      mark(printers_.emplace_back(rows_->column(i), read_columns_[i]));
  }

  expected<void> try_start(source_position from) {
    TROUPE_TRY(base, table::connection::open({.threads = 1}));
    base_.emplace(std::move(base));
    auto file = table::parquet_file(path_);
    TROUPE_TRY(total, base_->integer("SELECT count(*) FROM " + file));
    total_ = static_cast<std::uint64_t>(total.value_or(0));
    if (from.rows > total_)
      return fail(ec::conflict, "its position is row {}, but it has only {} rows, so it was changed",
                  from.rows, total_);
    std::string list;
    {
      TROUPE_TRY(shape, base_->query(fmt::format("SELECT * FROM {} LIMIT 0", file)));
      for (std::size_t i = 0; i < shape.columns(); ++i) {
        columns_.emplace_back(shape.name(i));
        if (!wants(options_, columns_.back()))
          continue;
        read_columns_.push_back(columns_.back());
        append_json_string(keys_.emplace_back(), columns_.back());
        auto name = table::sql_name(columns_.back());
        list += list.empty() ? "" : ", ";
        list +=
            holds_other(shape.type(i)) ? fmt::format("CAST({} AS {})", name, readable(shape.type(i))) : name;
      }
    }
    // One thread reads the rows in their order.
    TROUPE_TRY(rows, base_->query(fmt::format("SELECT {} FROM {}", list.empty() ? "1" : list, file)));
    rows_.emplace(std::move(rows));
    TROUPE_CHECK(skip(from.rows));
    read_ = from.rows;
    return {};
  }

  void mark(printer& column) const {
    for (auto& each : options_.identities) {
      if (each == column.name)
        column.mark({});
      else if (auto path = below(each, column.name))
        column.mark(*path);
    }
  }

  unexpected<error> broken(const error& why) const {
    bool theirs = why.code == ec::overloaded || why.code == ec::conflict || why.code == ec::disk_full ||
                  why.code == ec::canceled;
    return fail(theirs ? why.code : ec::corrupt, "cannot read {} as Parquet after {} rows: {}",
                path_.string(), read_, why.text);
  }

  void take(std::uint64_t at) {
    row_in_work made;
    made.text = "{";
    for (std::size_t i = 0; i < printers_.size(); ++i) {
      if (printers_[i].view.is_null(at))
        continue;
      if (made.text.size() > 1)
        made.text += ',';
      made.text += keys_[i];
      made.text += ':';
      printers_[i].print(made, at);
    }
    made.text += '}';
    auto& text = batch_.made.emplace_back(std::move(made.text));
    auto& row = batch_.rows.emplace_back();
    row.number = ++read_;
    if (text.size() > options_.max_row_bytes) {
      text.resize(4096);
      row.refused =
          refusal{"parse", "", fmt::format("the row is longer than {} bytes", options_.max_row_bytes)};
    } else if (made.wrong) {
      row.refused = std::move(made.wrong);
    } else {
      row.text = text;
    }
    row.bytes = text;
  }

  std::filesystem::path path_;
  source_options options_;
  std::optional<table::connection> base_;
  std::optional<table::result> rows_;
  std::vector<std::string> read_columns_; // Those of all that are wanted.
  std::vector<std::string> keys_;         // Their names as JSON.
  std::vector<printer> printers_;
  std::uint64_t at_ = 0, rows_in_chunk_ = 0, read_ = 0, total_ = 0;
  row_batch batch_;
};

} // namespace

expected<std::unique_ptr<source_reader>> open_parquet(const std::filesystem::path& path,
                                                      const source_options& options, source_position from) {
  TROUPE_TRY(file, raw_file::open(path, O_RDONLY));
  TROUPE_TRY(bytes, file.size());
  TROUPE_TRY(head, file.read(0, 4));
  TROUPE_TRY(tail, file.read(bytes - std::min<std::uint64_t>(bytes, 4), 4));
  if (head != "PAR1")
    return fail(ec::corrupt, "cannot read {}: it does not begin like a Parquet file", path.string());
  if (bytes < 12 || tail != "PAR1")
    return fail(
        ec::corrupt,
        "{} is cut off: a Parquet file ends with its table of contents, and the last of these {} bytes "
        "are none",
        path.string(), bytes);
  auto reader = std::make_unique<parquet_reader>(path, options, bytes);
  TROUPE_CHECK(reader->start(file, from));
  return reader;
}

} // namespace troupe::ingest_format
