#include "common/net/endpoint.hpp"

#include "common/core/resource_limits.hpp"
#include "common/core/thread_name.hpp"
#include "common/net/socket_pump.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <set>
#include <thread>

namespace troupe::net {

namespace {

constexpr std::string_view zap_domain = "troupe";

struct outgoing {
  std::string route;
  chunk head;
  chunk payload;
};

using count = std::atomic<std::uint64_t>;

struct live_endpoint_counters {
  count requests{0}, replies{0}, refused_overloaded{0}, refused_stopping{0}, refused_too_late{0},
      refused_kind{0}, refused_version{0}, refused_key{0}, refused_handshake{0}, dropped_malformed{0},
      dropped_peer_gone{0}, dropped_peer_full{0};
};

/// Takes the answers of responders to the socket thread, and to nowhere once that has ended.
class endpoint_sink final : public detail::reply_sink {
public:
  endpoint_sink(std::string identity, std::size_t bound) : outbox{bound}, identity_{std::move(identity)} {}

  void send(std::string route, envelope head, chunk payload) override {
    head.caller = identity_;
    outgoing item{std::move(route), encode(head), std::move(payload)};
    outbox.put(item);
  }

  detail::outbox<outgoing> outbox;

private:
  std::string identity_;
};

constexpr std::chrono::milliseconds listen_pause{250};

std::string raw_key(const std::string& z85) {
  std::string raw(32, '\0');
  return z85.size() == 40 &&
                 zmq_z85_decode(reinterpret_cast<std::uint8_t*>(raw.data()), z85.c_str()) != nullptr
             ? raw
             : std::string{};
}

} // namespace

struct endpoint::impl {
  impl(endpoint_options with, handler_map with_handlers)
      : options{std::move(with)}, handlers{std::move(with_handlers)}, sink{std::make_shared<endpoint_sink>(
                                                                          options.identity,
                                                                          options.max_in_flight + 1)} {}

  expected<void> bind();
  expected<void> bind_curve();
  void run();
  /// False: there may be more.
  bool take_requests();
  void take_request(std::vector<zmq::message_t> frames);
  void refuse(const std::string& route, wire::Kind kind, hash128 id, trace_context trace, error err,
              bool later, count& counter);
  void send_answer(outgoing& item);
  /// True: there was one to answer.
  bool answer_zap();
  expected<void> listen();
  /// False: there may be more.
  bool watch_connections();
  void stop_listening(const std::string& why);
  void try_to_listen();
  void end();

