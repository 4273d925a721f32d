#include "common/ingest_format/readers/parquet_reader.hpp"

#include "common/core/hash.hpp"
#include "common/core/raw_file.hpp"
#include "common/core/text_start.hpp"
#include "common/event/record.hpp"
#include "common/table/parquet.hpp"

#include <fcntl.h>
#include <fmt/compile.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

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

/// Objects in the making, and the first value of the row at hand that cannot be said.
struct rows_in_work {
  exact_objects& objects;
  std::optional<refusal> wrong;

  void refuse(const std::string& column, std::string reason) {
    if (!wrong)
      wrong = refusal{"parse", column, std::move(reason)};
  }
};

using value_kind = exact_value::kind;

/// Gives the values of one column, or of a part of one, as JSON has them, with every digit. What is refused
/// is said so that whoever reads the row again, out of the quarantine, refuses it too: by a number that is
/// none of JSON, or that is no name.
struct column_values {
  column_view view;
  std::string name; // As in a mapping: `who.id`.
  bool identity = false;
  std::vector<column_values> parts;

  column_values(const column_view& of, std::string called) : view{of}, name{std::move(called)} {
    auto& type = of.type();
    if (type.of == kind::structure)
      for (std::size_t i = 0; i < type.children.size(); ++i)
        parts.emplace_back(of.child(i), name + '.' + type.names[i]);
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

  void add(rows_in_work& to, std::string_view key, std::uint64_t row) const {
    if (view.is_null(row))
      return to.objects.add(value_kind::null, key, {});
    switch (view.type().of) {
    case kind::boolean:
      return to.objects.add(value_kind::flag, key, view.flag(row) ? "true" : "false");
    case kind::float32: // The digits of the float, not of its double.
      return add_float(to, key, view.data<float>()[row], exact_float32);
    case kind::float64:
      return add_float(to, key, view.data<double>()[row], exact_float64);
    case kind::date:
    case kind::timestamp:
    case kind::timestamp_s:
    case kind::timestamp_ms:
    case kind::timestamp_ns:
    case kind::timestamp_tz:
      return add_time(to, key, row);
    case kind::text:
    case kind::enumeration:
      return to.objects.add(value_kind::text, key, view.text(row));
    case kind::blob:
      return add_bytes(to, key, row);
    case kind::list:
      return add_list(to, key, row);
    case kind::map:
      return add_map(to, key, row);
    case kind::structure:
      return add_structure(to, key, row);
    case kind::null:
    case kind::other: // `readable` has made a text of it.
      return to.objects.add(value_kind::null, key, {});
    default:
      // A name with a point in it is a text: as a number of JSON it would be none.
      std::string digits;
      view.append_digits(row, digits);
      bool text = view.type().of == kind::decimal && identity && view.type().scale > 0;
      return to.objects.add(text ? value_kind::text : value_kind::number, key, digits);
    }
  }

  template <class Float>
  void add_float(rows_in_work& to, std::string_view key, Float value, double exact) const {
    fmt::memory_buffer digits;
    fmt::format_to(std::back_inserter(digits), FMT_COMPILE("{}"), value);
    std::string_view text{digits.data(), digits.size()};
    if (identity && !(value == std::trunc(value) && std::abs(value) <= static_cast<Float>(exact))) {
      to.refuse(name,
                fmt::format("{} of column {} is no name of a user, an item or a record: the column is of "
                            "type {}, which holds whole numbers exactly up to {:.0f} alone; write it as a "
                            "text or a whole number",
                            text, name, to_string(view.type().of), exact));
      // Of NaN and infinity no JSON; else the same number, and no name.
      bool bare = std::isfinite(value) && text.find_first_of(".e") == std::string_view::npos;
      return to.objects.add(value_kind::number, key, fmt::format("{}{}", text, bare ? "e0" : ""));
    }
    // A text is not a JSON number: whoever wants a number refuses it.
    to.objects.add(std::isfinite(value) ? value_kind::number : value_kind::text, key, text);
  }

  void add_time(rows_in_work& to, std::string_view key, std::uint64_t row) const {
    if (auto at = view.instant(row)) {
      auto text = to_rfc3339(*at);
      if (view.type().of == kind::timestamp_ns) // Which has three digits more.
        if (auto below = ((view.integer(row) % 1'000) + 1'000) % 1'000; below != 0) {
          text.pop_back();
          text += fmt::format("{}{:03}Z", text.find('.') == std::string::npos ? ".000000" : "", below);
        }
      return to.objects.add(value_kind::text, key, text);
    }
    auto text = no_instant(row);
    to.refuse(name,
              fmt::format("column {} holds no instant: {}, outside of the years 1 to 9999", name, text));
    to.objects.add(value_kind::number, key, text);
  }

  std::string no_instant(std::uint64_t row) const {
    bool date = view.type().of == kind::date;
    std::int64_t value = view.integer(row), last = date ? INT32_MAX : INT64_MAX;
    if (value == last || value == -last)
      return value > 0 ? "infinity" : "-infinity";
    return fmt::format("{} {} since 1970", value, date ? "days" : to_string(view.type().of));
  }

  /// Many writers do not say that their bytes are text. Those that are none are kept as `\xff00`.
  void add_bytes(rows_in_work& to, std::string_view key, std::uint64_t row) const {
    if (auto text = view.text(row); valid_utf8(text))
      return to.objects.add(value_kind::text, key, text);
    to.refuse(name, fmt::format("column {} holds bytes that are no text: they are not valid UTF-8", name));
    to.objects.add(value_kind::number, key, "\\x" + to_hex(as_bytes(view.text(row))));
  }

  void add_list(rows_in_work& to, std::string_view key, std::uint64_t row) const {
    auto [first, length] = view.elements(row);
    auto list = to.objects.open(value_kind::list, key);
    for (std::uint64_t i = 0; i < length; ++i)
      parts[0].add(to, {}, first + i);
    to.objects.close(list);
  }

  /// A key is what its value says: of one that cannot be said the row is refused, of two that say the same,
  /// too.
  void add_map(rows_in_work& to, std::string_view key, std::uint64_t row) const {
    auto [first, length] = view.elements(row);
    auto &called = parts[0].parts[0], &value = parts[0].parts[1];
    std::set<std::string> names;
    auto object = to.objects.open(value_kind::object, key);
    for (std::uint64_t i = 0; i < length; ++i) {
      exact_objects apart;
      rows_in_work one{apart, {}};
      auto list = apart.open(value_kind::list, {});
      called.add(one, {}, first + i);
      apart.close(list);
      std::string word;
      append_word(word, *apart[list].begin());
      if (one.wrong)
        to.refuse(name, one.wrong->reason);
      bool twice = !names.insert(word).second;
      if (twice)
        to.refuse(name, fmt::format("`{}` stands twice in one object", text_start(word, 64)));
      auto kept = to.objects.keep(word);
      if (one.wrong)
        to.objects.add(value_kind::number, kept, word);
      else
        value.add(to, kept, first + i);
    }
    to.objects.close(object);
  }

  void add_structure(rows_in_work& to, std::string_view key, std::uint64_t row) const {
    auto object = to.objects.open(value_kind::object, key);
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (!parts[i].view.is_null(row))
        parts[i].add(to, to.objects.keep(view.type().names[i]), row);
    to.objects.close(object);
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
        bind_columns();
    }
    batch_.objects = std::make_shared<exact_objects>(values_before_);
    keys_.clear();
    for (auto& each : read_columns_)
      keys_.push_back(batch_.objects->keep(each));
    places_.clear();
    for (; at_ < rows_in_chunk_ && batch_.rows.size() < max_rows; ++at_)
      take(at_);
    for (std::size_t i = 0; i < places_.size(); ++i)
      if (!batch_.rows[i].refused)
        batch_.rows[i].object = (*batch_.objects)[places_[i]];
    values_before_ = batch_.objects->values();
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
      bind_columns();
    return {};
  }

  /// Of the chunk at hand.
  void bind_columns() {
    values_.clear();
    for (std::size_t i = 0; i < read_columns_.size(); ++i)
      mark(values_.emplace_back(rows_->column(i), read_columns_[i]));
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

  void mark(column_values& column) const {
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
    auto& objects = *batch_.objects;
    rows_in_work to{objects, {}};
    auto place = places_.emplace_back(objects.open(value_kind::object, {}));
    for (std::size_t i = 0; i < values_.size(); ++i)
      if (!values_[i].view.is_null(at))
        values_[i].add(to, keys_[i], at);
    objects.close(place);
    auto& row = batch_.rows.emplace_back();
    row.number = ++read_;
    bool long_row = objects.most_bytes(place) > options_.max_row_bytes;
    if (!to.wrong && !long_row)
      return;
    std::string text;
    append_json(text, objects[place]);
    if (text.size() > options_.max_row_bytes) {
      text.resize(4096);
      row.refused =
          refusal{"parse", "", fmt::format("the row is longer than {} bytes", options_.max_row_bytes)};
    } else {
      row.refused = std::move(to.wrong);
    }
    if (row.refused)
      row.bytes = batch_.made.emplace_back(std::move(text));
  }

  std::filesystem::path path_;
  source_options options_;
  std::optional<table::connection> base_;
  std::optional<table::result> rows_;
  std::vector<std::string> read_columns_; // Those of all that are wanted.
  std::vector<std::string_view> keys_;    // The same, in the objects of the batch.
  std::vector<std::size_t> places_;       // Of its rows among these.
  std::vector<column_values> values_;
  std::uint64_t at_ = 0, rows_in_chunk_ = 0, read_ = 0, total_ = 0;
  std::size_t values_before_ = 0; // In the batch before: the next one is likely to be alike.
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
