#include "services/gateway/token.hpp"

#include <charconv>

namespace troupe::gateway {

std::string write_token(const log_offsets& offsets) {
  std::string out;
  for (const auto& [partition, offset] : offsets)
    out += fmt::format("{}{}:{}", out.empty() ? "" : ",", partition, offset);
  return out;
}

expected<log_offsets> read_token(std::string_view text) {
  log_offsets out;
  const auto* at = text.data();
  const auto* end = at + text.size();
  auto bad = [&] {
    return fail(ec::invalid_argument,
                "X-Consistency-Token is not what the answer to a write had there (partition:offset,...)");
  };
  while (at != end) {
    std::uint32_t partition = 0;
    std::uint64_t offset = 0;
    auto [colon, err] = std::from_chars(at, end, partition);
    if (err != std::errc{} || colon == end || *colon != ':')
      return bad();
    auto [next, wrong] = std::from_chars(colon + 1, end, offset);
    if (wrong != std::errc{} || out.size() == 1'024)
      return bad();
    out.emplace_back(partition, offset);
    if (next == end)
      return out;
    if (*next != ',' || next + 1 == end)
      return bad();
    at = next + 1;
  }
  return out;
}

} // namespace troupe::gateway
