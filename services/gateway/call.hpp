#pragma once

#include "services/gateway/api.hpp"
#include "services/gateway/token.hpp"

#include "common/http/problem.hpp"
#include "common/net/payload.hpp"

#include <boost/json.hpp>
#include <sodium.h>

#include <cmath>

/// What the files of the API share: one request under way, and the small steps between wire and JSON.
namespace troupe::gateway {

namespace json = boost::json;
using flatbuffers::FlatBufferBuilder;
using namespace std::chrono_literals;

using net::bytes_of;
using net::read_as;

inline json::string text(const flatbuffers::String* from) {
  auto view = text_of(from);
  return json::string{view.data(), view.size()};
}

template <class Vector>
json::array texts(const Vector* from) {
  json::array out;
  if (from)
    for (const auto* each : *from)
      out.push_back(text(each));
  return out;
}

inline json::value number(double value) {
  return std::isfinite(value) ? json::value(value) : json::value(nullptr);
}

inline std::uint64_t random_word() {
  std::uint64_t out = 0;
  randombytes_buf(&out, sizeof out);
  return out;
}

inline expected<net::client*> must_have(const std::shared_ptr<net::client>& client, std::string_view name) {
  if (!client)
    return fail(ec::unavailable, "the catalog of this fleet has no {}", name);
  return client.get();
}

inline http::response json_answer(const json::value& what) {
  return {200, "application/json", json::serialize(what)};
}

struct api::call {
  http::request asked;
  http::responder respond;
  const route* to = nullptr;
  std::vector<std::string> parameters;
  http::query_values query;
  net::trace_context trace;
  std::string caller;
  double rate = 0; ///< Of the caller; 0: that of the gateway.
  bool counted = false;
  consistency_token after; ///< What the answer must have seen.
  std::string token;       ///< Of a write: what a read takes to see it.
  // Of recommendations.
  std::string request_id;
  gateway::ask wanted;
  gateway::arm arm;
  std::string release; ///< The one that answered; else that of the arm.
  routing_ptr table;
  bool detail = false;
  bool hurried = false;       ///< Its caller gives it less time than it may take.
  std::uint64_t asked_us = 0; ///< When the ranker was asked, as `us()`.
  std::uint64_t us() const {
    return static_cast<std::uint64_t>(
        std::max<std::int64_t>(0, (deadline::clock::now() - asked.arrived) / 1us));
  }
};

} // namespace troupe::gateway
