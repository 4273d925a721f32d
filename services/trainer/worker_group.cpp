#include "services/trainer/worker_group.hpp"

#include "common/json/fields.hpp"
#include "common/json/parse.hpp"
#include "common/log/log.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

namespace troupe::trainer {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
namespace json = boost::json;

constexpr int exit_bad_input = 2;
constexpr std::size_t max_line = 1 << 20;
constexpr std::size_t error_tail = 600;

struct rank {
  pid_t id = -1;
  int lines = -1;
  std::string line;
  std::string stage;
  std::uint64_t step = 0;
  clock::time_point moved = clock::now();
  std::optional<int> status; ///< Of waitpid, once it has ended.
};

/// The ranks of one start, until the first of them is lost or all are done.
class group {
public:
  group(const group_options& options, group_progress& progress, bool resume)
      : options_{options}, progress_{progress}, resume_{resume} {}
  ~group() { kill_all(); }
  group(const group&) = delete;
  group& operator=(const group&) = delete;

  enum class end : std::uint8_t { done, lost, refused, stopped };

  expected<end> run(const std::function<bool(const group_progress&)>& report) {
    std::error_code problem;
    std::filesystem::remove(rendezvous(), problem);
    ranks_.resize(options_.ranks);
    for (std::uint32_t r = 0; r < options_.ranks; ++r)
      TROUPE_CHECK(start(r));
    std::optional<clock::time_point> kill_at;
    for (;;) {
      turn();
      if (!kill_at && !report(progress_)) {
        for (auto& each : ranks_)
          if (!each.status)
            ::kill(each.id, SIGTERM);
        kill_at = clock::now() + options_.stop_after;
      }
      if (kill_at) {
        if (clock::now() >= *kill_at)
          kill_all();
        if (std::ranges::all_of(ranks_, [](auto& each) { return each.status.has_value(); }))
          return end::stopped;
        continue;
      }
      if (auto ended = look())
        return *ended;
    }
  }

  const std::string& why() const noexcept { return why_; }
  const json::object& result() const noexcept { return result_; }

private:
  std::filesystem::path rendezvous() const { return options_.out / "rendezvous"; }
  std::filesystem::path log_of(std::uint32_t r) const { return options_.out / fmt::format("rank-{}.log", r); }

