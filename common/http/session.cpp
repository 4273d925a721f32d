#include "common/http/session.hpp"

#include "common/http/problem.hpp"
#include "common/http/target.hpp"

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
#include <ctime>
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

/// What a request may bring beside its body's bytes at a time: chunk sizes, extensions and trailing fields.
constexpr std::size_t least_buffer = 64 << 10;

/// Those of RFC 9110, 9.3, that have a resource, PATCH and QUERY: what a resource does not do of them is 405.
constexpr std::string_view known_methods[] = {"GET",   "HEAD",  "POST",    "PUT",  "DELETE",
                                              "PATCH", "TRACE", "OPTIONS", "QUERY"};

/// Now, as the header Date has it (RFC 9110, 5.6.7); made once a second.
const std::string& date_now() {
  static thread_local std::time_t of = 0;
  static thread_local std::string text;
  auto now = std::time(nullptr);
  if (now != of) {
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    char made[64];
    text.assign(made, std::strftime(made, sizeof made, "%a, %d %b %Y %H:%M:%S GMT", &parts));
    of = now;
  }
  return text;
}

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

  void turn_away() override {
    if constexpr (!secure) {
      idle = false;
      if (owner_->options.rejected)
        owner_->options.rejected(503);
      answer(problem({ec::overloaded, "this server has as many connections as it may have"},
                     std::chrono::seconds{1}),
             false);
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
    waits_since = clock_type::now().time_since_epoch().count();
    listen();
  }

  /// Lines that are empty before a request are no part of it (RFC 9112, 2.2): they begin nothing and prolong
  /// nothing.
  void listen() {
    static constexpr std::string_view line_end = "\r\n";
    while (received().starts_with(line_end))
      buffer_.consume(line_end.size());
    auto here = received();
    if (!here.empty() && here != line_end.substr(0, 1))
      return read_header();
    if (owner_->draining && here.empty())
      return finish();
    if (secure || !here.empty())
      return read_more();
    buffer_.shrink_to_fit();
    socket().async_wait(tcp::socket::wait_read, [self = this->shared_from_this()](beast::error_code err) {
      if (!err)
        self->read_more();
    });
  }

  void read_more() {
    stream_.async_read_some(buffer_.prepare(512),
                            [self = this->shared_from_this()](beast::error_code err, std::size_t count) {
                              if (err)
                                return;
                              self->buffer_.commit(count);
                              self->listen();
                            });
  }

  std::string_view received() const {
    return {static_cast<const char*>(buffer_.data().data()), buffer_.size()};
  }

  void read_header() {
    waits_since = 0;
    head_ = old_ = false;
    parser_.emplace();
    parser_->body_limit(owner_->options.max_body);
    parser_->header_limit(owner_->options.max_header);
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
    if (std::string_view host = header[field::host]; !host.empty() && !is_authority(host))
      return bad("the Host of the request is none");
    if (lengths > 1)
      return bad("there is more than one Content-Length");
    if (std::string_view length = header[field::content_length];
        length.find_first_not_of("0123456789") != std::string_view::npos)
      return bad("Content-Length is one number");
    if (codings == 0)
      return std::nullopt;
    if (lengths > 0 || codings > 1 || header.version() != 11)
      return bad("Transfer-Encoding stands alone, once, and in HTTP/1.1 only");
    std::string_view coding = header[field::transfer_encoding];
    if (same_name(coding, "chunked"))
      return std::nullopt;
    int chunked = 0;
    bool last = false;
    for (std::size_t at = 0, end = 0; at <= coding.size(); at = end + 1) {
      end = std::min(coding.find(',', at), coding.size());
      auto each = coding.substr(at, end - at);
      each.remove_prefix(std::min(each.find_first_not_of(" \t"), each.size()));
      each = each.substr(0, each.find_last_not_of(" \t") + 1);
      last = same_name(each, "chunked");
      chunked += last ? 1 : 0;
    }
    if (!last)
      return bad("the last Transfer-Encoding is not chunked, so nobody knows where the body ends");
    if (chunked > 1)
      return bad("Transfer-Encoding is chunked twice, so nobody knows where the body ends");
    return problem(501, "invalid_argument", "no Transfer-Encoding but chunked is known");
  }

  /// The request as its header has it. Fields behind a chunked body are none of these: they must not become a
  /// key or a host (RFC 9110, 6.5.1).
  std::optional<response> read_head() {
    const auto& header = parser_->get();
    asked_ = {};
    asked_.method = std::string{header.method_string()};
    head_ = asked_.method == "HEAD";
    old_ = header.version() < 11;
    keep_ = parser_->keep_alive();
    if (auto wrong = ambiguous())
      return wrong;
    if (std::ranges::find(known_methods, asked_.method) == std::end(known_methods))
      return problem(501, "invalid_argument",
                     fmt::format("the method {} is not known here", asked_.method.substr(0, 32)));
    for (const auto& field : header)
      asked_.headers.emplace_back(std::string{field.name_string()}, std::string{field.value()});
    beast::error_code err;
    if (auto peer = socket().remote_endpoint(err); !err)
      asked_.peer = peer.address().to_string();
    return read_target({header.target().data(), header.target().size()}, secure, asked_);
  }

  /// What a client wants to know before it sends its body: 100 Continue, or why not (RFC 9110, 10.1.1).
  /// HTTP/1.0 knows no such answer, and where no body comes there is nothing to wait for.
  bool expects() const { return !old_ && parser_->get().count(beast::http::field::expect) > 0; }

  void read_body() {
    idle = false;
    until(owner_->options.body_timeout);
    if (auto wrong = read_head())
      return reject(std::move(*wrong));
    parser_->eager(true);
    if (!expects())
      return read_rest();
    for (const auto& [name, value] : asked_.headers)
      if (same_name(name, "expect") && !same_name(value, "100-continue"))
        return reject(problem(417, "invalid_argument", "no Expect but 100-continue is known"));
    if (parser_->is_done())
      return read_rest();
    if (const auto& look = owner_->options.before_body)
      if (auto refused = look(asked_))
        return answer(std::move(*refused), false);
    static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(stream_, asio::buffer(go_on.data(), go_on.size()),
                      [self = this->shared_from_this()](beast::error_code err, std::size_t) {
                        if (!err)
                          self->read_rest();
                      });
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
    if (err == error::header_limit) {
      // The parser has left a first line that is not at its end where it was.
      bool in_line = parser_->get().target().empty() && received().find("\r\n") == std::string_view::npos;
      return reject(problem(in_line ? 414 : 431, "too_large",
                            fmt::format("the {} is larger than the {} bytes this server takes",
                                        in_line ? "address" : "header", owner_->options.max_header)));
    }
    if (err == error::buffer_overflow)
      return reject(
          problem(431, "too_large", "the fields of the body's chunks are larger than this server takes"));
    if (err == error::bad_version && other_version())
      return reject(problem(505, "unsupported_version", "only HTTP/1.1 and HTTP/1.0 are spoken here"));
    reject(problem(400, "invalid_argument", "this is not HTTP/1.1: " + err.message()));
  }

  /// Whether the line that was not understood is right but for its version: `GET / HTTP/2.0`.
  bool other_version() const {
    auto line = received();
    line = line.substr(0, line.find("\r\n"));
    auto version = line.substr(std::min(line.rfind(' '), line.size()));
    return version.size() == 9 && version.starts_with(" HTTP/") && version[7] == '.' &&
           version.find_first_not_of("0123456789", 8) == std::string_view::npos &&
           std::isdigit(static_cast<unsigned char>(version[6])) != 0;
  }

  /// Answers what never reaches the handler, and closes.
  void reject(response given) {
    ++owner_->malformed;
    idle = false;
    if (owner_->options.rejected)
      owner_->options.rejected(given.status);
    answer(std::move(given), false);
  }

  void hand_over() {
    ++owner_->requests;
    until(owner_->options.answer_timeout);
    auto got = parser_->release();
    parser_.reset();
    auto asked = std::exchange(asked_, {});
    asked.body = std::move(got.body());
    asked.arrived = clock_type::now();
    bool keep = keep_;
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
    response_->set(beast::http::field::date, date_now());
    response_->set(beast::http::field::cache_control, "no-store");
    for (const auto& [name, value] : given.headers)
      response_->set(name, value);
    response_->keep_alive(keep);
    if (keep && old_) // HTTP/1.0 closes, where nobody says otherwise.
      response_->set(beast::http::field::connection, "keep-alive");
    if (given.status != 204) { // It has no body, and so neither type nor length.
      response_->set(beast::http::field::content_type, given.content_type);
      response_->body() = std::move(given.body);
      response_->prepare_payload();
      if (head_)
        response_->body().clear();
    }
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
  beast::flat_buffer buffer_{owner_->options.max_header + least_buffer};
  std::optional<beast_request> parser_;
  std::optional<beast_response> response_;
  std::shared_ptr<session> waiting_; ///< Itself, while a handler has its request.
  std::uint64_t held_ = 0;           ///< Bytes of body counted in the hub.
  request asked_;                    ///< As its header has it, until its body is there.
  bool keep_ = false;                ///< The connection stays open after the answer.
  bool old_ = false;                 ///< It came in HTTP/1.0.
  bool head_ = false;                ///< It wants no body.
};

} // namespace

