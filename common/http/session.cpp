#include "common/http/session.hpp"

#include "common/http/problem.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <type_traits>
#include <utility>

namespace troupe::http {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;
using clock_type = deadline::clock;
using beast_request = beast::http::request_parser<beast::http::string_body>;
using beast_response = beast::http::response<beast::http::string_body>;
using secure_stream = asio::ssl::stream<tcp::socket>;

template <class Stream>
class session : public connection, public std::enable_shared_from_this<session<Stream>> {
  static constexpr bool secure = std::is_same_v<Stream, secure_stream>;

public:
  template <class... Args>
  explicit session(std::shared_ptr<hub> owner, Args&&... args)
      : owner_{std::move(owner)}, stream_{std::forward<Args>(args)...} {}
  ~session() override {
    owner_->body_bytes -= held_;
    owner_->leave(this);
  }
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  void begin() override {
    beast::error_code ignored;
    socket().set_option(tcp::no_delay{true}, ignored);
    if constexpr (secure) {
      until(owner_->options.header_timeout);
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](beast::error_code err) {
                                if (!err)
                                  self->wait();
                              });
    } else {
      wait();
    }
  }

  void end(bool only_idle) override {
    asio::post(socket().get_executor(), [self = this->shared_from_this(), only_idle] {
      if (only_idle && !self->idle)
        return; // It closes after its answer: we drain.
      beast::error_code ignored;
      self->socket().close(ignored);
    });
  }

  void forsake() override { waiting_.reset(); }

