#include "common/ingest_format/readers/text_reader.hpp"

#include "common/ingest_format/readers/byte_stream.hpp"
#include "common/ingest_format/readers/row_text.hpp"

#include <algorithm>
#include <cstring>
#include <set>

namespace troupe::ingest_format {

namespace {

constexpr std::size_t window_bytes = 1 << 20;
constexpr std::size_t kept_of_long_row = 4096;

/// The part of the content that is in memory.
class window {
public:
  explicit window(std::unique_ptr<byte_stream> stream) : stream_{std::move(stream)}, buffer_(window_bytes) {}

  std::string_view text() const noexcept { return {buffer_.data() + begin_, end_ - begin_}; }
  std::uint64_t offset() const noexcept { return offset_; }
  bool last() const noexcept { return last_; }
  const byte_stream& stream() const noexcept { return *stream_; }

  void consume(std::size_t count) noexcept {
    begin_ += count;
    offset_ += count;
  }

  /// Makes `text` longer, or sets `last`. Views into it become invalid.
  expected<void> refill() {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    if (end_ > buffer_.size() / 2)
      buffer_.resize(buffer_.size() * 2);
    TROUPE_TRY(got, stream_->read(std::span{buffer_}.subspan(end_)));
    end_ += got;
    last_ = got == 0;
    return {};
  }

  expected<void> go_to(std::uint64_t offset, const std::filesystem::path& path) {
    if (offset < offset_)
      return fail(ec::conflict, "cannot go on reading {} at byte {}: its rows begin at byte {}",
                  path.string(), offset, offset_);
    TROUPE_TRY(there, stream_->seek(offset));
    if (there) {
      begin_ = end_ = 0;
      offset_ = offset;
      last_ = false;
      return {};
    }
    while (offset_ < offset) {
      consume(std::min<std::uint64_t>(text().size(), offset - offset_));
      if (offset_ == offset)
        break;
      TROUPE_CHECK(refill());
      if (last_)
        return fail(ec::conflict,
                    "cannot go on reading {} at byte {}: it has only {} bytes of content, so it was changed",
                    path.string(), offset, offset_);
    }
    return {};
  }

private:
  std::unique_ptr<byte_stream> stream_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;
  std::uint64_t offset_ = 0;
  bool last_ = false;
};

class text_reader final : public source_reader {
public:
  text_reader(std::filesystem::path path, file_format format, const source_options& options,
              std::unique_ptr<byte_stream> stream)
      : source_reader{format, stream->disk_bytes_total()}, path_{std::move(path)}, options_{options},
        window_{std::move(stream)}, decoder_{options.csv, options.encoding}, csv_{format ==
                                                                                  file_format::csv} {
    if (!csv_)
      options_.csv.quote.reset();
  }

  expected<void> start(source_position from) {
    TROUPE_CHECK(window_.refill());
    while (window_.text().size() < 3 && !window_.last())
      TROUPE_CHECK(window_.refill());
    if (window_.text().starts_with("\xef\xbb\xbf"))
      window_.consume(3);
    if (csv_)
      TROUPE_CHECK(read_head());
    if (from.rows > 0 || from.offset > 0)
      TROUPE_CHECK(window_.go_to(from.offset, path_));
    rows_ = from.rows;
    return {};
  }

  expected<const row_batch*> next(std::size_t max_rows) override {
    batch_.clear();
    spans_.clear();
    while (batch_.rows.size() < max_rows) {
      auto text = window_.text();
      auto frame = find_row(text, options_.csv.quote, options_.csv.delimiter, window_.last());
      if (frame.is == row_frame::state::open) {
        if (text.size() > options_.max_row_bytes) {
          auto feed = text.find('\n');
          if (feed == std::string_view::npos || feed > options_.max_row_bytes) {
            if (!batch_.rows.empty())
              break;
            TROUPE_CHECK(refuse_long_row());
          } else { // Quotes run on over far too many lines: only the first of them is lost.
            frame = {row_frame::state::broken, feed, feed + 1, "a quote is opened and never closed"};
            take(text, frame);
          }
          continue;
        }
        // Rows of this batch point into the window: it moves only while there are none.
        if (!batch_.rows.empty() || (window_.last() && text.empty()))
          break;
        TROUPE_CHECK(window_.refill());
        continue;
      }
      take(text, frame);
    }
    for (std::size_t i = 0; i < spans_.size(); ++i)
      batch_.rows[i].fields = std::span{batch_.fields}.subspan(spans_[i].first, spans_[i].second);
    batch_.after = {rows_, window_.offset()};
    return &batch_;
  }

