#include "common/http/server.hpp"

#include "common/core/regular_file.hpp"
#include "common/core/thread_name.hpp"
#include "common/http/problem.hpp"
#include "common/http/session.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/error.hpp>

#include <algorithm>
#include <cctype>
#include <limits>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace troupe::http {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using tcp = asio::ip::tcp;
using clock_type = deadline::clock;

constexpr std::chrono::milliseconds least_backoff{50}, most_backoff{1'000};

/// So many connections above the bound are told that the server is full, at a time.
constexpr std::size_t most_turned_away = 32;

} // namespace

bool same_name(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

bool is_loopback(std::string_view address) noexcept {
  beast::error_code not_one;
  auto read = asio::ip::make_address(address, not_one);
  return !not_one && read.is_loopback();
}

std::string_view request::header(std::string_view name) const noexcept {
  for (const auto& [key, value] : headers)
    if (same_name(key, name))
      return value;
  return {};
}

responder& responder::operator=(responder&& other) noexcept {
  if (this != &other) {
    responder old{std::move(*this)};
    send_ = std::exchange(other.send_, nullptr);
  }
  return *this;
}

responder::~responder() {
  if (send_)
    reply(problem(500, "internal", "the request was given up without an answer"));
}

void responder::reply(response given) {
  if (auto send = std::exchange(send_, nullptr))
    send(std::move(given));
}

struct server::state {
  /// One thread and the connections that it serves for as long as they live: nothing of theirs is ever
  /// locked.
  struct lane {
    std::shared_ptr<gate> answers = std::make_shared<gate>();
    asio::io_context io{1};
    std::thread thread;
  };

  std::shared_ptr<hub> shared = std::make_shared<hub>();
  std::vector<std::unique_ptr<lane>> lanes;
  std::size_t turn = 0; ///< Whose the next connection is.
  std::optional<asio::ssl::context> tls;
  // The first lane's.
  std::optional<asio::basic_socket_acceptor<tcp, asio::io_context::executor_type>> acceptor;
  std::optional<asio::steady_timer> pause, sweep;
  std::chrono::milliseconds
      backoff{}; ///< The pause before the next try to accept; zero: the last one worked.
  std::uint16_t port = 0;

  explicit state(std::uint32_t threads) {
    for (std::uint32_t i = 0; i < std::max(threads, 1u); ++i)
      lanes.push_back(std::make_unique<lane>());
    acceptor.emplace(lanes[0]->io);
    pause.emplace(lanes[0]->io);
    sweep.emplace(lanes[0]->io);
  }
  ~state() {
    sweep.reset();
    pause.reset();
    acceptor.reset();
    for (auto& each : lanes) // The first one holds the socket of another for a connection to come.
      each.reset();
  }

  void accept() {
    auto& to = *lanes[turn++ % lanes.size()];
    acceptor->async_accept(to.io.get_executor(), [this, &to](beast::error_code err, socket_type socket) {
      if (err == asio::error::operation_aborted || !acceptor->is_open())
        return;
      if (err && err != asio::error::connection_aborted) // That is the other side's doing.
        return wait_for_room(err);
      if (!err) {
        if (std::exchange(backoff, {}).count() != 0 && shared->options.accept_fails)
          shared->options.accept_fails({});
        if (auto closing = take(std::move(socket), to))
          return accept_behind(closing->executor());
      }
      accept();
    });
  }

  /// When a connection that was told to end has ended: a flood does not outrun the threads that make room.
  void accept_behind(asio::io_context::executor_type of) {
    // First it closes its socket, then what waited for that lets go of it.
    asio::post(of,
               [this, of] { asio::post(of, [this] { asio::post(lanes[0]->io, [this] { accept(); }); }); });
  }

  /// Out of descriptors or memory: some may come back, and trying without a break would take the processor
  /// from those that could give them back.
  void wait_for_room(beast::error_code why) {
    ++shared->accept_failures;
    if (backoff.count() == 0 && shared->options.accept_fails)
      shared->options.accept_fails("no connection can be accepted: " + why.message());
    backoff = std::clamp(backoff * 2, least_backoff, most_backoff);
    pause->expires_after(backoff);
    pause->async_wait([this](beast::error_code stopped) {
      if (!stopped)
        accept();
    });
  }

  /// Gives the connection that is told to end for it.
  std::shared_ptr<connection> take(socket_type socket, lane& to) {
    auto made = tls ? secure_session(shared, to.answers, std::move(socket), *tls)
                    : plain_session(shared, to.answers, std::move(socket));
    std::shared_ptr<connection> idle;
    bool turned_away = false;
    {
      std::unique_lock lock{shared->mutex};
      auto count = shared->open.size(), most = std::size_t{shared->options.max_connections};
      if (count >= most + most_turned_away || shared->draining) {
        lock.unlock();
        ++shared->refused_full;
        return nullptr;
      }
      if (count >= most)
        idle = shared->longest_idle();
      turned_away = count >= most && !idle;
      auto now = clock_type::now();
      made->expires = (now + shared->options.idle).time_since_epoch().count();
      if (!turned_away && !tls) // Before its thread comes to it: it may be the one that makes room.
        made->waits_since = now.time_since_epoch().count();
      shared->open.emplace(made.get(), made);
    }
    if (idle) {
      ++shared->made_room;
      idle->end(true);
    }
    ++(turned_away ? shared->refused_full : shared->accepted);
    asio::dispatch(made->executor(),
                   [made, turned_away] { turned_away ? made->turn_away() : made->begin(); });
    return idle;
  }

  void watch() {
    sweep->expires_after(std::chrono::milliseconds{250});
    sweep->async_wait([this](beast::error_code stopped) {
      if (stopped)
        return;
      auto now = clock_type::now().time_since_epoch().count();
      for (auto& late : shared->select([now](const connection& each) { return each.expires < now; })) {
        ++shared->timed_out;
        late->expires = std::numeric_limits<clock_type::rep>::max();
        late->end(false);
      }
      watch();
    });
  }
};

server::server(std::unique_ptr<state> state) : state_{std::move(state)} {}

server::~server() {
  for (auto& each : state_->lanes) {
    std::lock_guard closing{each->answers->mutex};
    each->answers->open = false;
  }
  for (auto& each : state_->lanes)
    each->io.stop();
  for (auto& each : state_->lanes)
    if (each->thread.joinable())
      each->thread.join();
  for (auto& each : state_->shared->select([](const connection&) { return true; }))
    each->forsake();
}

std::uint16_t server::port() const noexcept {
  return state_->port;
}

bool server::drain(deadline until) {
  auto& shared = *state_->shared;
  shared.draining = true;
  asio::post(state_->lanes[0]->io, [state = state_.get()] {
    beast::error_code ignored;
    state->acceptor->close(ignored);
  });
  for (auto& each : shared.select([](const connection& one) { return one.idle.load(); }))
    each->end(true);
  std::unique_lock lock{shared.mutex};
  return shared.emptied.wait_until(lock, until.at(), [&] { return shared.open.empty(); });
}

server_counters server::counters() const noexcept {
  auto& shared = *state_->shared;
  server_counters out;
  {
    std::lock_guard lock{shared.mutex};
    out.connections = shared.open.size();
  }
  out.accepted = shared.accepted;
  out.refused_full = shared.refused_full;
  out.made_room = shared.made_room;
  out.timed_out = shared.timed_out;
  out.malformed = shared.malformed;
  out.requests = shared.requests;
  out.body_bytes = shared.body_bytes;
  out.accept_failures = shared.accept_failures;
  return out;
}

expected<std::unique_ptr<server>> server::start(server_options options, handler handle) {
  return start_async(std::move(options), [handle = std::move(handle)](request asked, responder respond) {
    respond.reply(handle(asked));
  });
}

expected<std::unique_ptr<server>> server::start_async(server_options options, async_handler handle) {
  auto made = std::make_unique<state>(options.threads);
  beast::error_code err;
  auto address = asio::ip::make_address(options.address, err);
  if (err)
    return fail(ec::invalid_argument, "cannot listen on {}: not an IP address", options.address);
  if (!options.tls_certificate.empty()) {
    auto& tls = made->tls.emplace(asio::ssl::context::tls_server);
    tls.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                        asio::ssl::context::no_tlsv1_1 | asio::ssl::context::no_compression,
                    err);
    for (auto& file : {options.tls_certificate, options.tls_key})
      TROUPE_CHECK(check_regular(file)); // OpenSSL would wait for who writes into a pipe.
    tls.use_certificate_chain_file(options.tls_certificate, err);
    if (err)
      return fail(ec::invalid_argument, "cannot use the TLS certificate {}: {}", options.tls_certificate,
                  err.message());
    tls.use_private_key_file(options.tls_key, asio::ssl::context::pem, err);
    if (err)
      return fail(ec::invalid_argument, "cannot use the TLS key {}: {}", options.tls_key, err.message());
    // Idle connections give their record buffers back.
    SSL_CTX_set_mode(tls.native_handle(), SSL_MODE_RELEASE_BUFFERS);
  }
  tcp::endpoint endpoint{address, options.port};
  made->acceptor->open(endpoint.protocol(), err);
  if (!err)
    made->acceptor->set_option(asio::socket_base::reuse_address(true), err);
  if (!err)
    made->acceptor->bind(endpoint, err);
  if (!err)
    made->acceptor->listen(asio::socket_base::max_listen_connections, err);
  if (err)
    return fail(err == asio::error::address_in_use ? ec::already_exists : ec::io_failed,
                "cannot listen on {}:{}: {}", options.address, options.port, err.message());
  made->port = made->acceptor->local_endpoint().port();
  made->shared->options = std::move(options);
  made->shared->handle = std::move(handle);
  made->accept();
  made->watch();
  for (auto& each : made->lanes) {
    each->thread = std::thread{[io = &each->io, open = asio::make_work_guard(each->io)] { io->run(); }};
    name_thread(each->thread, "http");
  }
  return std::unique_ptr<server>{new server{std::move(made)}};
}

} // namespace troupe::http