  endpoint_options options;
  handler_map handlers;
  std::string address;
  std::set<std::string> allowed;
  std::shared_ptr<zmq::context_t> context;
  zmq::socket_t router, zap, monitor;
  bool listening = true;
  bool touched = false; ///< The router's events may have been seen by what was done with it.
  deadline listen_again = deadline::in({}); ///< Where it does not listen.
  std::shared_ptr<endpoint_sink> sink;
  live_endpoint_counters counters;
  std::atomic<std::size_t> in_flight{0};
  std::atomic<bool> draining{false};
  std::atomic<bool> stopping{false};
  std::mutex idle_mutex;
  std::condition_variable idle;
  std::thread thread;
};

expected<void> endpoint::impl::bind_curve() {
  auto secret = raw_key(options.curve->secret_key);
  if (secret.empty())
    return fail(ec::invalid_argument, "the secret key of {} is not a CURVE key", options.address);
  for (auto& key : options.curve->allow) {
    auto raw = raw_key(key);
    if (raw.empty())
      return fail(ec::invalid_argument, "'{}' in the allow-list of {} is not a CURVE key", key,
                  options.address);
    allowed.insert(std::move(raw));
  }
  // Before the socket it guards: without an answer ZeroMQ would let everybody in.
  zap = zmq::socket_t{*context, zmq::socket_type::rep};
  zap.set(zmq::sockopt::linger, 0);
  zap.bind("inproc://zeromq.zap.01");
  router.set(zmq::sockopt::curve_server, true);
  router.set(zmq::sockopt::curve_secretkey, options.curve->secret_key);
  router.set(zmq::sockopt::zap_domain, zap_domain);
  return {};
}

expected<void> endpoint::impl::bind() {
  TROUPE_CHECK(check_address(options.address, options.curve.has_value()));
  if (options.address.starts_with("ipc://")) {
    std::error_code ignored; // The bind says what is wrong.
    std::filesystem::create_directories(std::filesystem::path{options.address.substr(6)}.parent_path(),
                                        ignored);
  }
  try {
    // A ZAP handler serves a whole context, so an endpoint with keys has its own.
    context = options.curve ? std::make_shared<zmq::context_t>(1) : detail::shared_context();
    router = zmq::socket_t{*context, zmq::socket_type::router};
    auto queue = static_cast<int>(
        std::min<std::size_t>(std::max<std::size_t>(1000, options.max_in_flight * 2), 1 << 20));
    router.set(zmq::sockopt::router_mandatory, true);
    router.set(zmq::sockopt::sndhwm, queue);
    router.set(zmq::sockopt::rcvhwm, queue);
    router.set(zmq::sockopt::linger, 500);
    router.set(zmq::sockopt::handshake_ivl, 5000);
    router.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(options.max_message_bytes));
    if (!options.address.starts_with("inproc://")) {
      router.set(zmq::sockopt::heartbeat_ivl, 5000);
      router.set(zmq::sockopt::heartbeat_timeout, 20000);
      auto watch = fmt::format("inproc://troupe.endpoint.{}", static_cast<const void*>(this));
      zmq_socket_monitor(router.handle(), watch.c_str(),
                         ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                             ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_ACCEPT_FAILED);
      monitor = zmq::socket_t{*context, zmq::socket_type::pair};
      monitor.set(zmq::sockopt::linger, 0);
      monitor.connect(watch);
    }
    if (options.curve)
      TROUPE_CHECK(bind_curve());
    address = options.address;
    return listen();
  } catch (const zmq::error_t& err) {
    return detail::zmq_failure("listen on", options.address, err);
  }
}

expected<void> endpoint::impl::listen() {
  try {
    router.bind(address);
    address = router.get(zmq::sockopt::last_endpoint);
  } catch (const zmq::error_t& err) {
    return detail::zmq_failure("listen on", address, err);
  }
  // Whoever may write to it may ask for everything that we do; the umask is not to decide that.
  if (address.starts_with("ipc://") && ::chmod(address.c_str() + 6, 0600) != 0)
    return fail(errno_code(errno), "cannot keep others from {}: {}", address, errno_text(errno));
  return {};
}

void endpoint::impl::run() {
  std::vector<outgoing> answers;
  detail::socket_poll poll;
  constexpr auto without_end = std::chrono::milliseconds{-1};
  auto answered = poll.add(sink->outbox.fd()), asked = poll.add(router);
  auto watched = monitor.handle() != nullptr ? std::optional{poll.add(monitor)} : std::nullopt;
  auto knocked = zap.handle() != nullptr ? std::optional{poll.add(zap)} : std::nullopt;
  while (!stopping) {
    if (!poll.wait(listening ? without_end : listen_pause))
      break;
    if (!listening && listen_again.passed())
      try_to_listen();
    if (poll.ready(answered)) {
      sink->outbox.take(answers);
      for (auto& each : answers) {
        send_answer(each);
        in_flight.fetch_sub(1);
      }
      if (!answers.empty() && draining && in_flight == 0) {
        std::lock_guard lock{idle_mutex};
        idle.notify_all();
      }
    }
    if (auto told = poll.ready(asked); std::exchange(touched, false) || told)
      touched = !take_requests();
    if (watched && poll.ready(*watched) && !watch_connections())
      poll.look_again(*watched);
    if (knocked && poll.ready(*knocked) && answer_zap())
      poll.look_again(*knocked);
    if (touched)
      poll.look_again(asked);
  }
  // What was answered before the stop still goes out, within the linger time of the socket.
  sink->outbox.close();
  sink->outbox.take(answers);
  for (auto& each : answers)
    send_answer(each);
}

bool endpoint::impl::take_requests() {
  for (int i = 0; i < detail::messages_a_turn; ++i) {
    auto frames = detail::receive(router);
    if (frames.empty())
      return true;
    take_request(std::move(frames));
  }
  return false;
}

