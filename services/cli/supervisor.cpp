#include "services/cli/supervisor.hpp"

#include "common/command_line/exit_codes.hpp"
#include "common/core/make_folder.hpp"
#include "common/core/time.hpp"
#include "common/log/log.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;

/// Where the child finds the descriptor on which it says "ready".
constexpr int child_ready_fd = 3;
constexpr int exit_not_there = 127; ///< Of exec.
/// Longer lines are passed on in pieces.
constexpr std::size_t max_line = 64 << 10;
/// After the drain budget of a service, so long again until it is killed.
constexpr auto kill_after = 6s;
constexpr std::array colours{36, 33, 35, 32, 34, 31};

void close_fd(int& fd) {
  if (fd >= 0)
    ::close(std::exchange(fd, -1));
}

sigset_t watched_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (int each : {SIGINT, SIGTERM, SIGCHLD})
    ::sigaddset(&set, each);
  return set;
}

} // namespace

supervisor::supervisor(supervisor_options options) : options_{std::move(options)}, watch_{options_.catalog} {
  std::size_t widest = 0;
  for (const auto& entry : options_.catalog->services())
    for (std::uint32_t replica = 0; replica < entry.replicas; ++replica) {
      auto& each = processes_.emplace_back();
      each.entry = &entry;
      each.replica = replica;
      widest = std::max(widest, each.identity().size());
    }
  std::size_t next = 0;
  for (auto& each : processes_) {
    each.prefix = fmt::format("{:<{}} | ", each.identity(), widest);
    if (options_.colour)
      each.prefix = fmt::format("\033[{}m{}\033[0m", colours[next++ % colours.size()], each.prefix);
  }
}

supervisor::~supervisor() {
  for (auto& each : processes_) {
    if (each.id > 0) {
      ::kill(each.id, SIGKILL);
      ::waitpid(each.id, nullptr, 0);
    }
    close_fd(each.lines_fd);
    close_fd(each.ready_fd);
  }
  if (signals_ >= 0) {
    auto watched = watched_signals();
    ::pthread_sigmask(SIG_UNBLOCK, &watched, nullptr);
  }
  close_fd(signals_);
  close_fd(lock_);
}

expected<void> supervisor::prepare() {
  for (const auto& each : processes_) {
    auto program = options_.programs / each.entry->binary;
    if (::access(program.c_str(), X_OK) != 0)
      return fail(ec::not_found, "cannot start {}: there is no program {}; build it with scripts/build",
                  each.entry->name, program.string());
  }
  auto folder = options_.catalog->data() / "run";
  TROUPE_CHECK(make_own_folder(folder));
  auto file = (folder / "up.lock").string();
  lock_ = ::open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (lock_ < 0)
    return fail(errno_code(errno), "cannot open {}: {}", file, errno_text(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0)
    return fail(ec::conflict, "another `troupe up` runs on {}; stop it first, or give another --data",
                options_.catalog->data().string());
  auto watched = watched_signals();
  ::pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  signals_ = ::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals_ < 0)
    return fail(ec::io_failed, "cannot watch signals: {}", errno_text(errno));
  return {};
}

