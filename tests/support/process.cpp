#include "tests/support/process.hpp"

#include "common/testing/temp_dir.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>
#include <utility>

namespace troupe::testing {

namespace {

struct process_row {
  pid_t pid;
  pid_t parent;
};

std::vector<process_row> all_processes() {
  std::vector<process_row> out;
  std::error_code ignored;
  for (auto& entry : std::filesystem::directory_iterator{"/proc", ignored}) {
    auto name = entry.path().filename().string();
    pid_t pid = 0;
    if (auto [end, err] = std::from_chars(name.data(), name.data() + name.size(), pid);
        err != std::errc{} || end != name.data() + name.size())
      continue;
    auto stat = read_file(entry.path() / "stat");
    auto close = stat.rfind(')'); // The name before it may hold anything.
    char state = 0;
    int parent = 0;
    if (close != std::string::npos && std::sscanf(stat.c_str() + close + 1, " %c %d", &state, &parent) == 2 &&
        state != 'Z')
      out.push_back({pid, parent});
  }
  return out;
}

} // namespace

child::child(const std::vector<std::string>& argv, const std::filesystem::path& out,
             const std::filesystem::path& err) {
  std::vector<char*> words;
  for (auto& word : argv)
    words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  auto out_fd = ::open(out.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  auto err_fd = ::open(err.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  auto parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) // It ended before that.
      ::_exit(127);
    ::dup2(out_fd, 1);
    ::dup2(err_fd, 2);
    auto null = ::open("/dev/null", O_RDONLY);
    ::dup2(null, 0);
    ::execv(words[0], words.data());
    ::_exit(127);
  }
  ::close(out_fd);
  ::close(err_fd);
}

child::~child() {
  if (pid_ > 0 && !code_) {
    signal(SIGKILL);
    wait(std::chrono::seconds{10});
  }
}

child::child(child&& other) noexcept : pid_{std::exchange(other.pid_, -1)}, code_{other.code_} {}

child& child::operator=(child&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(code_, other.code_);
  return *this;
}

void child::signal(int number) const noexcept {
  if (pid_ > 0 && !code_)
    ::kill(pid_, number);
}

std::optional<int> child::wait(std::chrono::milliseconds limit) {
  if (code_ || pid_ <= 0)
    return code_;
  auto handle = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  pollfd ready{handle, POLLIN, 0};
  ::poll(&ready, 1, static_cast<int>(limit.count()));
  ::close(handle);
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) == pid_)
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return code_;
}

outcome run(const std::vector<std::string>& argv, std::chrono::milliseconds limit) {
  temp_dir dir;
  child process{argv, dir / "out", dir / "err"};
  outcome result;
  if (auto code = process.wait(limit))
    result.code = *code;
  else {
    process.signal(SIGKILL);
    process.wait(std::chrono::seconds{10});
  }
  result.out = read_file(dir / "out");
  result.err = read_file(dir / "err");
  return result;
}

std::vector<pid_t> descendants(std::string_view program) {
  auto rows = all_processes();
  std::vector<pid_t> family{::getpid()};
  for (std::size_t next = 0; next < family.size(); ++next)
    for (auto& row : rows)
      if (row.parent == family[next])
        family.push_back(row.pid);
  family.erase(family.begin());
  if (!program.empty())
    std::erase_if(family, [&](pid_t pid) {
      std::error_code err;
      auto file = std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", err);
      return err || file.filename() != program;
    });
  return family;
}

time_limit::time_limit(std::chrono::seconds limit) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  watch_ = std::jthread{[limit](const std::stop_token& over) {
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock{mutex};
    stopped.wait_for(lock, over, limit, [] { return false; });
    if (over.stop_requested())
      return;
    std::fprintf(stderr, "the test did not end within %lld s and is stopped\n",
                 static_cast<long long>(limit.count()));
    for (int again = 0; again < 3; ++again)
      for (auto pid : descendants())
        ::kill(pid, SIGKILL);
    ::_exit(3);
  }};
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  std::ofstream out{path, std::ios::binary};
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
}

} // namespace troupe::testing
