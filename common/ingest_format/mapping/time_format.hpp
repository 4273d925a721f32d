#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::ingest_format {

/// How a time is written: `unix_s`, `unix_ms`, `unix_us` (a fraction is allowed), `rfc3339`, `auto` (as
/// `parse_time` reads it: RFC 3339, or a number since 1970 by its size), or a pattern of %Y %m %d %b %H %M %S
/// %f %z %% and literal characters, such as `%d-%b-%Y`. Month names are the English ones of three letters.
class time_format {
public:
  static expected<time_format> parse(std::string_view text);

  time_format() = default;

  /// Nothing where the text is no such time or lies outside the years 1 to 9999.
  std::optional<timestamp> read(std::string_view text) const;

  const std::string& text() const noexcept { return text_; }

private:
  enum class style : std::uint8_t { seconds, milliseconds, microseconds, rfc3339, either, pattern };

  std::optional<timestamp> read_pattern(std::string_view text) const;

  style style_ = style::either;
  std::string text_ = "auto";
};

} // namespace troupe::ingest_format