  expected<void> start(std::uint32_t r) {
    std::vector<std::string> args{
        options_.program.string(), "--config", options_.config.string(),       "--data",
        options_.data.string(),    "--out",    options_.out.string(),          "--rank",
        std::to_string(r),         "--world",  std::to_string(options_.ranks), "--rendezvous",
        rendezvous().string()};
    if (resume_)
      args.emplace_back("--resume");
    std::vector<char*> argv;
    for (auto& each : args)
      argv.push_back(each.data());
    argv.push_back(nullptr);
    int lines[2];
    if (::pipe2(lines, O_CLOEXEC) != 0)
      return fail(errno_code(errno), "cannot start rank {}: {}", r, errno_text(errno));
    auto log = ::open(log_of(r).c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
    auto parent = ::getpid();
    // Until exec the child has the trainer's handlers: a signal sent to the rank must not run them.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    auto child = log < 0 ? -1 : ::fork();
    auto number = errno;
    if (child != 0)
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (child == 0) {
      // Between fork and exec: only calls that are safe in a signal handler.
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent)
        ::_exit(1);
      ::setpgid(0, 0);
      ::dup2(lines[1], STDOUT_FILENO);
      ::dup2(log, STDERR_FILENO);
      struct sigaction standard {};
      standard.sa_handler = SIG_DFL;
      ::sigaction(SIGTERM, &standard, nullptr);
      ::sigaction(SIGINT, &standard, nullptr);
      sigset_t none;
      ::sigemptyset(&none);
      ::sigprocmask(SIG_SETMASK, &none, nullptr);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(lines[1]);
    if (log >= 0)
      ::close(log);
    if (child < 0) {
      ::close(lines[0]);
      return fail(errno_code(number), "cannot start rank {}: {}", r, errno_text(number));
    }
    ::fcntl(lines[0], F_SETFL, O_NONBLOCK);
    ranks_[r].id = child;
    ranks_[r].lines = lines[0];
    ranks_[r].moved = clock::now();
    return {};
  }

  void turn() {
    std::vector<pollfd> fds;
    for (auto& each : ranks_)
      fds.push_back({each.lines, POLLIN, 0}); // poll passes over negative descriptors
    ::poll(fds.data(), fds.size(), 100);
    for (std::uint32_t r = 0; r < ranks_.size(); ++r) {
      auto& each = ranks_[r];
      read(each, r);
      int status = 0;
      if (each.id > 0 && !each.status && ::waitpid(each.id, &status, WNOHANG) == each.id) {
        each.status = status;
        read(each, r); // what it wrote before its end
      }
    }
  }

  void read(rank& each, std::uint32_t r) {
    std::array<char, 16 << 10> buffer;
    while (each.lines >= 0) {
      auto n = ::read(each.lines, buffer.data(), buffer.size());
      if (n < 0)
        return;
      if (n == 0) {
        ::close(std::exchange(each.lines, -1));
        return;
      }
      each.line.append(buffer.data(), static_cast<std::size_t>(n));
      std::size_t begin = 0;
      for (auto end = each.line.find('\n'); end != std::string::npos; end = each.line.find('\n', begin)) {
        take(each, r, std::string_view{each.line}.substr(begin, end - begin));
        begin = end + 1;
      }
      each.line.erase(0, begin);
      if (each.line.size() > max_line)
        each.line.clear();
    }
  }

  void take(rank& each, std::uint32_t r, std::string_view text) {
    auto value = parse_json(text);
    if (!value || !value->is_object())
      return;
    auto& line = value->get_object();
    if (flag_or(line, "done", false)) {
      each.moved = clock::now();
      if (r == 0)
        result_ = line;
      return;
    }
    auto stage = text_or(line, "stage");
    auto step = whole_or(line, "step", 0);
    if (stage != each.stage || step != each.step)
      each.moved = clock::now();
    each.stage = stage;
    each.step = step;
    if (r != 0 || stage.empty())
      return;
    progress_.stage = stage;
    progress_.step = step;
    progress_.steps_total = whole_or(line, "steps_total", 0);
    progress_.samples_per_second = number_or(line, "samples_per_second", 0);
    progress_.loss = number_or(line, "loss", 0);
    progress_.learning_rate = number_or(line, "learning_rate", 0);
    progress_.gradient_norm = number_or(line, "gradient_norm", 0);
  }

  /// Whether it is over, and how. What a rank says of its input counts for more than that its peers are lost.
  std::optional<end> look() {
    std::uint32_t done = 0;
    std::optional<end> over;
    for (std::uint32_t r = 0; r < ranks_.size(); ++r) {
      auto& each = ranks_[r];
      if (each.status) {
        auto status = *each.status;
        if (WIFEXITED(status) && WEXITSTATUS(status) == exit_bad_input) {
          why_ = fmt::format("rank {} refuses its input: {}", r, tail(r));
          return end::refused;
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
          ++done;
        else if (!over) {
          over = end::lost;
          why_ = WIFSIGNALED(status) ? fmt::format("rank {} was ended by signal {}", r, WTERMSIG(status))
                                     : fmt::format("rank {} ended with code {}", r, WEXITSTATUS(status));
          if (auto said = tail(r); !said.empty())
            why_ += ": " + said;
        }
      } else if (auto idle = clock::now() - each.moved; idle >= options_.hang_after && !over) {
        over = end::lost;
        why_ = fmt::format("rank {} hangs: no step for {} s", r,
                           std::chrono::duration_cast<std::chrono::seconds>(idle).count());
      }
    }
    if (over)
      return over;
    if (done < ranks_.size())
      return std::nullopt;
    if (!result_.empty())
      return end::done;
    why_ = "the ranks ended without a model";
    return end::lost;
  }

  std::string tail(std::uint32_t r) const {
    std::ifstream in{log_of(r), std::ios::binary | std::ios::ate};
    if (!in)
      return {};
    auto size = static_cast<std::size_t>(in.tellg());
    auto from = size > error_tail ? size - error_tail : 0;
    std::string text(size - from, '\0');
    in.seekg(static_cast<std::streamoff>(from));
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    while (!text.empty() && text.back() == '\n')
      text.pop_back();
    auto last = text.rfind('\n');
    return last == std::string::npos ? text : text.substr(last + 1);
  }

  void kill_all() {
    for (auto& each : ranks_)
      if (each.id > 0 && !each.status)
        ::kill(each.id, SIGKILL);
    for (auto& each : ranks_) {
      int status = 0;
      if (each.id > 0 && !each.status && ::waitpid(each.id, &status, 0) == each.id)
        each.status = status;
      if (each.lines >= 0)
        ::close(std::exchange(each.lines, -1));
    }
  }

  const group_options& options_;
  group_progress& progress_;
  bool resume_;
  std::vector<rank> ranks_;
  json::object result_;
  std::string why_;
};

} // namespace

expected<json::object> train_with_workers(const group_options& options,
                                          const std::function<bool(const group_progress&)>& report) {
  if (::access(options.program.c_str(), X_OK) != 0)
    return fail(ec::not_found, "there is no program {} to train with", options.program.string());
  group_progress progress;
  for (bool resume = options.resume;; resume = true) {
    group ranks{options, progress, resume};
    TROUPE_TRY(ended, ranks.run(report));
    switch (ended) {
    case group::end::done:
      return ranks.result();
    case group::end::stopped:
      return fail(ec::canceled, "training was stopped; its checkpoint stays");
    case group::end::refused:
      return fail(ec::invalid_argument, "{}", ranks.why());
    case group::end::lost:
      break;
    }
    if (progress.restarts == options.max_restarts)
      return fail(ec::unavailable, "{}; restarts used up ({})", ranks.why(), progress.restarts);
    ++progress.restarts;
    log::warn("ranks-restart", "trainer starts all ranks again from the last checkpoint ({} of {}): {}",
              progress.restarts, options.max_restarts, ranks.why());
  }
}

} // namespace troupe::trainer
