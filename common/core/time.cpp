#include "common/core/time.hpp"

#include <array>
#include <cctype>
#include <charconv>

namespace troupe {

namespace {

using namespace std::chrono;

/// Reads exactly `width` digits at the front of `text` and drops them.
bool take_number(std::string_view& text, std::size_t width, int& out) {
  if (text.size() < width)
    return false;
  auto [end, err] = std::from_chars(text.data(), text.data() + width, out);
  if (err != std::errc{} || end != text.data() + width || text[0] == '-' || text[0] == '+')
    return false;
  text.remove_prefix(width);
  return true;
}

bool take_char(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos)
    return false;
  text.remove_prefix(1);
  return true;
}

/// Reads `.123456` (any number of digits; those past microseconds are dropped).
bool take_fraction(std::string_view& text, microseconds& out) {
  out = microseconds{0};
  if (!take_char(text, ".,"))
    return true;
  std::int64_t scale = 100000;
  std::size_t digits = 0;
  while (!text.empty() && std::isdigit(static_cast<unsigned char>(text.front()))) {
    out += microseconds{(text.front() - '0') * scale};
    scale /= 10;
    ++digits;
    text.remove_prefix(1);
  }
  return digits > 0;
}

/// Reads `Z`, `+01:00`, `+0100`, `+01` or nothing (UTC).
bool take_zone(std::string_view& text, minutes& out) {
  out = minutes{0};
  if (text.empty() || take_char(text, "Zz"))
    return text.empty();
  bool west = text.front() == '-';
  int hour = 0, minute = 0;
  if (!take_char(text, "+-") || !take_number(text, 2, hour))
    return false;
  take_char(text, ":");
  if (!text.empty() && !take_number(text, 2, minute))
    return false;
  if (hour > 23 || minute > 59)
    return false;
  out = minutes{hour * 60 + minute} * (west ? -1 : 1);
  return text.empty();
}

/// A decimal as it is written: digits * 10^exponent. Behind the first 18 digits nothing is a microsecond.
struct decimal {
  bool negative = false;
  std::int64_t digits = 0;
  int exponent = 0;
};

constexpr int most_digits = 18;

constexpr std::int64_t power_of_ten(int n) noexcept {
  std::int64_t power = 1;
  while (n-- > 0)
    power *= 10;
  return power;
}

std::optional<decimal> read_decimal(std::string_view text) noexcept {
  decimal out;
  out.negative = take_char(text, "-");
  bool any = false;
  auto take_digits = [&](int each_counts) {
    for (; !text.empty() && std::isdigit(static_cast<unsigned char>(text.front())); text.remove_prefix(1)) {
      any = true;
      if (out.digits < power_of_ten(most_digits - 1)) {
        out.digits = out.digits * 10 + (text.front() - '0');
        out.exponent -= each_counts;
      } else {
        out.exponent += 1 - each_counts;
      }
    }
  };
  take_digits(0);
  if (take_char(text, "."))
    take_digits(1);
  if (any && take_char(text, "eE")) {
    text.remove_prefix(text.starts_with('+'));
    int power = 0;
    auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), power);
    if (err != std::errc{} || power < -1'000 || power > 1'000)
      return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    out.exponent += power;
  }
  return any && text.empty() ? std::optional{out} : std::nullopt;
}

/// Whether it is below 10^power, sign aside.
bool below(const decimal& each, int power) noexcept {
  auto left = power - each.exponent;
  return left >= most_digits || each.digits < power_of_ten(std::max(left, 0));
}

/// Microseconds of a unit, as a power of ten.
int power_of(epoch_unit unit, const decimal& number) noexcept {
  switch (unit) {
  case epoch_unit::seconds:
    return 6;
  case epoch_unit::milliseconds:
    return 3;
  case epoch_unit::microseconds:
    return 0;
  case epoch_unit::by_size:
    break;
  }
  return below(number, 11) ? 6 : below(number, 14) ? 3 : below(number, 17) ? 0 : -3;
}

struct unit {
  std::string_view name;
  std::int64_t micros;
};

