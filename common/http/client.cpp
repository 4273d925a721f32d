#include "common/http/client.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <charconv>
#include <optional>

namespace troupe::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;

expected<client_target> client_target::parse(std::string_view url) {
  client_target out;
  auto rest = url;
  if (rest.starts_with("https://")) {
    out.tls = true;
    out.port = 443;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return fail(ec::invalid_argument, "{} is no address of a server: it begins with http:// or https://",
                url);
  }
  rest = rest.substr(0, rest.find('/'));
  auto colon = rest.rfind(':');
  if (colon != std::string_view::npos && rest.find(']', colon) == std::string_view::npos) {
    auto digits = rest.substr(colon + 1);
    auto [end, err] = std::from_chars(digits.data(), digits.data() + digits.size(), out.port);
    if (err != std::errc{} || end != digits.data() + digits.size())
      return fail(ec::invalid_argument, "{} has no port from 0 to 65535 after the colon", url);
    rest = rest.substr(0, colon);
  }
  if (rest.starts_with('[') && rest.ends_with(']'))
    rest = rest.substr(1, rest.size() - 2);
  if (rest.empty())
    return fail(ec::invalid_argument, "{} names no host", url);
  out.host = rest;
  return out;
}

struct client::state {
  client_target to;
  asio::io_context io{1};
  asio::ssl::context tls{asio::ssl::context::tls_client};
  std::optional<tcp::socket> plain;
  std::optional<asio::ssl::stream<tcp::socket>> secure;
  beast::flat_buffer buffer;

  bool open() const { return plain || secure; }
  void close() {
    plain.reset();
    secure.reset();
    buffer.clear();
  }

  /// Runs what was begun; false when the deadline came first.
  template <class Begin>
  beast::error_code wait(deadline until, Begin begin) {
    std::optional<beast::error_code> ended;
    begin([&ended](beast::error_code err, auto&&...) { ended = err; });
    io.restart();
    io.run_until(until.at());
    if (ended)
      return *ended;
    // What is under way must end before what it points to does.
    beast::error_code ignored;
    if (plain)
      plain->close(ignored);
    if (secure)
      secure->next_layer().close(ignored);
    io.restart();
    io.run();
    return asio::error::timed_out;
  }

  beast::error_code connect(deadline until) {
    tcp::resolver resolver{io};
    beast::error_code err;
    auto found = resolver.resolve(to.host, std::to_string(to.port), err);
    if (err)
      return err;
    plain.emplace(io);
    err = wait(until, [&](auto done) { asio::async_connect(*plain, found, std::move(done)); });
    if (err)
      return err;
    plain->set_option(tcp::no_delay{true}, err);
    if (!to.tls)
      return {};
    if (to.ca_file.empty())
      tls.set_default_verify_paths(err);
    else
      tls.load_verify_file(to.ca_file, err);
    if (err)
      return err;
    secure.emplace(std::move(*plain), tls);
    plain.reset();
    secure->set_verify_mode(asio::ssl::verify_peer, err);
    secure->set_verify_callback(asio::ssl::host_name_verification{to.host}, err);
    SSL_set_tlsext_host_name(secure->native_handle(), to.host.c_str());
    return wait(until,
                [&](auto done) { secure->async_handshake(asio::ssl::stream_base::client, std::move(done)); });
  }

  template <class Stream>
  beast::error_code exchange(Stream& stream, const beast::http::request<beast::http::string_body>& asked,
                             beast::http::response_parser<beast::http::string_body>& answer, deadline until) {
    auto err = wait(until, [&](auto done) { beast::http::async_write(stream, asked, std::move(done)); });
    // A server may answer before it has read everything, and close: its answer counts.
    if (err && err != asio::error::broken_pipe && err != asio::error::connection_reset)
      return err;
    auto got =
        wait(until, [&](auto done) { beast::http::async_read(stream, buffer, answer, std::move(done)); });
    return got;
  }
};

client::client(client_target to) : state_{std::make_unique<state>()} {
  state_->to = std::move(to);
}
client::~client() = default;
client::client(client&&) noexcept = default;
client& client::operator=(client&&) noexcept = default;

expected<response> client::call(std::string_view method, std::string_view target, std::string body,
                                deadline until, const header_list& headers) {
  beast::http::request<beast::http::string_body> asked;
  asked.version(11);
  asked.method_string({method.data(), method.size()});
  asked.target({target.data(), target.size()});
  asked.set(beast::http::field::host, state_->to.host);
  for (const auto& [name, value] : headers)
    asked.set(name, value);
  asked.body() = std::move(body);
  asked.prepare_payload();
  for (bool again = false;; again = true) {
    bool kept = state_->open();
    beast::error_code err;
    if (!kept)
      err = state_->connect(until);
    if (err) {
      state_->close();
      return fail(err == asio::error::timed_out ? ec::too_late : ec::unavailable,
                  "cannot connect to {}:{}: {}", state_->to.host, state_->to.port, err.message());
    }
    beast::http::response_parser<beast::http::string_body> answer;
    answer.body_limit(std::uint64_t{256} << 20);
    answer.skip(method == "HEAD");
    err = state_->secure ? state_->exchange(*state_->secure, asked, answer, until)
                         : state_->exchange(*state_->plain, asked, answer, until);
    if (err) {
      state_->close();
      if (kept && !again && err != asio::error::timed_out)
        continue;
      return fail(err == asio::error::timed_out ? ec::too_late : ec::unavailable,
                  "cannot ask {}:{} for {}: {}", state_->to.host, state_->to.port, target, err.message());
    }
    auto got = answer.release();
    response out;
    out.status = got.result_int();
    out.content_type = std::string{got[beast::http::field::content_type]};
    for (const auto& field : got)
      out.headers.emplace_back(std::string{field.name_string()}, std::string{field.value()});
    out.body = std::move(got.body());
    if (!got.keep_alive())
      state_->close();
    return out;
  }
}

} // namespace troupe::http