void hub::leave(connection* leaving) {
  std::lock_guard lock{mutex};
  open.erase(leaving);
  if (open.empty())
    emptied.notify_all();
}

std::vector<std::shared_ptr<connection>> hub::select(const std::function<bool(const connection&)>& wanted) {
  std::vector<std::shared_ptr<connection>> out;
  {
    std::lock_guard lock{mutex};
    for (auto& [key, weak] : open)
      if (auto held = weak.lock())
        out.push_back(std::move(held));
  }
  // Ours may be the last hold on one, whose end takes the lock.
  std::erase_if(out, [&](auto& each) { return !wanted(*each); });
  return out;
}

std::shared_ptr<connection> hub::longest_idle() {
  constexpr std::size_t enough = 64;
  connection* best = nullptr;
  clock_type::rep longest = 0;
  std::weak_ptr<connection> held; // Locked when the choice is made: none may end while we have the lock.
  for (std::size_t seen = 0, left = open.bucket_count(); seen < enough && left > 0; --left) {
    looked_at = (looked_at + 1) % open.bucket_count();
    for (auto at = open.begin(looked_at); at != open.end(looked_at); ++at, ++seen)
      if (auto since = at->first->waits_since.load(); since != 0 && (best == nullptr || since < longest)) {
        best = at->first;
        longest = since;
        held = at->second;
      }
  }
  if (best)
    best->waits_since = 0;
  return held.lock();
}

std::shared_ptr<connection> plain_session(std::shared_ptr<hub> owner, tcp::socket socket) {
  return std::make_shared<session<tcp::socket>>(std::move(owner), std::move(socket));
}

std::shared_ptr<connection> secure_session(std::shared_ptr<hub> owner, tcp::socket socket,
                                           asio::ssl::context& tls) {
  return std::make_shared<session<secure_stream>>(std::move(owner), std::move(socket), tls);
}

} // namespace troupe::http
