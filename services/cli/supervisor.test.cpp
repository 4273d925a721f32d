#include "services/cli/supervisor.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>

using namespace troupe;
using namespace std::chrono_literals;

namespace {

/// Programs of a fleet as shell scripts, and the supervisor over them in a process of its own.
class fleet {
public:
  void program(const std::string& name, const std::string& script) {
    auto file = folder / ("troupe-" + name);
    std::ofstream{file} << "#!/bin/sh\n" << script;
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  }

  void start(const std::string& services) {
    auto read = catalog::parse("version = 1\n" + services, folder / "catalog.toml", folder / "data");
    REQUIRE_MESSAGE(read, read.error().text);
    int pipe[2];
    REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(pipe[1], 2);
      cli::supervisor_options options;
      options.catalog = std::make_shared<const catalog>(std::move(*read));
      options.programs = folder.path();
      options.first_delay = 1ms;
      options.one_signal = one_signal;
      options.on_ready = [] { (void)!::write(2, "FLEET\n", 6); };
      auto done = cli::supervisor{std::move(options)}.run();
      if (!done)
        (void)!::write(2, (done.error().text + "\n").c_str(), done.error().text.size() + 1);
      ::_exit(done ? 0 : 1);
    }
    ::close(pipe[1]);
    lines_ = pipe[0];
  }

  /// Reads until a line contains `text`; the lines read so far stay in `seen`.
  bool wait_for(const std::string& text) {
    char c = 0;
    std::string line;
    while (::read(lines_, &c, 1) == 1) {
      line += c;
      if (c != '\n')
        continue;
      seen += line;
      if (line.find(text) != std::string::npos)
        return true;
      line.clear();
    }
    return false;
  }

  void signal(int number) const { ::kill(child_, number); }

  int end() {
    wait_for("never printed by anybody");
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  ~fleet() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    if (lines_ >= 0)
      ::close(lines_);
  }

  troupe::testing::temp_dir folder;
  std::string seen;
  std::chrono::milliseconds one_signal = 1h; ///< A slow machine takes its time between two signals.

private:
  pid_t child_ = -1;
  int lines_ = -1;
};

const std::string serve = "trap 'echo got term; kill $!; exit 0' TERM\n"
                          "sleep 1000 >/dev/null 2>&1 3>&- & echo ready >&3; exec 3>&-; wait\n";

bool in_order(const std::string& text, std::initializer_list<const char*> parts) {
  std::size_t at = 0;
  for (const auto* part : parts) {
    at = text.find(part, at);
    if (at == std::string::npos)
      return false;
  }
  return true;
}

} // namespace

TEST_CASE("a fleet starts by need, says ready once all are, and stops in reverse") {
  fleet f;
  f.program("a", serve);
  f.program("b", "echo hello from $6\n" + serve);
  f.start("[b]\ncontract = \"TRPB\"\nneeds = [\"a\"]\nreplicas = 2\n[a]\ncontract = \"TRPA\"\n");

  REQUIRE(f.wait_for("FLEET"));
  f.signal(SIGTERM);

  CHECK(f.end() == 0);
  CHECK(in_order(f.seen, {"up started a/0", "up started b/0", "up started b/1", "FLEET"}));
  CHECK(f.seen.find("b/1 | hello from 1") != std::string::npos);
  CHECK(in_order(f.seen, {"b/0 ended with code 0", "a/0 | got term", "a/0 ended with code 0"}));
}

TEST_CASE("a process that dies is started again") {
  fleet f;
  f.program("a", "if [ ! -e " + (f.folder / "once").string() + " ]; then touch " +
                     (f.folder / "once").string() + "; kill -9 $$; fi\n" + serve);
  f.start("[a]\ncontract = \"TRPA\"\n");

  REQUIRE(f.wait_for("FLEET"));
  f.signal(SIGINT);

  CHECK(f.end() == 0);
  CHECK(f.seen.find("a/0 was ended by signal 9") != std::string::npos);
}

