#include "tests/fault/fault.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/mount.h>

#include <iostream>

using namespace troupe::testing;

namespace {

/// A small file system in memory, gone with the object. Needs root.
class small_disk {
public:
  small_disk(std::filesystem::path at, const char* size) : at_{std::move(at)} {
    std::filesystem::create_directories(at_);
    mounted_ = ::mount("tmpfs", at_.c_str(), "tmpfs", 0, size) == 0;
  }
  ~small_disk() {
    if (mounted_)
      ::umount2(at_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  bool resize(const char* size) const {
    return ::mount("tmpfs", at_.c_str(), "tmpfs", MS_REMOUNT, size) == 0;
  }

private:
  std::filesystem::path at_;
  bool mounted_ = false;
};

} // namespace

TEST_CASE("a full disk under the log is a clear error, loses nothing, and work goes on when there is room") {
  fleet services{"fault-full-disk", {}, fault_limit};
  configure(services, "interactions");
  small_disk disk{services.data() / "ingest-0", "size=48m"};
  if (!disk.mounted()) {
    std::cout << "skipped: cannot mount a tmpfs (not root)\n";
    return;
  }
  auto world = services.temp() / "world";
  constexpr std::int64_t events = 400'000;
  generate(services, world, events, {"--seed", "9"});
  services.up();

  // With a full disk the client either gives up with the reason or waits and shows it in the status.
  auto import = services.start({"ingest", world.string()}, services.temp() / "import.log");
  auto says_so = [&] {
    auto status = services.troupe({"status"}, 10s);
    return (status.out + read_file(services.temp() / "import.log")).find("the disk is full") !=
           std::string::npos;
  };
  CHECK(wait_until(says_so, 60s));
  auto acknowledged = number(services.ask({"log", "info"}), "events");
  CHECK(acknowledged > 0);
  CHECK(acknowledged < events);

  // What was acknowledged is on the disk: it is there after kill -9, too.
  auto pid = services.pid_of("ingest");
  REQUIRE(pid);
  ::kill(*pid, SIGKILL);
  REQUIRE(disk.resize("size=1g"));
  REQUIRE(wait_until([&] { return services.pid_of("ingest").value_or(*pid) != *pid && services.ready_now(); },
                     60s));
  CHECK(number(services.ask({"log", "verify"}), "events") >= acknowledged);
  import.wait(60s);
  import = {};
  auto rest = ingest(services, world);
  CHECK(number(services.ask({"log", "info"}), "events") == events);
  services.ask({"lake", "seal"}, 200s);
  services.ask({"lake", "verify"}, 200s);
  CHECK(wait_until([&] { return services.ready_now(); }, 60s));
  CHECK(services.down());
}