private:
  tcp::socket& socket() {
    if constexpr (secure)
      return stream_.next_layer();
    else
      return stream_;
  }

  void until(std::chrono::milliseconds span) {
    expires = (clock_type::now() + span).time_since_epoch().count();
  }

  /// Between two requests: no buffer, no parser.
  void wait() {
    idle = true;
    until(owner_->options.idle);
    if (owner_->draining && buffer_.size() == 0)
      return finish();
    if (secure || buffer_.size() != 0)
      return read_header();
    buffer_.shrink_to_fit();
    socket().async_wait(tcp::socket::wait_read, [self = this->shared_from_this()](beast::error_code err) {
      if (!err)
        self->read_header();
    });
  }

  void read_header() {
    parser_.emplace();
    parser_->body_limit(owner_->options.max_body);
    parser_->header_limit(owner_->options.max_header);
    if (!secure || buffer_.size() != 0)
      until(owner_->options.header_timeout);
    beast::http::async_read_header(stream_, buffer_, *parser_,
                                   [self = this->shared_from_this()](beast::error_code err, std::size_t) {
                                     if (err)
                                       return self->refuse(err);
                                     self->read_body();
                                   });
  }

  /// What the parser lets pass and another program on the way may read differently: where a message ends and
  /// whom it is for must not be open (RFC 9112, 3.2 and 6.3).
  std::optional<response> ambiguous() const {
    using beast::http::field;
    const auto& header = parser_->get();
    auto bad = [](const char* why) { return problem(400, "invalid_argument", why); };
    auto hosts = header.count(field::host), lengths = header.count(field::content_length),
         codings = header.count(field::transfer_encoding);
    if (hosts > 1 || (hosts == 0 && header.version() == 11))
      return bad("a request of HTTP/1.1 has one Host");
    if (lengths > 1)
      return bad("there is more than one Content-Length");
    if (codings == 0)
      return std::nullopt;
    if (lengths > 0 || codings > 1 || header.version() != 11)
      return bad("Transfer-Encoding stands alone, once, and in HTTP/1.1 only");
    if (!same_name(header[field::transfer_encoding], "chunked"))
      return problem(501, "invalid_argument", "no Transfer-Encoding but chunked is known");
    return std::nullopt;
  }

  void read_body() {
    idle = false;
    until(owner_->options.body_timeout);
    if (auto wrong = ambiguous())
      return reject(std::move(*wrong));
    parser_->eager(true);
    if (auto expects = parser_->get()[beast::http::field::expect]; !expects.empty()) {
      if (!same_name(expects, "100-continue"))
        return reject(problem(417, "invalid_argument", "no Expect but 100-continue is known"));
      static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
      asio::async_write(stream_, asio::buffer(go_on.data(), go_on.size()),
                        [self = this->shared_from_this()](beast::error_code err, std::size_t) {
                          if (!err)
                            self->read_rest();
                        });
      return;
    }
    read_rest();
  }

  /// Piece by piece: what all bodies together hold is bounded, whatever their headers say.
  void read_rest() {
    if (parser_->is_done())
      return hand_over();
    beast::http::async_read_some(
        stream_, buffer_, *parser_, [self = this->shared_from_this()](beast::error_code err, std::size_t) {
          if (err)
            return self->refuse(err);
          auto grown = self->parser_->get().body().size() - self->held_;
          self->held_ += grown;
          if ((self->owner_->body_bytes += grown) > self->owner_->options.max_bodies) {
            auto full =
                problem({ec::overloaded, "the bodies of requests at work fill the memory they may have"},
                        std::chrono::seconds{1});
            return self->reject(std::move(full));
          }
          self->read_rest();
        });
  }

  void refuse(beast::error_code err) {
    using beast::http::error;
    bool http = err.category() == beast::http::make_error_code(error::bad_method).category();
    if (!http || err == error::end_of_stream || err == error::partial_message)
      return;
    if (err == error::body_limit)
      return reject(problem(
          413, "too_large",
          fmt::format("the body is larger than the {} bytes this server takes", owner_->options.max_body)));
    if (err == error::header_limit)
      return reject(problem(431, "too_large",
                            fmt::format("the header is larger than the {} bytes this server takes",
                                        owner_->options.max_header)));
    reject(problem(400, "invalid_argument", "this is not HTTP/1.1: " + err.message()));
  }

  /// Answers what never reaches the handler, and closes.
  void reject(response given) {
    ++owner_->malformed;
    idle = false;
    head_ = false;
    if (owner_->options.rejected)
      owner_->options.rejected(given.status);
    answer(std::move(given), false);
  }

  void hand_over() {
    ++owner_->requests;
    until(owner_->options.answer_timeout);
    auto got = parser_->release();
    parser_.reset();
    std::string_view target{got.target().data(), got.target().size()};
    auto mark = target.find('?');
    request asked;
    asked.method = std::string{got.method_string()};
    asked.path = target.substr(0, mark);
    if (mark != std::string_view::npos)
      asked.query = target.substr(mark + 1);
    for (const auto& field : got)
      asked.headers.emplace_back(std::string{field.name_string()}, std::string{field.value()});
    asked.body = std::move(got.body());
    beast::error_code err;
    if (auto peer = socket().remote_endpoint(err); !err)
      asked.peer = peer.address().to_string();
    head_ = asked.method == "HEAD";
    bool keep = got.keep_alive();
    // The server ends its sessions before its hub; a late answer finds nobody.
    std::weak_ptr<session> weak = this->weak_from_this();
    auto self = this->shared_from_this();
    waiting_ = self;
    responder respond{[weak, keep](response given) {
      if (auto held = weak.lock())
        asio::post(held->socket().get_executor(), [held, keep, given = std::move(given)]() mutable {
          held->waiting_.reset();
          held->answer(std::move(given), keep);
        });
    }};
    owner_->handle(std::move(asked), std::move(respond));
  }

  void answer(response given, bool keep) {
    parser_.reset();
    owner_->body_bytes -= std::exchange(held_, 0);
    keep = keep && !owner_->draining;
    response_.emplace();
    response_->version(11);
    response_->result(given.status);
    response_->set(beast::http::field::content_type, given.content_type);
    response_->set(beast::http::field::cache_control, "no-store");
    for (const auto& [name, value] : given.headers)
      response_->set(name, value);
    response_->body() = std::move(given.body);
    response_->keep_alive(keep);
    response_->prepare_payload();
    if (head_)
      response_->body().clear();
    until(owner_->options.idle);
    beast::http::async_write(stream_, *response_,
                             [self = this->shared_from_this(), keep](beast::error_code err, std::size_t) {
                               self->response_.reset();
                               if (err)
                                 return;
                               if (keep)
                                 return self->wait();
                               self->finish();
                             });
  }

  /// Says that nothing more comes, and reads what is still under way for a moment: closing at once would take
  /// the answer back from a client that is still sending.
  void finish() {
    beast::error_code ignored;
    socket().shutdown(tcp::socket::shutdown_send, ignored);
    until(std::chrono::seconds{2});
    buffer_.clear();
    discard();
  }

  void discard() {
    static thread_local std::array<char, 16'384> waste;
    socket().async_read_some(asio::buffer(waste),
                             [self = this->shared_from_this()](beast::error_code err, std::size_t) {
                               if (!err)
                                 self->discard();
                             });
  }

  std::shared_ptr<hub> owner_;
  Stream stream_;
  beast::flat_buffer buffer_;
  std::optional<beast_request> parser_;
  std::optional<beast_response> response_;
  std::shared_ptr<session> waiting_; ///< Itself, while a handler has its request.
  std::uint64_t held_ = 0;           ///< Bytes of body counted in the hub.
  bool head_ = false;
};

} // namespace

bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

void hub::leave(connection* who) {
  std::lock_guard lock{mutex};
  open.erase(who);
  if (open.empty())
    emptied.notify_all();
}

std::vector<std::shared_ptr<connection>> hub::select(const std::function<bool(const connection&)>& wanted) {
  std::vector<std::shared_ptr<connection>> out;
  {
    std::lock_guard lock{mutex};
    for (auto& [who, weak] : open)
      if (auto held = weak.lock())
        out.push_back(std::move(held));
  }
  // Ours may be the last hold on one, whose end takes the lock.
  std::erase_if(out, [&](auto& each) { return !wanted(*each); });
  return out;
}

std::shared_ptr<connection> plain_session(std::shared_ptr<hub> owner, tcp::socket socket) {
  return std::make_shared<session<tcp::socket>>(std::move(owner), std::move(socket));
}

std::shared_ptr<connection> secure_session(std::shared_ptr<hub> owner, tcp::socket socket,
                                           asio::ssl::context& tls) {
  return std::make_shared<session<secure_stream>>(std::move(owner), std::move(socket), tls);
}

} // namespace troupe::http
