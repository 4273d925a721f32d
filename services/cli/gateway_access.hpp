#pragma once

#include "services/cli/context.hpp"

#include "common/http/client.hpp"

#include <boost/json/value.hpp>

namespace troupe::cli {

/// How to reach the gateway; `--url`, `--api-key`, `--ca` of the commands that speak HTTP.
struct gateway_options {
  std::string url;
  std::string key;
  std::string ca_file;

  void bind(command_line::command& sub);
};

/// One connection to the gateway of the fleet. Not thread-safe; make one per thread.
class gateway_access {
public:
  /// Without `--url`: 127.0.0.1, with the port and the scheme in `<data>/run/gateway-0.port`; where the
  /// catalog has the gateways on other hosts, the first of them.
  static expected<gateway_access> open(context& own, const gateway_options& given);

  /// The JSON of a 2xx answer; a problem document is an error with its detail.
  expected<boost::json::value> call(std::string_view method, std::string_view target, std::string body = {});

private:
  gateway_access(http::client to, http::header_list headers, std::string url)
      : client_{std::move(to)}, headers_{std::move(headers)}, url_{std::move(url)} {}

  http::client client_;
  http::header_list headers_;
  std::string url_; ///< For messages.
};

/// A text of an object; empty where there is none.
std::string text_at(const boost::json::value& from, std::string_view key);
double number_at(const boost::json::value& from, std::string_view key);

} // namespace troupe::cli