expected<void> supervisor::start(process& each) {
  std::vector<std::string> args{(options_.programs / each.entry->binary).string(),
                                "--catalog",
                                options_.catalog->file().string(),
                                "--data",
                                options_.catalog->data().string(),
                                "--replica",
                                std::to_string(each.replica),
                                "--ready-fd",
                                std::to_string(child_ready_fd)};
  if (options_.any_admin_port)
    args.insert(args.end(), {"--admin-port", "0"});
  if (auto set = options_.set.find(each.entry->name); set != options_.set.end())
    for (const auto& assignment : set->second)
      args.insert(args.end(), {"--set", assignment});
  std::vector<char*> argv;
  for (auto& arg : args)
    argv.push_back(arg.data());
  argv.push_back(nullptr);

  int lines[2];
  int ready[2];
  if (::pipe2(lines, O_CLOEXEC) != 0)
    return fail(ec::io_failed, "cannot start {}: {}", each.identity(), errno_text(errno));
  if (::pipe2(ready, O_CLOEXEC) != 0) {
    auto number = errno;
    ::close(lines[0]);
    ::close(lines[1]);
    return fail(ec::io_failed, "cannot start {}: {}", each.identity(), errno_text(number));
  }
  auto parent = ::getpid();
  auto watched = watched_signals();
  auto child = ::fork();
  if (child == 0) {
    // Between fork and exec: only calls that are safe in a signal handler.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent)
      ::_exit(1);
    ::setpgid(0, 0); // Ctrl-C goes to us alone; we stop the services in order.
    ::dup2(lines[1], STDOUT_FILENO);
    ::dup2(lines[1], STDERR_FILENO);
    if (ready[1] == child_ready_fd)
      ::fcntl(child_ready_fd, F_SETFD, 0);
    else
      ::dup2(ready[1], child_ready_fd);
    ::sigprocmask(SIG_UNBLOCK, &watched, nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(exit_not_there);
  }
  ::close(lines[1]);
  ::close(ready[1]);
  if (child < 0) {
    ::close(lines[0]);
    ::close(ready[0]);
    return fail(ec::io_failed, "cannot start {}: {}", each.identity(), errno_text(errno));
  }
  for (int fd : {lines[0], ready[0]})
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
  each.id = child;
  each.lines_fd = lines[0];
  each.ready_fd = ready[0];
  each.is = state::starting;
  each.since = clock::now();
  each.next = each.since + now(each).start_timeout;
  log::info("process-started", "up started {} as process {}", each.identity(), child);
  return {};
}

const service_entry& supervisor::now(const process& each) {
  if (auto changed = watch_.check(); !changed)
    log::warn("catalog-refused", "{}", changed.error().text);
  catalog_ = watch_.current();
  auto found = catalog_->find(each.entry->name);
  return found ? **found : *each.entry;
}

bool supervisor::needs_met(const process& each) const {
  return std::ranges::all_of(processes_, [&](const process& other) {
    bool needed = std::ranges::find(each.entry->needs, other.entry->name) != each.entry->needs.end();
    return !needed || other.was_ready;
  });
}

/// Whether something that still runs needs this service.
bool supervisor::is_needed(const process& each) const {
  return std::ranges::any_of(processes_, [&](const process& other) {
    return other.id > 0 &&
           std::ranges::find(other.entry->needs, each.entry->name) != other.entry->needs.end();
  });
}

bool supervisor::all(state is) const {
  return std::ranges::all_of(processes_, [is](const process& each) { return each.is == is; });
}

void supervisor::start_what_can() {
  for (auto& each : processes_) {
    bool now = (each.is == state::waiting && needs_met(each)) ||
               (each.is == state::resting && clock::now() >= each.next);
    if (!now)
      continue;
    if (auto started = start(each); !started) {
      each.is = state::resting;
      each.next = clock::now() + options_.longest_delay;
      log::error("process-start-failed", "{}", started.error().text);
    }
  }
}

void supervisor::write_line(const process& each, std::string_view line) {
  auto text = fmt::format("{}{}\n", each.prefix, line);
  std::string_view left = text;
  while (!left.empty()) {
    auto n = ::write(options_.log_fd, left.data(), left.size());
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return;
    left.remove_prefix(static_cast<std::size_t>(n));
  }
}

void supervisor::read_lines(process& each) {
  std::array<char, 16 << 10> buffer;
  // A bounded number of reads a turn: one talkative process does not silence the others.
  for (int turn = 0; turn < 16; ++turn) {
    auto n = ::read(each.lines_fd, buffer.data(), buffer.size());
    if (n < 0)
      return;
    if (n == 0) {
      if (!each.line.empty())
        write_line(each, std::exchange(each.line, {}));
      return close_fd(each.lines_fd);
    }
    each.line.append(buffer.data(), static_cast<std::size_t>(n));
    std::size_t begin = 0;
    for (auto end = each.line.find('\n'); end != std::string::npos; end = each.line.find('\n', begin)) {
      write_line(each, std::string_view{each.line}.substr(begin, end - begin));
      begin = end + 1;
    }
    each.line.erase(0, begin);
    if (each.line.size() > max_line)
      write_line(each, std::exchange(each.line, {}));
  }
}

void supervisor::read_ready(process& each) {
  char buffer[16];
  auto n = ::read(each.ready_fd, buffer, sizeof buffer);
  if (n < 0)
    return;
  if (n > 0 && each.is == state::starting) {
    each.is = state::ready;
    each.was_ready = true;
    each.since = clock::now();
    if (!announced_ && all(state::ready)) {
      announced_ = true;
      log::info("fleet-ready", "all {} processes of the fleet are ready", processes_.size());
      if (options_.on_ready)
        options_.on_ready();
    }
  }
  close_fd(each.ready_fd);
}

void supervisor::ended(process& each, int status) {
  if (each.lines_fd >= 0)
    read_lines(each);
  close_fd(each.lines_fd);
  if (!each.line.empty())
    write_line(each, std::exchange(each.line, {}));
  close_fd(each.ready_fd);
  each.id = -1;
  auto ending = WIFSIGNALED(status) ? fmt::format("was ended by signal {} ({})", WTERMSIG(status),
                                                  ::strsignal(WTERMSIG(status)))
                                    : fmt::format("ended with code {}", WEXITSTATUS(status));
  if (stopping_) {
    each.is = state::ended;
    log::info("process-ended", "{} {}", each.identity(), ending);
    return;
  }
  bool steady = each.is == state::ready && clock::now() - each.since >= options_.steady;
  each.delay =
      steady || each.delay == 0ms ? options_.first_delay : std::min(each.delay * 2, options_.longest_delay);
  auto code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  if (!each.was_ready && (code == exit_usage || code == exit_address_in_use || code == exit_not_there)) {
    auto why = code == exit_address_in_use ? "its address is in use" : ending;
    result_ =
        fail(ec::invalid_argument, "{} does not start: {}; its lines above say more", each.identity(), why);
    each.is = state::ended;
    return begin_stop();
  }
  each.is = state::resting;
  each.since = clock::now();
  each.next = each.since + each.delay;
  log::warn("process-restart", "{} {}; up starts it again in {}", each.identity(), ending,
            to_duration_text(std::chrono::microseconds{each.delay}));
}

void supervisor::reap() {
  int status = 0;
  for (pid_t id = 0; (id = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    auto found = std::ranges::find(processes_, id, &process::id);
    if (found != processes_.end())
      ended(*found, status);
  }
}

void supervisor::read_signals() {
  signalfd_siginfo got{};
  while (::read(signals_, &got, sizeof got) == sizeof got) {
    if (got.ssi_signo == SIGCHLD)
      continue;
    auto since = clock::now() - std::exchange(last_signal_, clock::now());
    if (!stopping_) {
      log::info("stopping", "up stops the fleet; once more, after a second, to kill it");
      begin_stop();
    } else if (since >= options_.one_signal) {
      for (auto& each : processes_)
        if (each.id > 0)
          ::kill(each.id, SIGKILL);
      killed_ = true;
    }
  }
  reap();
}

void supervisor::begin_stop() {
  stopping_ = true;
  for (auto& each : processes_)
    if (each.id <= 0)
      each.is = state::ended;
}

void supervisor::stop_what_can() {
  for (auto& each : processes_) {
    if (each.id <= 0 || each.is == state::stopping || is_needed(each))
      continue;
    ::kill(each.id, SIGTERM);
    each.is = state::stopping;
    each.since = clock::now();
    each.next = each.since + now(each).drain_timeout + kill_after;
  }
}

void supervisor::check_times() {
  auto now = clock::now();
  for (auto& each : processes_) {
    if (each.id <= 0 || now < each.next)
      continue;
    if (each.is == state::starting) {
      log::error(
          "process-start-late", "{} was not ready within {} and is killed", each.identity(),
          to_duration_text(std::chrono::duration_cast<std::chrono::microseconds>(each.next - each.since)));
      ::kill(each.id, SIGKILL);
      each.next = now + 60s;
    } else if (each.is == state::stopping) {
      log::error("process-stop-late", "{} did not stop within its drain budget and is killed",
                 each.identity());
      ::kill(each.id, SIGKILL);
      killed_ = true;
      each.next = now + 60s;
    }
  }
}

int supervisor::wait_ms() const {
  auto first = clock::time_point::max();
  for (const auto& each : processes_)
    if (each.is == state::starting || each.is == state::resting || each.is == state::stopping)
      first = std::min(first, each.next);
  if (first == clock::time_point::max())
    return -1;
  auto left = std::chrono::ceil<std::chrono::milliseconds>(first - clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

void supervisor::turn() {
  std::vector<pollfd> fds{{signals_, POLLIN, 0}};
  for (const auto& each : processes_) {
    fds.push_back({each.lines_fd, POLLIN, 0}); // poll passes over negative descriptors
    fds.push_back({each.ready_fd, POLLIN, 0});
  }
  if (::poll(fds.data(), fds.size(), wait_ms()) < 0)
    return;
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    auto& each = processes_[i];
    if (fds[1 + 2 * i].revents != 0 && each.lines_fd >= 0)
      read_lines(each);
    if (fds[2 + 2 * i].revents != 0 && each.ready_fd >= 0)
      read_ready(each);
  }
  if (fds[0].revents != 0)
    read_signals();
  check_times();
}

expected<void> supervisor::run() {
  TROUPE_CHECK(prepare());
  while (!(stopping_ && all(state::ended))) {
    if (stopping_)
      stop_what_can();
    else
      start_what_can();
    turn();
  }
  TROUPE_CHECK(result_);
  if (killed_)
    return fail(ec::too_late, "a service had to be killed at the stop; what it had acknowledged is safe");
  return {};
}

} // namespace troupe::cli
