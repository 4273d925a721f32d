#include "common/net/client.hpp"

#include "common/core/thread_name.hpp"
#include "common/net/breaker.hpp"
#include "common/net/replica_link.hpp"
#include "common/net/socket_pump.hpp"

#include <sodium/randombytes.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>
#include <unordered_map>

namespace troupe::net {

namespace {

using clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::uint32_t any_replica = UINT32_MAX;
constexpr std::uint32_t nowhere = UINT32_MAX;

struct pending_call {
  wire::Kind kind = wire::Kind::none;
  chunk payload;
  deadline until{clock::time_point::max()};
  trace_context trace;
  std::uint32_t only = any_replica;
  client::done then;

  // From here on the business of the socket thread.
  std::uint32_t at = nowhere; ///< Where it is under way; nowhere: it waits for a connection.
  std::vector<std::uint32_t> tried;
  clock::time_point waits_from{}; ///< When it began to wait for a connection.
  clock::time_point timer{};
};

struct replica {
  replica(const std::string& address, const client_options& options)
      : link{address}, breaker{options.breaker_failures, options.breaker_open} {}

  detail::replica_link link;
  circuit_breaker breaker;
  std::uint64_t in_flight = 0;
  std::size_t answers = 0;           ///< Its socket in the poll.
  std::optional<std::size_t> events; ///< Its monitor there, where it has one.
  bool touched = false;              ///< Its events may have been seen by what was done with its socket.
};

using count = std::atomic<std::uint64_t>;

struct live_client_counters {
  count calls{0}, succeeded{0}, failed{0}, retries{0}, retries_denied{0}, refused_overloaded{0},
      connections_lost{0}, dropped_late{0}, dropped_malformed{0};
};

/// True for failures that another replica may not have.
bool elsewhere(ec code) noexcept {
  return code == ec::unavailable || code == ec::overloaded || code == ec::stopping;
}

} // namespace

struct client::impl {
  explicit impl(client_options with)
      : options{std::move(with)}, door{options.max_in_flight * options.addresses.size()}, outbox{door + 1},
        budget{options.retry_budget, options.retry_floor, clock::now()} {
    randombytes_buf(&id_high, sizeof id_high);
  }

  expected<void> connect();
  void submit(pending_call call);
  void run();
  void begin(pending_call call);
  void dispatch(std::uint64_t id, pending_call& call);
  std::uint32_t choose(const pending_call& call, std::chrono::milliseconds& wait, error& why) const;
  bool send(std::uint64_t id, pending_call& call, std::uint32_t to);
  bool wait_for_connection(std::uint64_t id, pending_call& call, std::chrono::milliseconds wait);
  void set_timer(std::uint64_t id, pending_call& call, clock::time_point at);
  /// False: there may be more.
  bool read_answers(std::uint32_t from, int at_most);
  void take_answer(std::uint32_t from, std::vector<zmq::message_t> frames);
  /// False: there may be more.
  bool follow(std::uint32_t from);
  void lost(std::uint32_t from);
  void wake_waiting();
  void fire_timers();
  void attempt_failed(std::uint64_t id, pending_call& call, error err);
  void finish(std::uint64_t id, expected<reply> result);
  void leave(pending_call& call);
  void publish();

  client_options options;
  std::size_t door;
  std::shared_ptr<zmq::context_t> context = detail::shared_context();
  std::deque<replica> replicas;
  detail::outbox<pending_call> outbox;
  std::atomic<std::size_t> open_calls{0};
  live_client_counters counters;
  std::thread thread;

  // The socket thread's own.
  retry_budget budget;
  std::uint64_t id_high = 0;
  std::uint64_t next_id = 1;
  std::unordered_map<std::uint64_t, pending_call> pending;
  std::set<std::pair<clock::time_point, std::uint64_t>> timers;
  std::set<std::uint64_t> waiting;
  std::uint32_t turn = 0;