void endpoint::impl::take_request(std::vector<zmq::message_t> frames) {
  if (frames.size() != 3) {
    ++counters.dropped_malformed;
    return;
  }
  std::string route = frames[0].to_string();
  byte_view head{frames[1].data<std::byte>(), frames[1].size()};
  auto info = decode_envelope(head);
  if (!info) {
    auto id = info.error().code == ec::unsupported_version ? request_id_of(head) : std::nullopt;
    if (id)
      return refuse(route, wire::Kind::none, *id, {}, std::move(info).error(), false,
                    counters.refused_version);
    ++counters.dropped_malformed;
    return;
  }
  if (info->reply) {
    ++counters.dropped_malformed;
    return;
  }
  auto turn_away = [&](ec code, std::string text, bool later, count& counter) {
    refuse(route, info->kind, info->request_id, info->trace, {code, std::move(text)}, later, counter);
  };
  if (draining)
    return turn_away(ec::stopping, options.identity + " is stopping", true, counters.refused_stopping);
  if (info->time_left.count() <= 0)
    return turn_away(ec::too_late, to_string(info->kind) + " arrived with no time left", false,
                     counters.refused_too_late);
  auto found = handlers.find(info->kind);
  if (found == handlers.end())
    return turn_away(ec::invalid_argument,
                     fmt::format("{} does not serve {}", options.identity, to_string(info->kind)), false,
                     counters.refused_kind);
  if (in_flight.load() >= options.max_in_flight)
    return turn_away(ec::overloaded,
                     fmt::format("{} has {} requests under way", options.identity, options.max_in_flight),
                     true, counters.refused_overloaded);
  in_flight.fetch_add(1);
  ++counters.requests;
  auto until = deadline::in(info->time_left);
  responder respond{sink, std::move(route), info->kind, info->request_id, info->trace, until};
  try {
    found->second({*std::move(info), detail::to_chunk(std::move(frames[2])), until, std::move(respond)});
  } catch (...) { // NOLINT: the responder has answered ec::internal on its way out.
  }
}

void endpoint::impl::refuse(const std::string& route, wire::Kind kind, hash128 id, trace_context trace,
                            error err, bool later, count& counter) {
  ++counter;
  envelope head;
  head.kind = kind;
  head.reply = true;
  head.request_id = id;
  head.trace = trace;
  head.caller = options.identity;
  head.failure = std::move(err);
  if (later)
    head.retry_after = options.retry_after;
  outgoing item{route, encode(head), {}};
  send_answer(item);
}

void endpoint::impl::send_answer(outgoing& item) {
  touched = true;
  zmq::message_t route{item.route.data(), item.route.size()};
  auto went = detail::send(router, route, true);
  if (went == detail::sent::yes) {
    auto head = detail::to_message(item.head);
    auto payload = detail::to_message(item.payload);
    // Once the route is taken the pipe takes the whole message.
    if (detail::send(router, head, true) == detail::sent::yes)
      went = detail::send(router, payload, false);
  }
  ++(went == detail::sent::yes    ? counters.replies
     : went == detail::sent::full ? counters.dropped_peer_full
                                  : counters.dropped_peer_gone);
}

bool endpoint::impl::answer_zap() {
  // ZeroMQ RFC 27: version, request id, domain, address, identity, mechanism, credentials.
  std::vector<zmq::message_t> frames;
  bool more = true;
  while (more) {
    zmq::message_t frame;
    if (zmq_msg_recv(frame.handle(), zap.handle(), ZMQ_DONTWAIT) < 0)
      return false;
    more = frame.more();
    if (frames.size() < 16)
      frames.push_back(std::move(frame));
  }
  bool known = frames.size() == 7 && frames[5].to_string_view() == "CURVE" && frames[6].size() == 32 &&
               allowed.contains(frames[6].to_string());
  if (!known)
    ++counters.refused_key;
  std::string id = frames.size() > 1 ? frames[1].to_string() : std::string{};
  std::string_view parts[] = {"1.0", id, known ? "200" : "400", known ? "OK" : "key not on the allow-list",
                              "",    ""};
  for (std::size_t i = 0; i < std::size(parts); ++i) {
    zmq::message_t part{parts[i].data(), parts[i].size()};
    detail::send(zap, part, i + 1 < std::size(parts));
  }
  return true;
}

