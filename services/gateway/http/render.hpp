#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/http/server.hpp"

#include "schemas/ranker_generated.h"

#include <boost/json.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Between wire and JSON.
namespace troupe::gateway {

namespace json = boost::json;

// What is made lies in the memory `in`.
json::string text(const flatbuffers::String* from, json::storage_ptr in = {});

template <class Vector>
json::array texts(const Vector* from, json::storage_ptr in = {}) {
  json::array out(in);
  if (from)
    for (const auto* each : *from)
      out.push_back(text(each, in));
  return out;
}

/// null for what is no number.
json::value number(double value);

http::response json_answer(const json::value& what);

json::object ranked_json(const wire::RankedItem& from, std::size_t position, bool explain,
                         json::storage_ptr in = {});
json::array stages_json(const wire::RankReply& from);
json::array features_json(const wire::RankReply& from);

/// `{"considered": 12, "left_out": {"seen": 12}}`: why an answer has fewer items than were asked for. Empty
/// where the ranker gave as many.
json::object short_page_json(const wire::RankReply& from);
json::object short_page_json(std::size_t considered,
                             const std::vector<std::pair<std::string_view, std::size_t>>& left_out);

/// What is kept of a request: the gateway's own part as one line of JSON, and behind it what the ranker
/// answered, as it came. Rendered when somebody asks.
std::string keep_inspection(const json::object& own, const chunk& reply);
expected<std::string> render_inspection(std::string_view kept);

} // namespace troupe::gateway
