#pragma once

#include "common/http/server.hpp"

#include <boost/beast/http/basic_parser.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace troupe::http {

/// Beast's parser of a request, which puts what it finds where handlers read it: no container of its own
/// between the bytes and the request.
class request_parser final : public boost::beast::http::basic_parser<true> {
public:
  /// Fields of one name.
  struct field_seen {
    std::string first; ///< Value of the first of them.
    std::uint32_t count = 0;
  };

  /// Method, headers and body; path and query are still in `target`.
  request& asked() noexcept { return asked_; }
  const std::string& target() const noexcept { return target_; }
  int version() const noexcept { return version_; }
  const field_seen& hosts() const noexcept { return hosts_; }
  const field_seen& lengths() const noexcept { return lengths_; }
  const field_seen& codings() const noexcept { return codings_; }
  bool expects() const noexcept { return expects_; }

private:
  using field = boost::beast::http::field;
  using text = boost::beast::string_view;
  using error_code = boost::beast::error_code;

  static std::string_view view(text from) { return {from.data(), from.size()}; }

  void on_request_impl(boost::beast::http::verb, text method, text target, int version,
                       error_code&) override {
    asked_.method = view(method);
    target_ = view(target);
    version_ = version;
  }
  void on_response_impl(int, text, int, error_code&) override {}
  void on_field_impl(field which, text name, text value, error_code&) override {
    if (is_header_done())
      return; // Behind a chunked body it is no header: it must not become a key or a host (RFC 9110, 6.5.1).
    asked_.headers.emplace_back(view(name), view(value));
    auto count = [&](field_seen& into) {
      if (into.count++ == 0)
        into.first = view(value);
    };
    if (which == field::host)
      count(hosts_);
    else if (which == field::content_length)
      count(lengths_);
    else if (which == field::transfer_encoding)
      count(codings_);
    else if (which == field::expect)
      expects_ = true;
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(text body, error_code&) override {
    asked_.body += view(body);
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, text, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, text body, error_code&) override {
    asked_.body += view(body);
    return body.size();
  }
  void on_finish_impl(error_code&) override {}

  request asked_;
  std::string target_;
  int version_ = 11;
  field_seen hosts_, lengths_, codings_;
  bool expects_ = false;
};

} // namespace troupe::http
