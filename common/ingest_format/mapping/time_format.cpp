#include "common/ingest_format/mapping/time_format.hpp"

namespace troupe::ingest_format {

namespace {

constexpr std::int64_t year_1 = -62135596800000000, year_10000 = 253402300800000000;

std::optional<timestamp> bounded(std::int64_t micros) {
  return micros >= year_1 && micros < year_10000 ? std::optional{from_micros(micros)} : std::nullopt;
}

bool is_digit(char each) noexcept {
  return each >= '0' && each <= '9';
}

/// Takes up to `most` digits off the front.
std::optional<int> take_digits(std::string_view& text, std::size_t most) {
  std::size_t count = 0;
  int value = 0;
  while (count < most && count < text.size() && is_digit(text[count]))
    value = value * 10 + (text[count++] - '0');
  text.remove_prefix(count);
  return count > 0 ? std::optional{value} : std::nullopt;
}

std::optional<int> take_month(std::string_view& text) {
  constexpr std::string_view names = "janfebmaraprmayjunjulaugsepoctnovdec";
  if (text.size() < 3)
    return std::nullopt;
  char word[3];
  for (std::size_t i = 0; i < 3; ++i)
    word[i] = static_cast<char>(text[i] | 0x20);
  text.remove_prefix(3);
  for (std::size_t i = 0; i < 12; ++i)
    if (names.substr(i * 3, 3) == std::string_view{word, 3})
      return static_cast<int>(i) + 1;
  return std::nullopt;
}

/// Seconds east of UTC: `Z`, `+01:00`, `-0530`.
std::optional<int> take_zone(std::string_view& text) {
  if (text.starts_with('Z')) {
    text.remove_prefix(1);
    return 0;
  }
  if (text.empty() || (text.front() != '+' && text.front() != '-'))
    return std::nullopt;
  int sign = text.front() == '-' ? -1 : 1;
  text.remove_prefix(1);
  auto hours = take_digits(text, 2);
  if (text.starts_with(':'))
    text.remove_prefix(1);
  auto minutes = take_digits(text, 2);
  if (!hours || !minutes || *hours > 23 || *minutes > 59)
    return std::nullopt;
  return sign * (*hours * 3600 + *minutes * 60);
}

} // namespace

expected<time_format> time_format::parse(std::string_view text) {
  time_format made;
  made.text_ = text;
  constexpr std::pair<std::string_view, style> known[] = {{"unix_s", style::seconds},
                                                          {"unix_ms", style::milliseconds},
                                                          {"unix_us", style::microseconds},
                                                          {"rfc3339", style::rfc3339},
                                                          {"auto", style::either}};
  for (auto& [name, as] : known)
    if (name == text) {
      made.style_ = as;
      return made;
    }
  made.style_ = style::pattern;
  bool year = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%')
      continue;
    if (++i == text.size() || std::string_view{"YmdbHMSfz%"}.find(text[i]) == std::string_view::npos)
      return fail(ec::invalid_argument,
                  "time format `{}` is wrong at character {}: known are %Y %m %d %b %H %M %S %f %z %%", text,
                  i);
    year |= text[i] == 'Y';
  }
  if (!year)
    return fail(ec::invalid_argument,
                "time format `{}` is neither unix_s, unix_ms, unix_us, rfc3339, auto nor a pattern with %Y",
                text);
  return made;
}

std::optional<timestamp> time_format::read(std::string_view text) const {
  switch (style_) {
  case style::seconds:
    return parse_epoch(text, epoch_unit::seconds);
  case style::milliseconds:
    return parse_epoch(text, epoch_unit::milliseconds);
  case style::microseconds:
    return parse_epoch(text, epoch_unit::microseconds);
  case style::either:
    if (auto at = parse_time(text))
      return *at;
    return std::nullopt;
  case style::rfc3339:
    if (auto at = parse_rfc3339(text))
      return *at;
    return std::nullopt;
  case style::pattern:
    return read_pattern(text);
  }
  return std::nullopt;
}

std::optional<timestamp> time_format::read_pattern(std::string_view text) const {
  int year = 1970, month = 1, day = 1, hour = 0, minute = 0, second = 0, zone = 0;
  std::int64_t micros = 0;
  for (std::size_t i = 0; i < text_.size(); ++i) {
    if (text_[i] != '%' || text_[i + 1] == '%') {
      i += text_[i] == '%';
      if (text.empty() || text.front() != text_[i])
        return std::nullopt;
      text.remove_prefix(1);
      continue;
    }
    std::optional<int> part;
    switch (text_[++i]) {
    case 'Y':
      part = take_digits(text, 4);
      year = part.value_or(0);
      break;
    case 'm':
      part = take_digits(text, 2);
      month = part.value_or(0);
      break;
    case 'b':
      part = take_month(text);
      month = part.value_or(0);
      break;
    case 'd':
      part = take_digits(text, 2);
      day = part.value_or(0);
      break;
    case 'H':
      part = take_digits(text, 2);
      hour = part.value_or(0);
      break;
    case 'M':
      part = take_digits(text, 2);
      minute = part.value_or(0);
      break;
    case 'S':
      part = take_digits(text, 2);
      second = part.value_or(0);
      break;
    case 'z':
      part = take_zone(text);
      zone = part.value_or(0);
      break;
    case 'f': {
      auto before = text.size();
      part = take_digits(text, 6);
      micros = part.value_or(0);
      for (auto taken = before - text.size(); taken < 6; ++taken)
        micros *= 10;
      break;
    }
    }
    if (!part)
      return std::nullopt;
  }
  std::chrono::year_month_day date{std::chrono::year{year}, std::chrono::month{static_cast<unsigned>(month)},
                                   std::chrono::day{static_cast<unsigned>(day)}};
  if (!text.empty() || !date.ok() || hour > 23 || minute > 59 || second > 60)
    return std::nullopt;
  auto seconds = std::chrono::sys_days{date}.time_since_epoch().count() * std::int64_t{86'400} + hour * 3600 +
                 minute * 60 + second - zone;
  return bounded(seconds * 1'000'000 + micros);
}

} // namespace troupe::ingest_format