  std::uint64_t bytes_read() const noexcept override { return window_.stream().disk_bytes_read(); }

private:
  void take(std::string_view text, const row_frame& frame) {
    auto bytes = text.substr(0, frame.length);
    auto offset = window_.offset();
    window_.consume(frame.consumed);
    if (bytes.empty())
      return;
    auto& row = batch_.rows.emplace_back();
    row.bytes = bytes;
    row.number = ++rows_;
    row.offset = offset;
    auto first = batch_.fields.size();
    if (frame.is == row_frame::state::broken)
      row.refused = refusal{"parse", "", std::string{frame.reason}};
    else if (bytes.size() > options_.max_row_bytes)
      row.refused = too_long();
    else if (csv_)
      row.refused = decoder_.split(bytes, columns_, batch_.fields, batch_.made);
    else
      row.refused = decoder_.to_utf8(bytes, row.text, batch_.made);
    if (row.refused) {
      batch_.fields.resize(first);
      if (bytes.size() > std::max(options_.max_row_bytes, kept_of_long_row))
        row.bytes = beginning_of(bytes);
    }
    spans_.emplace_back(first, batch_.fields.size() - first);
  }

  /// With a line feed behind it, which no row has: nobody takes it for a whole one.
  std::string_view beginning_of(std::string_view row) {
    return batch_.made.emplace_back(row.substr(0, kept_of_long_row)) += '\n';
  }

  refusal too_long() const {
    return {"parse", "", fmt::format("the row is longer than {} bytes", options_.max_row_bytes)};
  }

  /// Leaves out everything up to the next line feed.
  expected<void> refuse_long_row() {
    auto offset = window_.offset();
    auto kept = beginning_of(window_.text());
    while (true) {
      auto text = window_.text();
      auto feed = text.find('\n');
      window_.consume(feed == std::string_view::npos ? text.size() : feed + 1);
      if (feed != std::string_view::npos || window_.last())
        break;
      TROUPE_CHECK(window_.refill());
    }
    auto& row = batch_.rows.emplace_back();
    row.bytes = kept;
    row.number = ++rows_;
    row.offset = offset;
    row.refused = too_long();
    spans_.emplace_back(batch_.fields.size(), 0);
    return {};
  }

  /// One complete row from the window, which moves as it must.
  expected<row_frame> whole_row(const std::optional<char>& quote) {
    while (true) {
      auto frame = find_row(window_.text(), quote, options_.csv.delimiter, window_.last());
      if (frame.is != row_frame::state::open)
        return frame;
      if (window_.last())
        return fail(ec::invalid_argument, "cannot read {}: it ends before the first row", path_.string());
      if (window_.text().size() > options_.max_row_bytes)
        return fail(ec::invalid_argument, "cannot read {}: its first line is longer than {} bytes",
                    path_.string(), options_.max_row_bytes);
      TROUPE_CHECK(window_.refill());
    }
  }

  expected<void> read_head() {
    for (std::uint64_t i = 0; i < options_.csv.skip_rows; ++i) {
      TROUPE_TRY(line, whole_row(std::nullopt));
      window_.consume(line.consumed);
    }
    columns_ = options_.csv.columns;
    if (!options_.csv.header)
      return {};
    TROUPE_TRY(head, whole_row(options_.csv.quote));
    std::vector<std::string_view> names;
    std::deque<std::string> made;
    auto wrong = decoder_.split(window_.text().substr(0, head.length), {}, names, made);
    if (wrong)
      return fail(ec::invalid_argument, "cannot read the header of {}: {}", path_.string(), wrong->reason);
    columns_.assign(names.begin(), names.end());
    window_.consume(head.consumed);
    std::set<std::string_view> seen;
    for (auto& each : columns_)
      if (!each.empty() && !seen.insert(each).second)
        return fail(ec::invalid_argument, "cannot read {}: its header names column {} twice", path_.string(),
                    each);
    return {};
  }

  std::filesystem::path path_;
  source_options options_;
  window window_;
  row_decoder decoder_;
  bool csv_;
  std::uint64_t rows_ = 0;
  row_batch batch_;
  std::vector<std::pair<std::size_t, std::size_t>> spans_;
};

} // namespace

expected<std::unique_ptr<source_reader>> open_text(const std::filesystem::path& path, file_format format,
                                                   const source_options& options, source_position from) {
  if (options.csv.delimiter.empty() || options.csv.delimiter.find('\n') != std::string::npos)
    return fail(ec::invalid_argument, "cannot read {}: the delimiter must not be empty or hold a line feed",
                path.string());
  TROUPE_TRY(stream, open_stream(path, options.stop));
  auto reader = std::make_unique<text_reader>(path, format, options, std::move(stream));
  TROUPE_CHECK(reader->start(from));
  return reader;
}

} // namespace troupe::ingest_format