constexpr std::array units{unit{"w", 604'800'000'000},
                           unit{"d", 86'400'000'000},
                           unit{"h", 3'600'000'000},
                           unit{"m", 60'000'000},
                           unit{"s", 1'000'000},
                           unit{"ms", 1'000},
                           unit{"us", 1}};

} // namespace

std::string to_rfc3339(timestamp at) {
  auto day = floor<days>(at);
  year_month_day date{day};
  hh_mm_ss time{at - day};
  auto year = static_cast<int>(date.year());
  if (year < 0 || year > 9999)
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", year, static_cast<unsigned>(date.month()),
                       static_cast<unsigned>(date.day()), time.hours().count(), time.minutes().count(),
                       time.seconds().count());
  std::string text = "0000-00-00T00:00:00.000000Z"; // Times are written by the million: digit by digit.
  auto put = [&](std::size_t end, auto number) {
    for (auto left = static_cast<std::uint64_t>(number); left > 0; left /= 10)
      text[--end] = static_cast<char>('0' + left % 10);
  };
  put(4, year);
  put(7, static_cast<unsigned>(date.month()));
  put(10, static_cast<unsigned>(date.day()));
  put(13, time.hours().count());
  put(16, time.minutes().count());
  put(19, time.seconds().count());
  put(26, time.subseconds().count());
  if (time.subseconds().count() == 0)
    text.replace(19, 8, "Z");
  return text;
}

expected<timestamp> parse_rfc3339(std::string_view text) {
  auto rest = text;
  auto wrong = [&] { return fail(ec::invalid_argument, "'{}' is not an RFC 3339 time", text); };
  int y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0;
  if (!take_number(rest, 4, y) || !take_char(rest, "-") || !take_number(rest, 2, mo) ||
      !take_char(rest, "-") || !take_number(rest, 2, d))
    return wrong();
  year_month_day date{year{y}, month{static_cast<unsigned>(mo)}, day{static_cast<unsigned>(d)}};
  if (!date.ok())
    return wrong();
  if (rest.empty())
    return timestamp{sys_days{date}};
  microseconds fraction{0};
  minutes zone{0};
  if (!take_char(rest, "Tt ") || !take_number(rest, 2, h) || !take_char(rest, ":") ||
      !take_number(rest, 2, mi))
    return wrong();
  if (take_char(rest, ":") && !take_number(rest, 2, s))
    return wrong();
  if (!take_fraction(rest, fraction) || !take_zone(rest, zone) || h > 23 || mi > 59 || s > 60)
    return wrong();
  return timestamp{sys_days{date}} + hours{h} + minutes{mi} + seconds{s} + fraction - zone;
}

std::optional<timestamp> parse_epoch(std::string_view text, epoch_unit unit) noexcept {
  auto number = read_decimal(text);
  if (!number)
    return std::nullopt;
  number->exponent += power_of(unit, *number);
  if (!below(*number, most_digits))
    return std::nullopt;
  auto at = number->digits;
  if (number->exponent < -most_digits || at == 0)
    at = 0;
  else if (number->exponent < 0)
    at = (at + power_of_ten(-number->exponent) / 2) / power_of_ten(-number->exponent);
  else
    at *= power_of_ten(number->exponent);
  at = number->negative ? -at : at;
  constexpr std::int64_t year_1 = -62135596800000000, year_10000 = 253402300800000000;
  return at >= year_1 && at < year_10000 ? std::optional{from_micros(at)} : std::nullopt;
}

std::optional<timestamp> epoch_of(double number) {
  return parse_epoch(fmt::format("{}", number), epoch_unit::by_size);
}

expected<timestamp> parse_time(std::string_view text) {
  if (auto at = parse_epoch(text, epoch_unit::by_size))
    return *at;
  if (auto at = parse_rfc3339(text))
    return *at;
  return fail(ec::invalid_argument,
              "'{}' is no time: RFC 3339 is one, and a number since 1970, in the years 1 to 9999", text);
}

expected<microseconds> parse_duration(std::string_view text) {
  std::int64_t count = 0;
  auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), count);
  std::string_view name{end, static_cast<std::size_t>(text.data() + text.size() - end)};
  if (err == std::errc{} && count >= 0)
    for (auto& each : units)
      if (each.name == name && count <= INT64_MAX / each.micros)
        return microseconds{count * each.micros};
  return fail(ec::invalid_argument, "'{}' is not a duration such as 150ms, 30s, 5m, 12h, 7d or 2w", text);
}

std::string to_duration_text(microseconds span) {
  for (auto& each : units)
    if (span.count() != 0 && each.name != "w" && span.count() % each.micros == 0)
      return fmt::format("{}{}", span.count() / each.micros, each.name);
  return "0s";
}

} // namespace troupe
