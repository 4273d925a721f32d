#include "common/http/server.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <optional>
#include <thread>
#include <unordered_set>

namespace troupe::http {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;
using beast_request = beast::http::request_parser<beast::http::string_body>;
using beast_response = beast::http::response<beast::http::string_body>;

class session;

struct shared_state {
  server_options options;
  handler handle;
  std::unordered_set<session*> open;
};

/// One connection: reads a request, answers it, reads the next.
class session : public std::enable_shared_from_this<session> {
public:
  session(tcp::socket socket, shared_state& owner) : stream_{std::move(socket)}, owner_{owner} {
    owner_.open.insert(this);
  }
  ~session() { owner_.open.erase(this); }
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  void read() {
    parser_.emplace();
    parser_->body_limit(owner_.options.max_body);
    parser_->header_limit(owner_.options.max_header);
    stream_.expires_after(owner_.options.idle);
    beast::http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](beast::error_code err, std::size_t) { self->on_read(err); });
  }

private:
  void on_read(beast::error_code err) {
    if (err == beast::http::error::body_limit || err == beast::http::error::header_limit)
      return answer({413, "text/plain; charset=utf-8", "the request is larger than this server takes\n"},
                    false);
    if (err && err.category() == beast::http::make_error_code(beast::http::error::bad_method).category() &&
        err != beast::http::error::end_of_stream && err != beast::http::error::partial_message)
      return answer({400, "text/plain; charset=utf-8", "this is not HTTP/1.1: " + err.message() + "\n"},
                    false);
    if (err)
      return;
    const auto& got = parser_->get();
    std::string_view target{got.target().data(), got.target().size()};
    auto mark = target.find('?');
    request asked{std::string{got.method_string()}, std::string{target.substr(0, mark)},
                  mark == std::string_view::npos ? std::string{} : std::string{target.substr(mark + 1)},
                  got.body()};
    answer(owner_.handle(asked), got.keep_alive());
  }

  void answer(response given, bool keep) {
    response_.emplace();
    response_->version(11);
    response_->result(given.status);
    response_->set(beast::http::field::content_type, given.content_type);
    response_->set(beast::http::field::cache_control, "no-store");
    response_->body() = std::move(given.body);
    response_->keep_alive(keep);
    response_->prepare_payload();
    stream_.expires_after(owner_.options.idle);
    beast::http::async_write(stream_, *response_,
                             [self = shared_from_this(), keep](beast::error_code err, std::size_t) {
                               if (!err && keep)
                                 return self->read();
                               beast::error_code ignored;
                               self->stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
                             });
  }

  beast::tcp_stream stream_;
  shared_state& owner_;
  beast::flat_buffer buffer_;
  std::optional<beast_request> parser_;
  std::optional<beast_response> response_;
};

} // namespace

struct server::state {
  shared_state shared;
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  asio::steady_timer pause{io};
  std::uint16_t port = 0;
  std::thread thread;

  void accept() {
    acceptor.async_accept([this](beast::error_code err, tcp::socket socket) {
      if (err == asio::error::operation_aborted || !acceptor.is_open())
        return;
      if (err) {
        // Out of descriptors, most likely: wait for some to come back.
        pause.expires_after(std::chrono::milliseconds{100});
        pause.async_wait([this](beast::error_code stopped) {
          if (!stopped)
            accept();
        });
        return;
      }
      if (shared.open.size() < shared.options.max_connections)
        std::make_shared<session>(std::move(socket), shared)->read();
      accept();
    });
  }
};

server::server(std::unique_ptr<state> state) : state_{std::move(state)} {}

server::~server() {
  state_->io.stop();
  state_->thread.join();
}

std::uint16_t server::port() const noexcept {
  return state_->port;
}

expected<std::unique_ptr<server>> server::start(server_options options, handler handle) {
  auto made = std::make_unique<state>();
  beast::error_code err;
  auto address = asio::ip::make_address(options.address, err);
  if (err)
    return fail(ec::invalid_argument, "cannot listen on {}: not an IP address", options.address);
  tcp::endpoint endpoint{address, options.port};
  made->acceptor.open(endpoint.protocol(), err);
  if (!err)
    made->acceptor.set_option(asio::socket_base::reuse_address(true), err);
  if (!err)
    made->acceptor.bind(endpoint, err);
  if (!err)
    made->acceptor.listen(asio::socket_base::max_listen_connections, err);
  if (err)
    return fail(ec::io_failed, "cannot listen on {}:{}: {}", options.address, options.port, err.message());
  made->port = made->acceptor.local_endpoint().port();
  made->shared.options = std::move(options);
  made->shared.handle = std::move(handle);
  made->accept();
  made->thread = std::thread{[state = made.get()] { state->io.run(); }};
  return std::unique_ptr<server>{new server{std::move(made)}};
}

} // namespace troupe::http