  mutable std::mutex states_mutex;
  std::vector<replica_info> states;
};

expected<void> client::impl::connect() {
  if (options.addresses.empty())
    return fail(ec::invalid_argument, "{} has no addresses to connect to", options.service);
  for (auto& address : options.addresses) {
    auto watch = fmt::format("inproc://troupe.client.{}.{}", static_cast<const void*>(this), replicas.size());
    TROUPE_CHECK(replicas.emplace_back(address, options).link.connect(*context, options, watch));
  }
  publish();
  return {};
}

void client::impl::submit(pending_call call) {
  ++counters.calls;
  auto refuse = [&](ec code, std::string text) {
    ++counters.failed;
    call.then(unexpected<error>{error{code, std::move(text)}});
  };
  if (call.only != any_replica && call.only >= replicas.size())
    return refuse(ec::invalid_argument, fmt::format("{} has {} replicas, there is no number {}",
                                                    options.service, replicas.size(), call.only));
  if (call.until.passed())
    return refuse(ec::too_late, fmt::format("no time is left for {}", to_string(call.kind)));
  if (open_calls.fetch_add(1) >= door) {
    open_calls.fetch_sub(1);
    ++counters.refused_overloaded;
    return refuse(ec::overloaded, fmt::format("{} calls to {} are under way already", door, options.service));
  }
  if (!outbox.put(call)) {
    open_calls.fetch_sub(1);
    refuse(ec::stopping, fmt::format("the client of {} is being closed", options.service));
  }
}

void client::impl::run() {
  detail::socket_poll poll;
  auto asked = poll.add(outbox.fd());
  for (auto& each : replicas) {
    each.answers = poll.add(each.link.socket());
    if (each.link.monitor().handle() != nullptr)
      each.events = poll.add(each.link.monitor());
  }
  std::vector<pending_call> fresh;
  bool open = true;
  while (open) {
    auto wait = -1ms;
    if (!timers.empty())
      wait = std::clamp(std::chrono::ceil<std::chrono::milliseconds>(timers.begin()->first - clock::now()),
                        0ms, 60'000ms);
    if (!poll.wait(wait))
      break;
    if (poll.ready(asked)) { // First: what is sent is looked at below.
      open = !outbox.closed();
      outbox.take(fresh);
      for (auto& each : fresh)
        begin(std::move(each));
      fresh.clear();
    }
    for (std::uint32_t i = 0; i < replicas.size(); ++i) {
      auto& each = replicas[i];
      if (auto told = poll.ready(each.answers); std::exchange(each.touched, false) || told)
        each.touched = !read_answers(i, detail::messages_a_turn);
      if (each.events && poll.ready(*each.events) && !follow(i))
        poll.look_again(*each.events);
    }
    fire_timers();
    for (auto& each : replicas)
      if (each.touched)
        poll.look_again(each.answers);
    publish();
  }
  while (!pending.empty())
    finish(pending.begin()->first, fail(ec::stopping, "the client of {} was closed while waiting for {}",
                                        options.service, to_string(pending.begin()->second.kind)));
}

void client::impl::begin(pending_call call) {
  budget.called();
  auto id = next_id++;
  auto& held = pending.emplace(id, std::move(call)).first->second;
  set_timer(id, held, held.until.at());
  dispatch(id, held);
}

void client::impl::set_timer(std::uint64_t id, pending_call& call, clock::time_point at) {
  timers.erase({call.timer, id});
  call.timer = at;
  timers.insert({at, id});
}

/// The replica for the next attempt, or nowhere: then `wait` says how long one may be waited for, and `why`
/// why none is there.
std::uint32_t client::impl::choose(const pending_call& call, std::chrono::milliseconds& wait,
                                   error& why) const {
  auto now = clock::now();
  auto best = nowhere;
  auto size = static_cast<std::uint32_t>(replicas.size());
  auto patience = std::max(options.connect_wait, options.handshake_wait);
  wait = 0ms;
  why = {ec::unavailable, {}};
  auto note = [&](const replica& each, ec code, std::string_view text) {
    why.code = code;
    why.text += fmt::format("{}{}: {}", why.text.empty() ? "" : "; ", each.link.address(), text);
  };
  for (std::uint32_t k = 0; k < size; ++k) {
    auto i = call.only != any_replica ? call.only : (turn + k) % size;
    auto& each = replicas[i];
    if (std::find(call.tried.begin(), call.tried.end(), i) != call.tried.end())
      note(each, why.code, "tried");
    else if (each.link.unauthorized())
      note(each, ec::unauthorized, "our key is not on its allow-list");
    else if (!each.link.connected()) {
      wait = std::max(wait, each.link.refused() ? options.connect_wait : patience);
      note(each, each.link.denied() ? ec::unauthorized : ec::unavailable, each.link.why());
    } else if (!each.breaker.allows(now)) {
      if (each.breaker.state(now) == breaker_state::half_open)
        wait = std::max(wait, options.connect_wait);
      note(each, ec::unavailable, "its circuit breaker is open");
    } else if (each.in_flight >= options.max_in_flight)
      note(each, ec::overloaded, fmt::format("{} calls are under way", each.in_flight));
    else if (best == nowhere || each.in_flight < replicas[best].in_flight)
      best = i;
    if (call.only != any_replica)
      break;
  }
  return best;
}

void client::impl::dispatch(std::uint64_t id, pending_call& call) {
  auto wait = 0ms;
  bool full = false;
  error why;
  for (;;) {
    auto to = choose(call, wait, why);
    if (to == nowhere)
      break;
    if (call.until.passed())
      return finish(
          id, fail(ec::too_late, "no time was left to send {} to {}", to_string(call.kind), options.service));
    if (send(id, call, to))
      return;
    call.tried.push_back(to); // Takes nothing now; a new connection gives it another chance.
    full = true;
  }
  if (full)
    wait = std::max(wait, options.connect_wait);
  if (wait_for_connection(id, call, wait))
    return;
  if (why.code == ec::overloaded)
    ++counters.refused_overloaded;
  finish(id, fail(why.code, "no replica of {} can take {} ({})", options.service, to_string(call.kind),
                  why.text));
}

/// Sets it aside until something changes, or `wait` from when it was first set aside is over: then false.
bool client::impl::wait_for_connection(std::uint64_t id, pending_call& call, std::chrono::milliseconds wait) {
  auto now = clock::now();
  if (call.waits_from == clock::time_point{})
    call.waits_from = now;
  auto give_up = std::min(call.waits_from + wait, call.until.at());
  if (now >= give_up)
    return false;
  waiting.insert(id);
  set_timer(id, call, give_up);
  return true;
}

bool client::impl::send(std::uint64_t id, pending_call& call, std::uint32_t to) {
  auto& target = replicas[to];
  envelope head;
  head.kind = call.kind;
  head.request_id = {id_high, id};
  head.trace = call.trace;
  head.time_left = std::chrono::ceil<std::chrono::microseconds>(call.until.left());
  head.caller = options.caller;
  auto first = detail::to_message(encode(head));
  target.touched = true;
  auto went = detail::send(target.link.socket(), first, true);
  if (went == detail::sent::full) {
    // A connection that is milliseconds old may not have reached the socket: asking for events brings it in.
    std::ignore = target.link.socket().get(zmq::sockopt::events);
    went = detail::send(target.link.socket(), first, true);
  }
  if (went != detail::sent::yes)
    return false;
  auto second = detail::to_message(call.payload);
  if (detail::send(target.link.socket(), second, false) != detail::sent::yes)
    return false;
  ++turn;
  ++target.in_flight;
  target.breaker.sent();
  call.at = to;
  call.tried.push_back(to);
  waiting.erase(id);
  set_timer(id, call, call.until.at());
  return true;
}

bool client::impl::read_answers(std::uint32_t from, int at_most) {
  for (int i = 0; i < at_most; ++i) {
    auto frames = detail::receive(replicas[from].link.socket());
    if (frames.empty())
      return true;
    take_answer(from, std::move(frames));
  }
  return false;
}

void client::impl::take_answer(std::uint32_t from, std::vector<zmq::message_t> frames) {
  auto malformed = [&] { ++counters.dropped_malformed; };
  if (frames.size() != 2)
    return malformed();
  auto info = decode_envelope({frames[0].data<std::byte>(), frames[0].size()});
  if (!info || !info->reply)
    return malformed();
  auto found = info->request_id.high == id_high ? pending.find(info->request_id.low) : pending.end();
  if (found == pending.end() || found->second.at != from) {
    ++counters.dropped_late;
    return;
  }
  auto& call = found->second;
  if (info->failure) {
    auto err = *std::move(info->failure);
    if (err.code == ec::internal || err.code == ec::too_late)
      replicas[from].breaker.failed(clock::now());
    else
      replicas[from].breaker.succeeded();
    return attempt_failed(found->first, call, std::move(err));
  }
  bool probed = replicas[from].breaker.state(clock::now()) != breaker_state::closed;
  replicas[from].breaker.succeeded();
  finish(found->first, reply{*std::move(info), detail::to_chunk(std::move(frames[1])), from});
  if (probed)
    wake_waiting();
}

/// What became of a connection, and of the calls that go by it or wait for one.
bool client::impl::follow(std::uint32_t from) {
  auto& each = replicas[from];
  detail::link_change change;
  for (int i = 0; i < detail::messages_a_turn; ++i) {
    if (!each.link.next(change))
      return true;
    each.touched = true; // A handshake asks the socket.
    if (change == detail::link_change::lost)
      lost(from);
    else if (change == detail::link_change::up)
      each.breaker.reset();
    if (change != detail::link_change::none && change != detail::link_change::lost)
      wake_waiting(); // One may go now, or wait less long.
  }
  return false;
}

void client::impl::lost(std::uint32_t from) {
  auto& each = replicas[from];
  // Answers that came before the end are still good.
  read_answers(from, INT_MAX);
  ++counters.connections_lost;
  std::vector<std::uint64_t> hit;
  for (auto& [id, call] : pending)
    if (call.at == from)
      hit.push_back(id);
  for (auto id : hit)
    if (auto found = pending.find(id); found != pending.end())
      attempt_failed(id, found->second,
                     {ec::unavailable, fmt::format("the connection to {} was lost while it worked on {}",
                                                   each.link.address(), to_string(found->second.kind))});
}

void client::impl::wake_waiting() {
  std::vector<std::uint64_t> now{waiting.begin(), waiting.end()};
  for (auto id : now) {
    auto found = pending.find(id);
    if (found == pending.end())
      continue;
    found->second.tried.clear();
    dispatch(id, found->second);
  }
}

void client::impl::fire_timers() {
  auto now = clock::now();
  while (!timers.empty() && timers.begin()->first <= now) {
    auto id = timers.begin()->second;
    auto& call = pending.at(id);
    if (call.at != nowhere) {
      auto& at = replicas[call.at];
      at.breaker.failed(now);
      finish(id, fail(ec::too_late, "{} at {} did not answer {} in time", options.service, at.link.address(),
                      to_string(call.kind)));
    } else {
      call.tried.clear();
      dispatch(id, call);
    }
  }
}

void client::impl::leave(pending_call& call) {
  if (call.at != nowhere)
    --replicas[call.at].in_flight;
  call.at = nowhere;
}

void client::impl::attempt_failed(std::uint64_t id, pending_call& call, error err) {
  leave(call);
  bool again = call.only == any_replica && idempotent(call.kind) && elsewhere(err.code) &&
               call.tried.size() < options.max_attempts && !call.until.passed();
  auto wait = 0ms;
  error why;
  if (again && choose(call, wait, why) != nowhere) {
    if (budget.take(clock::now())) {
      ++counters.retries;
      return dispatch(id, call);
    }
    ++counters.retries_denied;
  }
  finish(id, unexpected<error>{std::move(err)});
}

void client::impl::finish(std::uint64_t id, expected<reply> result) {
  auto node = pending.extract(id);
  auto& call = node.mapped();
  timers.erase({call.timer, id});
  waiting.erase(id);
  leave(call);
  ++(result ? counters.succeeded : counters.failed);
  open_calls.fetch_sub(1);
  call.then(std::move(result));
}

void client::impl::publish() {
  std::lock_guard lock{states_mutex};
  auto now = clock::now();
  states.resize(replicas.size());
  for (std::size_t i = 0; i < replicas.size(); ++i) {
    auto& from = replicas[i];
    auto& to = states[i];
    if (to.address.empty())
      to.address = from.link.address();
    to.connected = from.link.connected();
    to.breaker = from.breaker.state(now);
    to.in_flight = from.in_flight;
  }
}

client::client(std::unique_ptr<impl> made) noexcept : impl_{std::move(made)} {}

expected<std::unique_ptr<client>> client::open(client_options options) {
  auto name = "to-" + options.service;
  auto made = std::make_unique<impl>(std::move(options));
  TROUPE_CHECK(made->connect());
  made->thread = std::thread{[self = made.get()] { self->run(); }};
  name_thread(made->thread, name);
  return std::unique_ptr<client>{new client{std::move(made)}};
}

client::~client() {
  impl_->outbox.close();
  if (impl_->thread.joinable())
    impl_->thread.join();
}

void client::call_async(wire::Kind kind, chunk payload, deadline until, done then, trace_context trace) {
  call_async_to(any_replica, kind, std::move(payload), until, std::move(then), trace);
}

void client::call_async_to(std::uint32_t replica, wire::Kind kind, chunk payload, deadline until, done then,
                           trace_context trace) {
  pending_call call;
  call.kind = kind;
  call.payload = std::move(payload);
  call.until = until;
  call.trace = trace;
  call.only = replica;
  call.then = std::move(then);
  impl_->submit(std::move(call));
}

expected<reply> client::call(wire::Kind kind, chunk payload, deadline until, trace_context trace) {
  return call_to(any_replica, kind, std::move(payload), until, trace);
}

expected<reply> client::call_to(std::uint32_t replica, wire::Kind kind, chunk payload, deadline until,
                                trace_context trace) {
  if (std::this_thread::get_id() == impl_->thread.get_id())
    return fail(ec::internal, "a blocking call of {} from a callback of its own client",
                impl_->options.service);
  std::mutex mutex;
  std::condition_variable ended;
  std::optional<expected<reply>> result;
  call_async_to(
      replica, kind, std::move(payload), until,
      [&](expected<reply> answer) {
        // Told under the lock: the waiting frame must not go before the notification is done.
        std::lock_guard lock{mutex};
        result.emplace(std::move(answer));
        ended.notify_one();
      },
      trace);
  std::unique_lock lock{mutex};
  ended.wait(lock, [&] { return result.has_value(); });
  return *std::move(result);
}

std::uint32_t client::replicas() const noexcept {
  return static_cast<std::uint32_t>(impl_->replicas.size());
}

const std::string& client::service() const noexcept {
  return impl_->options.service;
}

std::vector<replica_info> client::replica_states() const {
  std::lock_guard lock{impl_->states_mutex};
  return impl_->states;
}

client_counters client::counters() const noexcept {
  auto& live = impl_->counters;
  client_counters now;
  now.calls = live.calls;
  now.succeeded = live.succeeded;
  now.failed = live.failed;
  now.retries = live.retries;
  now.retries_denied = live.retries_denied;
  now.refused_overloaded = live.refused_overloaded;
  now.connections_lost = live.connections_lost;
  now.dropped_late = live.dropped_late;
  now.dropped_malformed = live.dropped_malformed;
  return now;
}

} // namespace troupe::net
