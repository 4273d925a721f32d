#include "common/http/session.hpp"

#include "common/http/problem.hpp"
#include "common/http/request_parser.hpp"
#include "common/http/target.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <ctime>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

namespace troupe::http {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;
using clock_type = deadline::clock;
using secure_stream = asio::ssl::stream<socket_type>;

/// What a request may bring beside its body's bytes at a time: chunk sizes, extensions and trailing fields.
constexpr std::size_t least_buffer = 64 << 10;

/// Read from TLS at a time: one record; while no request is there, what one needs.
constexpr std::size_t record_bytes = 16 << 10, first_bytes = 512;

/// Of a buffer that the next answer of the thread takes over.
constexpr std::size_t most_spare = 64 << 10;

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

/// Operation: `advance` goes from step to step as far as the bytes at hand lead, without asking the system
/// anything but to take the answer; then it waits for more bytes, for the handler or for the peer.
template <class Stream>
class session : public connection, public std::enable_shared_from_this<session<Stream>> {
  static constexpr bool secure = std::is_same_v<Stream, secure_stream>;

public:
  template <class... Args>
  explicit session(std::shared_ptr<hub> owner, std::shared_ptr<gate> answers, Args&&... args)
      : owner_{std::move(owner)}, answers_{std::move(answers)}, stream_{std::forward<Args>(args)...} {}
  ~session() override {
    owner_->body_bytes -= held_;
    owner_->leave(this);
  }
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  void begin() override {
    beast::error_code ignored;
    socket().set_option(tcp::no_delay{true}, ignored);
    if (auto peer = socket().remote_endpoint(ignored); !ignored)
      peer_ = peer.address().to_string();
    if constexpr (secure) {
      until(owner_->options.header_timeout);
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](beast::error_code err) {
                                if (err)
                                  return;
                                self->wait();
                                self->advance();
                              });
    } else {
      socket().non_blocking(true, ignored);
      wait();
      advance();
    }
  }

  void turn_away() override {
    if constexpr (!secure) {
      beast::error_code ignored;
      socket().non_blocking(true, ignored);
      idle = false;
      if (owner_->options.rejected)
        owner_->options.rejected(503);
      answer(problem({ec::overloaded, "this server has as many connections as it may have"},
                     std::chrono::seconds{1}),
             false);
      advance();
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
  boost::asio::io_context::executor_type executor() override { return socket().get_executor(); }

private:
  /// What comes next.
  enum class step : std::uint8_t { request, header, body, handler, write, nothing };

  socket_type& socket() {
    if constexpr (secure)
      return stream_.next_layer();
    else
      return stream_;
  }

  void until(std::chrono::milliseconds span, clock_type::time_point from = clock_type::now()) {
    expires = (from + span).time_since_epoch().count();
  }

  void advance() {
    advancing_ = true;
    for (bool more = true; more;)
      switch (next_) {
      case step::request:
        more = look_for_request();
        break;
      case step::header:
        more = read_header();
        break;
      case step::body:
        more = read_body();
        break;
      case step::write:
        more = write();
        break;
      case step::handler:
      case step::nothing:
        more = false;
        break;
      }
    keep_rest();
    advancing_ = false;
  }

  /// What is left of the bytes at hand lies in `rest_` from here on.
  void keep_rest() {
    if (rest_.empty())
      rest_.assign(at_hand_);
    else
      rest_.erase(0, rest_.size() - at_hand_.size());
    if (rest_.empty())
      std::string{}.swap(rest_);
    at_hand_ = rest_;
  }

  /// Between two requests: no buffer, no parser.
  void wait() {
    next_ = step::request;
    idle = true;
    auto now = clock_type::now();
    until(owner_->options.idle, now);
    waits_since = now.time_since_epoch().count();
  }

  /// Lines that are empty before a request are no part of it (RFC 9112, 2.2): they begin nothing and prolong
  /// nothing.
  bool look_for_request() {
    static constexpr std::string_view line_end = "\r\n";
    while (at_hand_.starts_with(line_end))
      at_hand_.remove_prefix(line_end.size());
    if (at_hand_.empty() && owner_->draining)
      return finish();
    if (at_hand_.empty() || at_hand_ == line_end.substr(0, 1))
      return read_more();
    waits_since = 0;
    head_ = old_ = timed_ = false;
    parser_.emplace();
    parser_->body_limit(owner_->options.max_body);
    parser_->header_limit(owner_->options.max_header);
    next_ = step::header;
    return true;
  }

  /// Asks for more bytes behind those at hand.
  bool read_more() {
    keep_rest();
    auto most = owner_->options.max_header + least_buffer;
    auto room = most - std::min(rest_.size(), most);
    if (room == 0) {
      reject(problem(431, "too_large", "the fields of the body's chunks are larger than this server takes"));
      return true;
    }
    if constexpr (secure) {
      record_.resize(std::min(room, parser_ ? record_bytes : first_bytes));
      stream_.async_read_some(asio::buffer(record_),
                              [self = this->shared_from_this()](beast::error_code err, std::size_t count) {
                                if (err)
                                  return;
                                self->rest_.append(self->record_, 0, count);
                                std::string{}.swap(self->record_);
                                self->at_hand_ = self->rest_;
                                self->advance();
                              });
    } else {
      socket().async_wait(socket_type::wait_read,
                          [self = this->shared_from_this(), room](beast::error_code err) {
                            if (!err)
                              self->take(room);
                          });
    }
    return false;
  }

  /// Reads what has come, without waiting: into memory of the thread, as most requests come whole.
  void take(std::size_t room) {
    static thread_local std::array<char, 64 << 10> bytes;
    beast::error_code err;
    auto count = socket().read_some(asio::buffer(bytes.data(), std::min(bytes.size(), room)), err);
    if (err && err != asio::error::would_block && err != asio::error::interrupted)
      return;
    if (rest_.empty()) {
      at_hand_ = {bytes.data(), err ? 0 : count};
    } else {
      rest_.append(bytes.data(), err ? 0 : count);
      at_hand_ = rest_;
    }
    advance();
  }

  bool read_header() {
    beast::error_code err;
    at_hand_.remove_prefix(parser_->put(asio::buffer(at_hand_.data(), at_hand_.size()), err));
    if (err == beast::http::error::need_more) {
      if (!std::exchange(timed_, true))
        until(owner_->options.header_timeout);
      return read_more();
    }
    if (err)
      refuse(err);
    else
      begin_body();
    return true;
  }

  /// What the parser lets pass and another program on the way may read differently: where a message ends and
  /// whom it is for must not be open (RFC 9112, 3.2 and 6.3).
  std::optional<response> ambiguous() const {
    auto bad = [](const char* why) { return problem(400, "invalid_argument", why); };
    const auto& hosts = parser_->hosts();
    const auto& lengths = parser_->lengths();
    const auto& codings = parser_->codings();
    if (hosts.count > 1 || (hosts.count == 0 && parser_->version() == 11))
      return bad("a request of HTTP/1.1 has one Host");
    if (!hosts.first.empty() && !is_authority(hosts.first))
      return bad("the Host of the request is none");
    if (lengths.count > 1)
      return bad("there is more than one Content-Length");
    if (lengths.first.find_first_not_of("0123456789") != std::string_view::npos)
      return bad("Content-Length is one number");
    if (codings.count == 0)
      return std::nullopt;
    if (lengths.count > 0 || codings.count > 1 || parser_->version() != 11)
      return bad("Transfer-Encoding stands alone, once, and in HTTP/1.1 only");
    std::string_view coding = codings.first;
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
    auto& asked = parser_->asked();
    head_ = asked.method == "HEAD";
    old_ = parser_->version() < 11;
    keep_ = parser_->keep_alive();
    if (auto wrong = ambiguous())
      return wrong;
    if (std::ranges::find(known_methods, asked.method) == std::end(known_methods))
      return problem(501, "invalid_argument",
                     fmt::format("the method {} is not known here", asked.method.substr(0, 32)));
    asked.peer = peer_;
    return read_target(parser_->target(), secure, asked);
  }

  /// What a client wants to know before it sends its body: 100 Continue, or why not (RFC 9110, 10.1.1).
  /// HTTP/1.0 knows no such answer, and where no body comes there is nothing to wait for.
  bool expects() const { return !old_ && parser_->expects(); }

  void begin_body() {
    idle = false;
    next_ = step::body;
    if (auto wrong = read_head())
      return reject(std::move(*wrong));
    parser_->eager(true);
    if (!parser_->is_done())
      until(owner_->options.body_timeout);
    if (!expects())
      return;
    for (const auto& [name, value] : parser_->asked().headers)
      if (same_name(name, "expect") && !same_name(value, "100-continue"))
        return reject(problem(417, "invalid_argument", "no Expect but 100-continue is known"));
    if (parser_->is_done())
      return;
    if (const auto& look = owner_->options.before_body)
      if (auto refused = look(parser_->asked()))
        return answer(std::move(*refused), false);
    take_spare();
    out_ = "HTTP/1.1 100 Continue\r\n\r\n";
    after_ = step::body;
    next_ = step::write;
  }

  /// Piece by piece: what all bodies together hold is bounded, whatever their headers say.
  bool read_body() {
    while (!parser_->is_done()) {
      if (at_hand_.empty())
        return read_more();
      beast::error_code err;
      at_hand_.remove_prefix(parser_->put(asio::buffer(at_hand_.data(), at_hand_.size()), err));
      if (err && err != beast::http::error::need_more) {
        refuse(err);
        return true;
      }
      auto grown = parser_->asked().body.size() - held_;
      held_ += grown;
      if (grown > 0 && (owner_->body_bytes += grown) > owner_->options.max_bodies) {
        reject(problem({ec::overloaded, "the bodies of requests at work fill the memory they may have"},
                       std::chrono::seconds{1}));
        return true;
      }
      if (err)
        return read_more();
    }
    hand_over();
    return true;
  }

  void refuse(beast::error_code err) {
    using beast::http::error;
    if (err == error::body_limit)
      return reject(problem(
          413, "too_large",
          fmt::format("the body is larger than the {} bytes this server takes", owner_->options.max_body)));
    if (err == error::header_limit) {
      // The parser has left a first line that is not at its end where it was.
      bool in_line = parser_->target().empty() &&
                     at_hand_.substr(0, owner_->options.max_header).find("\r\n") == std::string_view::npos;
      return reject(problem(in_line ? 414 : 431, "too_large",
                            fmt::format("the {} is larger than the {} bytes this server takes",
                                        in_line ? "address" : "header", owner_->options.max_header)));
    }
    if (err == error::bad_version && other_version())
      return reject(problem(505, "unsupported_version", "only HTTP/1.1 and HTTP/1.0 are spoken here"));
    reject(problem(400, "invalid_argument", "this is not HTTP/1.1: " + err.message()));
  }

  /// Whether the line that was not understood is right but for its version: `GET / HTTP/2.0`.
  bool other_version() const {
    auto line = at_hand_.substr(0, at_hand_.find("\r\n"));
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
    auto asked = std::move(parser_->asked());
    parser_.reset();
    asked.arrived = clock_type::now();
    until(owner_->options.answer_timeout, asked.arrived);
    next_ = step::handler;
    bool keep = keep_;
    // The server ends its sessions before its hub; a late answer finds nobody.
    std::weak_ptr<session> weak = this->weak_from_this();
    waiting_ = this->shared_from_this();
    responder respond{[weak, keep, answers = answers_, own = std::this_thread::get_id()](response given) {
      {
        std::shared_lock passing{answers->mutex};
        if (!answers->open)
          return;
        if (std::this_thread::get_id() != own) {
          if (auto held = weak.lock())
            asio::post(held->executor(), [held, keep, given = std::move(given)]() mutable {
              held->answered(std::move(given), keep);
            });
          return;
        }
      }
      // Its own thread is still at work. Not under the gate: it may come to the next request, and its answer.
      if (auto held = weak.lock())
        held->answered(std::move(given), keep);
    }};
    owner_->handle(std::move(asked), std::move(respond));
  }

  void answered(response given, bool keep) {
    auto self = std::exchange(waiting_, nullptr);
    answer(std::move(given), keep);
    if (!advancing_) // Where the handler answers at once, `advance` goes on.
      advance();
  }

  /// A buffer that an answer of this thread has left.
  void take_spare() { out_.swap(spare()); }
  static std::string& spare() {
    static thread_local std::string left;
    return left;
  }

  void answer(response given, bool keep) {
    parser_.reset();
    if (held_ > 0)
      owner_->body_bytes -= std::exchange(held_, 0);
    keep = keep && !owner_->draining;
    take_spare();
    auto line = [this](std::string_view name, std::string_view value) {
      ((out_ += name) += ": ") += value;
      out_ += "\r\n";
    };
    out_ += "HTTP/1.1 ";
    auto status = given.status;
    for (unsigned place : {100u, 10u, 1u})
      out_ += static_cast<char>('0' + status / place % 10);
    ((out_ += ' ') += reason_of(status)) += "\r\n";
    line("Date", date_now());
    auto named = [&](std::string_view name, auto from) {
      return std::any_of(from, given.headers.end(),
                         [&](const auto& each) { return same_name(each.first, name); });
    };
    if (!named("Cache-Control", given.headers.begin()))
      line("Cache-Control", "no-store");
    for (auto each = given.headers.begin(); each != given.headers.end(); ++each)
      if (!named(each->first, each + 1)) // The last of a name counts.
        line(each->first, each->second);
    if (!keep)
      line("Connection", "close");
    else if (old_) // HTTP/1.0 closes, where nobody says otherwise.
      line("Connection", "keep-alive");
    if (status != 204) { // It has no body, and so neither type nor length.
      line("Content-Type", given.content_type);
      line("Content-Length", fmt::format_int{given.body.size()}.str());
    }
    out_ += "\r\n";
    if (status != 204 && !head_)
      out_ += given.body;
    after_ = keep ? step::request : step::nothing;
    next_ = step::write;
  }

  bool write() {
    next_ = step::nothing;
    std::size_t sent = 0;
    if constexpr (!secure) {
      beast::error_code err;
      sent = socket().write_some(asio::buffer(out_), err);
      if (err && err != asio::error::would_block && err != asio::error::interrupted)
        return false;
      if (sent == out_.size())
        return written();
    }
    until(owner_->options.idle);
    asio::async_write(stream_, asio::buffer(out_.data() + sent, out_.size() - sent),
                      [self = this->shared_from_this()](beast::error_code err, std::size_t) {
                        if (!err && self->written())
                          self->advance();
                      });
    return false;
  }

  /// Whether there is something to do at once.
  bool written() {
    out_.clear();
    if (out_.capacity() <= most_spare)
      take_spare();
    std::string{}.swap(out_);
    if (after_ == step::body)
      next_ = step::body;
    else if (after_ == step::request)
      wait();
    else
      return finish();
    return true;
  }

  /// Says that nothing more comes, and reads what is still under way for a moment: closing at once would take
  /// the answer back from a client that is still sending.
  bool finish() {
    next_ = step::nothing;
    beast::error_code ignored;
    socket().shutdown(tcp::socket::shutdown_send, ignored);
    until(std::chrono::seconds{2});
    at_hand_ = {};
    discard();
    return false;
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
  std::shared_ptr<gate> answers_; ///< Of its thread.
  Stream stream_;
  std::string peer_;
  std::string_view at_hand_; ///< Bytes that were read and not looked at; outside `advance` all of `rest_`.
  std::string rest_;
  std::string record_; ///< Being read from TLS.
  std::string out_;    ///< What is being written.
  std::optional<request_parser> parser_;
  std::shared_ptr<session> waiting_; ///< Itself, while a handler has its request.
  std::uint64_t held_ = 0;           ///< Bytes of body counted in the hub.
  step next_ = step::nothing;
  step after_ = step::nothing; ///< What follows what is being written.
  bool advancing_ = false;
  bool timed_ = false; ///< The time for the header is running.
  bool keep_ = false;  ///< The connection stays open after the answer.
  bool old_ = false;   ///< It came in HTTP/1.0.
  bool head_ = false;  ///< It wants no body.
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

std::shared_ptr<connection> plain_session(std::shared_ptr<hub> owner, std::shared_ptr<gate> answers,
                                          socket_type socket) {
  return std::make_shared<session<socket_type>>(std::move(owner), std::move(answers), std::move(socket));
}

std::shared_ptr<connection> secure_session(std::shared_ptr<hub> owner, std::shared_ptr<gate> answers,
                                           socket_type socket, asio::ssl::context& tls) {
  return std::make_shared<session<secure_stream>>(std::move(owner), std::move(answers), std::move(socket),
                                                  tls);
}

} // namespace troupe::http