TEST_CASE("a process whose configuration is wrong ends the fleet and is named") {
  fleet f;
  f.program("a", "echo key x: must be 1; exit 2\n");
  f.start("[a]\ncontract = \"TRPA\"\n");

  CHECK(f.end() == 1);
  CHECK(f.seen.find("a/0 | key x: must be 1") != std::string::npos);
  CHECK(f.seen.find("a/0 does not start: ended with code 2") != std::string::npos);
}

TEST_CASE("a port in use ends the fleet, which says whose") {
  fleet f;
  f.program("a", "echo cannot listen on 127.0.0.1:8080; exit 3\n");
  f.start("[a]\ncontract = \"TRPA\"\n");

  CHECK(f.end() == 1);
  CHECK(f.seen.find("a/0 | cannot listen on 127.0.0.1:8080") != std::string::npos);
  CHECK(f.seen.find("a/0 does not start: its address is in use") != std::string::npos);
  CHECK(f.seen.find("starts it again") == std::string::npos);
}

TEST_CASE("a process that was ready is started again although its port is in use") {
  fleet f;
  auto once = (f.folder / "once").string(), twice = (f.folder / "twice").string();
  f.program("a", "if [ ! -e " + once + " ]; then touch " + once + "; echo ready >&3; exit 1; fi\nif [ ! -e " +
                     twice + " ]; then touch " + twice + "; exit 3; fi\n" + serve);
  f.start("[a]\ncontract = \"TRPA\"\n");

  REQUIRE(f.wait_for("ended with code 3"));
  f.signal(SIGTERM);

  CHECK(f.end() == 0);
}

TEST_CASE("a program that is not there is named") {
  fleet f;
  f.start("[a]\ncontract = \"TRPA\"\n");

  CHECK(f.end() == 1);
  CHECK(f.seen.find("there is no program") != std::string::npos);
}

TEST_CASE("a second supervisor on the same data folder is refused") {
  fleet f;
  f.program("a", serve);
  f.start("[a]\ncontract = \"TRPA\"\n");
  REQUIRE(f.wait_for("FLEET"));

  auto read =
      catalog::parse("version = 1\n[a]\ncontract = \"TRPA\"\n", f.folder / "catalog.toml", f.folder / "data");
  cli::supervisor_options options;
  options.catalog = std::make_shared<const catalog>(std::move(*read));
  options.programs = f.folder.path();
  auto second = cli::supervisor{std::move(options)}.run();

  REQUIRE_FALSE(second);
  CHECK(second.error().code == ec::conflict);
  f.signal(SIGTERM);
  CHECK(f.end() == 0);
}

TEST_CASE("two signals at once are one") {
  fleet f;
  auto go = (f.folder / "go").string();
  REQUIRE(::mkfifo(go.c_str(), 0600) == 0);
  f.program("a", "trap 'echo got term; read x < " + go +
                     "; kill $!; exit 0' TERM\nsleep 1000 >/dev/null 2>&1 3>&- & echo ready >&3; exec "
                     "3>&-; wait\n");
  f.start("[a]\ncontract = \"TRPA\"\n");
  REQUIRE(f.wait_for("FLEET"));

  f.signal(SIGTERM);
  REQUIRE(f.wait_for("got term"));
  f.signal(SIGTERM);
  std::ofstream{go} << "on\n";

  CHECK(f.end() == 0);
  CHECK(f.seen.find("signal 9") == std::string::npos);
}

TEST_CASE("a second signal, later, kills what does not stop") {
  fleet f;
  f.one_signal = 0ms;
  f.program("a", "trap 'echo stubborn' TERM\n(trap '' TERM; exec sleep 1000 >/dev/null 2>&1 3>&-) & echo "
                 "ready >&3; exec 3>&-\n"
                 "while :; do wait; done\n");
  f.start("[a]\ncontract = \"TRPA\"\n");
  REQUIRE(f.wait_for("FLEET"));

  f.signal(SIGTERM);
  REQUIRE(f.wait_for("stubborn"));
  f.signal(SIGTERM);

  REQUIRE(f.wait_for("was ended by signal 9"));
  REQUIRE(f.wait_for("had to be killed"));
  CHECK(f.end() == 1);
}
