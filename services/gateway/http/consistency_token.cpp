#include "services/gateway/http/consistency_token.hpp"

#include "common/http/router.hpp"

#include <algorithm>
#include <charconv>

namespace troupe::gateway {

namespace {

error not_a_token() {
  return {ec::invalid_argument,
          "X-Consistency-Token is not what the answer to a write had there (partition:offset,...)"};
}

expected<log_offsets> read_offsets(std::string_view text) {
  log_offsets out;
  const auto* at = text.data();
  const auto* end = at + text.size();
  while (at != end) {
    std::uint32_t partition = 0;
    std::uint64_t offset = 0;
    auto [colon, err] = std::from_chars(at, end, partition);
    if (err != std::errc{} || colon == end || *colon != ':')
      return unexpected<error>{not_a_token()};
    auto [next, wrong] = std::from_chars(colon + 1, end, offset);
    if (wrong != std::errc{} || out.size() == 1'024)
      return unexpected<error>{not_a_token()};
    out.emplace_back(partition, offset);
    if (next == end)
      return out;
    if (*next != ',' || next + 1 == end)
      return unexpected<error>{not_a_token()};
    at = next + 1;
  }
  return out;
}

} // namespace

std::string write_token(const consistency_token& token) {
  std::string out;
  for (const auto& [partition, offset] : token.offsets)
    out += fmt::format("{}{}:{}", out.empty() ? "" : ",", partition, offset);
  auto named = std::min(token.deleted_items.size(), most_deleted_items);
  for (std::size_t i = 0; i < named; ++i)
    out += ";" + http::percent_encode(token.deleted_items[i]);
  return out;
}

expected<consistency_token> parse_token(std::string_view text) {
  consistency_token out;
  auto items = text.find(';');
  TROUPE_TRY(offsets, read_offsets(text.substr(0, items)));
  out.offsets = std::move(offsets);
  while (items != std::string_view::npos) {
    text.remove_prefix(items + 1);
    items = text.find(';');
    auto given = text.substr(0, items);
    auto item = http::percent_decode(given);
    if (!item || item->empty() || http::percent_encode(*item) != given ||
        out.deleted_items.size() == most_deleted_items)
      return unexpected<error>{not_a_token()};
    out.deleted_items.push_back(std::move(*item));
  }
  return out;
}

} // namespace troupe::gateway
