#include "common/ingest_format/readers/parquet_reader.hpp"

#include "common/table/connection.hpp"

#include <array>
#include <cmath>
#include <fstream>

namespace troupe::ingest_format {

namespace {

using table::column_view;
using table::kind;

void append_text(std::string& out, std::string_view text) {
  out += '"';
  for (char each : text) {
    auto code = static_cast<unsigned char>(each);
    if (each == '"' || each == '\\')
      (out += '\\') += each;
    else if (code < 0x20)
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", code);
    else
      out += each;
  }
  out += '"';
}

/// Writes the values of one column, or of a part of one, as JSON.
struct printer {
  column_view view;
  std::vector<printer> parts;
  std::vector<std::string> keys; // Of a structure.

  explicit printer(const column_view& of) : view{of} {
    auto& type = of.type();
    if (type.of == kind::structure)
      for (std::size_t i = 0; i < type.children.size(); ++i) {
        parts.emplace_back(of.child(i));
        append_text(keys.emplace_back(), type.names[i]);
      }
    else if (type.of == kind::list || type.of == kind::map)
      parts.emplace_back(of.child());
  }

  void print_number(std::string& out, double value) const {
    if (std::isfinite(value))
      fmt::format_to(std::back_inserter(out), "{}", value);
    else
      append_text(out,
                  fmt::format("{}", value)); // Not a JSON number: whoever wants a number refuses the text.
  }

  void print(std::string& out, std::uint64_t row) const {
    if (view.is_null(row)) {
      out += "null";
      return;
    }
    switch (view.type().of) {
    case kind::boolean:
      out += view.flag(row) ? "true" : "false";
      break;
    case kind::float32:
      if (auto value = view.data<float>()[row]; std::isfinite(value))
        fmt::format_to(std::back_inserter(out), "{}", value); // The digits of the float, not of its double.
      else
        print_number(out, static_cast<double>(value));
      break;
    case kind::float64:
    case kind::decimal:
    case kind::hugeint:
      print_number(out, view.number(row));
      break;
    case kind::uint64:
      fmt::format_to(std::back_inserter(out), "{}", view.data<std::uint64_t>()[row]);
      break;
    case kind::date:
    case kind::timestamp:
    case kind::timestamp_s:
    case kind::timestamp_ms:
    case kind::timestamp_ns:
    case kind::timestamp_tz:
      append_text(out, to_rfc3339(view.time(row)));
      break;
    case kind::text:
    case kind::blob:
    case kind::enumeration:
      append_text(out, view.text(row));
      break;
    case kind::list:
      print_list(out, row);
      break;
    case kind::map:
      print_map(out, row);
      break;
    case kind::structure:
      print_structure(out, row);
      break;
    case kind::null:
    case kind::other:
      out += "null";
      break;
    default:
      fmt::format_to(std::back_inserter(out), "{}", view.integer(row));
    }
  }

  void print_list(std::string& out, std::uint64_t row) const {
    auto [first, length] = view.elements(row);
    out += '[';
    for (std::uint64_t i = 0; i < length; ++i) {
      if (i > 0)
        out += ',';
      parts[0].print(out, first + i);
    }
    out += ']';
  }

  void print_map(std::string& out, std::uint64_t row) const {
    auto [first, length] = view.elements(row);
    auto &key = parts[0].parts[0], &value = parts[0].parts[1];
    out += '{';
    for (std::uint64_t i = 0; i < length; ++i) {
      if (i > 0)
        out += ',';
      std::string name;
      key.print(name, first + i);
      out += name.starts_with('"') ? name : '"' + name + '"';
      out += ':';
      value.print(out, first + i);
    }
    out += '}';
  }

  void print_structure(std::string& out, std::uint64_t row) const {
    out += '{';
    bool any = false;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].view.is_null(row))
        continue;
      if (std::exchange(any, true))
        out += ',';
      out += keys[i];
      out += ':';
      parts[i].print(out, row);
    }
    out += '}';
  }
};

/// DuckDB takes a path for a glob: its signs stand for themselves in brackets.
std::string literal_path(const std::filesystem::path& path) {
  std::string out;
  for (char each : path.string())
    out += each == '*' || each == '?' || each == '[' ? fmt::format("[{}]", each) : std::string{each};
  return table::sql_text(out);
}

class parquet_reader final : public source_reader {
public:
  parquet_reader(std::filesystem::path path, const source_options& how, std::uint64_t bytes)
      : source_reader{file_format::parquet, bytes}, path_{std::move(path)}, how_{how} {}

  expected<void> start(source_position from) {
    if (auto done = try_start(from); !done)
      return broken(done.error());
    return {};
  }

