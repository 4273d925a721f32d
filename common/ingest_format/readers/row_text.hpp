#pragma once

#include "common/ingest_format/readers/source.hpp"

#include <memory>

namespace troupe::ingest_format {

/// Where a row ends in a text.
struct row_frame {
  enum class state : std::uint8_t { complete, open, broken } is = state::open;
  std::size_t length = 0;    ///< Of the row without its line end.
  std::size_t consumed = 0;  ///< With it.
  std::string_view reason{}; ///< Why it is broken; the row is the first line then.
};

/// Finds the end of the row that begins at the first byte of `text`. A line feed inside quotes does not end
/// it. `last`: no more bytes follow.
row_frame find_row(std::string_view text, const std::optional<char>& quote, std::string_view delimiter,
                   bool last);

/// Turns the bytes of one row into its columns in UTF-8. Not thread-safe.
class row_decoder {
public:
  row_decoder(csv_dialect dialect, text_encoding encoding);
  ~row_decoder();
  row_decoder(row_decoder&&) noexcept;
  row_decoder& operator=(row_decoder&&) noexcept;

  /// Appends the columns to `fields`; views point into `bytes` or into strings added to `made`. With
  /// `columns` their number is checked, and their names tell where text is broken.
  std::optional<refusal> split(std::string_view bytes, const std::vector<std::string>& columns,
                               std::vector<std::string_view>& fields, std::deque<std::string>& made);

  /// The bytes in UTF-8 as a view on themselves or on a string added to `made`.
  std::optional<refusal> to_utf8(std::string_view bytes, std::string_view& text,
                                 std::deque<std::string>& made);

private:
  struct converter;
  csv_dialect dialect_;
  text_encoding encoding_;
  std::unique_ptr<converter> converter_;
};

} // namespace troupe::ingest_format
