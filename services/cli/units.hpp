#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// Numbers for people. Names carry the unit that a number is sent in (`p99_us`, `free_bytes`, `error_rate`);
/// a table shows the name without it and the number with one that fits.
namespace troupe::cli {

/// `p99` of `p99_us`.
std::string_view name_without_unit(std::string_view name);

/// `500 ms` of 500000 under `p99_us`, `1.5 GiB`, `0.25 %`; `-` for what is not finite. Never an exponent.
std::string value_with_unit(std::string_view name, double value);

/// An instant to the second: `2026-01-01T00:00:00`; empty for 0, which is none.
std::string short_time(std::int64_t micros);

} // namespace troupe::cli