bool endpoint::impl::watch_connections() {
  for (int i = 0; i < detail::messages_a_turn; ++i) {
    auto frames = detail::receive(monitor);
    if (frames.empty())
      return true;
    if (frames[0].size() < 6)
      continue;
    std::uint16_t event = 0;
    std::uint32_t value = 0; // The descriptor, or the errno.
    std::memcpy(&event, frames[0].data(), sizeof event);
    std::memcpy(&value, frames[0].data<char>() + sizeof event, sizeof value);
    if (event == ZMQ_EVENT_ACCEPTED) {
      // The system gives the lowest that is free.
      if (value + descriptors_kept() >= descriptor_limit())
        stop_listening(fmt::format("{} file descriptors are in use, and the rest of {} is for our own files",
                                   value, descriptor_limit()));
    } else if (event == ZMQ_EVENT_ACCEPT_FAILED) {
      auto number = static_cast<int>(value);
      if (number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM)
        stop_listening(errno_text(number));
    } else {
      ++counters.refused_handshake;
    }
  }
  return false;
}

void endpoint::impl::stop_listening(const std::string& why) {
  if (!listening)
    return;
  touched = true;
  try {
    router.unbind(address);
  } catch (const zmq::error_t&) {
    return; // It is asked for again with the next connection.
  }
  listening = false;
  listen_again = deadline::in(listen_pause);
  if (options.accept_fails)
    options.accept_fails("no connection is taken: " + why);
}

void endpoint::impl::try_to_listen() {
  constexpr std::uint64_t some = 8; // So that it does not stop again at once.
  listen_again = deadline::in(listen_pause);
  touched = true;
  if (descriptors_in_use() + descriptors_kept() + some >= descriptor_limit() || !listen())
    return;
  listening = true;
  if (options.accept_fails)
    options.accept_fails({});
}

void endpoint::impl::end() {
  if (!thread.joinable())
    return;
  stopping = true;
  sink->outbox.wake();
  thread.join();
  zmq_socket_monitor(router.handle(), nullptr, 0);
  monitor.close();
  router.close();
  zap.close();
  context.reset();
}

endpoint::endpoint(std::unique_ptr<impl> made) noexcept : impl_{std::move(made)} {}

endpoint::~endpoint() {
  stop();
}

expected<std::unique_ptr<endpoint>> endpoint::open(endpoint_options options, handler_map handlers) {
  auto made = std::make_unique<impl>(std::move(options), std::move(handlers));
  TROUPE_CHECK(made->bind());
  made->thread = std::thread{[self = made.get()] { self->run(); }};
  name_thread(made->thread, "endpoint");
  return std::unique_ptr<endpoint>{new endpoint{std::move(made)}};
}

const std::string& endpoint::address() const noexcept {
  return impl_->address;
}

void endpoint::begin_drain() {
  if (!impl_->draining.exchange(true) && impl_->options.on_drain)
    impl_->options.on_drain();
}

bool endpoint::drain(deadline until) {
  begin_drain();
  std::unique_lock lock{impl_->idle_mutex};
  return impl_->idle.wait_until(lock, until.at(), [this] { return impl_->in_flight == 0; });
}

void endpoint::stop() {
  impl_->draining = true;
  impl_->end();
}

endpoint_counters endpoint::counters() const noexcept {
  auto& live = impl_->counters;
  endpoint_counters now;
  now.requests = live.requests;
  now.replies = live.replies;
  now.refused_overloaded = live.refused_overloaded;
  now.refused_stopping = live.refused_stopping;
  now.refused_too_late = live.refused_too_late;
  now.refused_kind = live.refused_kind;
  now.refused_version = live.refused_version;
  now.refused_key = live.refused_key;
  now.refused_handshake = live.refused_handshake;
  now.dropped_malformed = live.dropped_malformed;
  now.dropped_peer_gone = live.dropped_peer_gone;
  now.dropped_peer_full = live.dropped_peer_full;
  now.in_flight = impl_->in_flight;
  return now;
}

} // namespace troupe::net
