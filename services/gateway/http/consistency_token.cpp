#include "services/gateway/http/consistency_token.hpp"

#include "common/http/router.hpp"

#include <algorithm>
#include <charconv>
#include <unordered_map>

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

constexpr std::string_view more_mark = "*";

/// No id begins with one of these: they are percent-encoded.
std::string_view mark_of(item_change change) {
  return change == item_change::hidden ? "!" : change == item_change::written ? "+" : "";
}

} // namespace

item_change change_by(const record& of_item) {
  auto has = [&](std::string_view name) {
    return std::ranges::any_of(of_item.attributes, [&](const attribute& each) {
      return each.name == name && each.value == attribute_value{true};
    });
  };
  return has("deleted") ? item_change::deleted : has("hidden") ? item_change::hidden : item_change::written;
}

void consistency_token::name(std::vector<changed_item> more) {
  items.reserve(items.size() + more.size()); // What is looked up below stays where it is.
  std::unordered_map<std::string_view, changed_item*> known;
  for (auto& each : items)
    known.emplace(each.item, &each);
  for (auto& each : more)
    if (auto found = known.find(each.item); found == known.end()) {
      auto& added = items.emplace_back(std::move(each));
      known.emplace(added.item, &added);
    } else if (found->second->change != each.change) {
      found->second->change = item_change::written;
    }
}

std::string write_token(const consistency_token& token) {
  std::string out;
  for (const auto& [partition, offset] : token.offsets)
    out += fmt::format("{}{}:{}", out.empty() ? "" : ",", partition, offset);
  std::size_t named = 0, bytes = 0;
  bool more = token.more_items;
  for (bool shown : {false, true})
    for (const auto& each : token.items) {
      if ((each.change == item_change::written) != shown)
        continue;
      if (named == most_named_items) {
        more = true;
        break;
      }
      auto text = fmt::format(";{}{}", mark_of(each.change), http::percent_encode(each.item));
      if (bytes + text.size() > most_named_bytes) {
        more = true;
        continue;
      }
      ++named;
      bytes += text.size();
      out += text;
    }
  if (more)
    out += fmt::format(";{}", more_mark);
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
    if (given == more_mark && items == std::string_view::npos) {
      out.more_items = true;
      break;
    }
    auto change = given.starts_with('!')   ? item_change::hidden
                  : given.starts_with('+') ? item_change::written
                                           : item_change::deleted;
    given.remove_prefix(mark_of(change).size());
    auto item = http::percent_decode(given);
    if (!item || item->empty() || http::percent_encode(*item) != given ||
        out.items.size() == most_named_items)
      return unexpected<error>{not_a_token()};
    out.items.push_back({std::move(*item), change});
  }
  return out;
}

} // namespace troupe::gateway