  expected<const row_batch*> next(std::size_t max_rows) override {
    batch_.clear();
    if (at_ == rows_in_chunk_) {
      auto more = rows_->next();
      if (!more)
        return broken(more.error());
      at_ = 0;
      rows_in_chunk_ = *more ? rows_->rows() : 0;
      printers_.clear();
      for (std::size_t i = 0; *more && i < rows_->columns(); ++i)
        printers_.emplace_back(rows_->column(i));
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
  expected<void> try_start(source_position from) {
    TROUPE_TRY(base, table::connection::open({.threads = 1}));
    base_.emplace(std::move(base));
    auto file =
        fmt::format("read_parquet({}, binary_as_string=true, file_row_number=true)", literal_path(path_));
    TROUPE_TRY(total, base_->integer("SELECT count(*) FROM " + file));
    total_ = static_cast<std::uint64_t>(total.value_or(0));
    if (from.rows > total_)
      return fail(ec::conflict, "its position is row {}, but it has only {} rows, so it was changed",
                  from.rows, total_);
    std::string list;
    {
      TROUPE_TRY(shape,
                 base_->query(fmt::format("SELECT * EXCLUDE (file_row_number) FROM {} LIMIT 0", file)));
      for (std::size_t i = 0; i < shape.columns(); ++i) {
        columns_.emplace_back(shape.name(i));
        auto name = table::sql_name(shape.name(i));
        list += i > 0 ? ", " : "";
        list += shape.type(i).of == kind::other ? fmt::format("CAST({} AS VARCHAR) AS {}", name, name) : name;
      }
      keys_.resize(columns_.size());
      for (std::size_t i = 0; i < columns_.size(); ++i)
        append_text(keys_[i], columns_[i]);
    }
    TROUPE_TRY(rows, base_->query(fmt::format("SELECT {} FROM {} WHERE file_row_number >= {}", list, file,
                                              from.rows)));
    rows_.emplace(std::move(rows));
    read_ = from.rows;
    return {};
  }

  unexpected<error> broken(const error& why) const {
    bool theirs = why.code == ec::overloaded || why.code == ec::conflict || why.code == ec::disk_full;
    return fail(theirs ? why.code : ec::corrupt, "cannot read {} as Parquet after {} rows: {}",
                path_.string(), read_, why.text);
  }

  void take(std::uint64_t at) {
    auto& text = batch_.made.emplace_back("{");
    for (std::size_t i = 0; i < printers_.size(); ++i) {
      if (printers_[i].view.is_null(at))
        continue;
      if (text.size() > 1)
        text += ',';
      text += keys_[i];
      text += ':';
      printers_[i].print(text, at);
    }
    text += '}';
    auto& row = batch_.rows.emplace_back();
    row.number = ++read_;
    if (text.size() > how_.max_row_bytes) {
      text.resize(4096);
      row.refused = refusal{"parse", "", fmt::format("the row is longer than {} bytes", how_.max_row_bytes)};
    } else {
      row.text = text;
    }
    row.bytes = text;
  }

  std::filesystem::path path_;
  source_options how_;
  std::optional<table::connection> base_;
  std::optional<table::result> rows_;
  std::vector<std::string> keys_;
  std::vector<printer> printers_;
  std::uint64_t at_ = 0, rows_in_chunk_ = 0, read_ = 0, total_ = 0;
  row_batch batch_;
};

} // namespace

expected<std::unique_ptr<source_reader>> open_parquet(const std::filesystem::path& path,
                                                      const source_options& how, source_position from) {
  std::ifstream file{path, std::ios::binary};
  std::error_code why;
  auto bytes = std::filesystem::file_size(path, why);
  if (!file || why)
    return fail(why ? errno_code(why.value()) : ec::io_failed, "cannot open {}: {}", path.string(),
                why ? why.message() : "it cannot be read");
  std::array<char, 4> head{}, tail{};
  file.read(head.data(), 4);
  if (bytes >= 12)
    file.seekg(-4, std::ios::end).read(tail.data(), 4);
  if (std::string_view{head.data(), 4} != "PAR1")
    return fail(ec::corrupt, "cannot read {}: it does not begin like a Parquet file", path.string());
  if (bytes < 12 || std::string_view{tail.data(), 4} != "PAR1")
    return fail(
        ec::corrupt,
        "{} is cut off: a Parquet file ends with its table of contents, and the last of these {} bytes "
        "are none",
        path.string(), bytes);
  auto reader = std::make_unique<parquet_reader>(path, how, bytes);
  TROUPE_CHECK(reader->start(from));
  return reader;
}

} // namespace troupe::ingest_format
