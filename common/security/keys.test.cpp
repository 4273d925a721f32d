#include "common/security/keys.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace troupe;
using namespace troupe::security;

TEST_CASE("a key pair survives its files, the secret one readable by its owner only") {
  testing::temp_dir dir;
  auto keys = make_key_pair();

  REQUIRE(write_key_pair(dir / "ingest", keys));

  CHECK(*read_secret_key(dir / "ingest.secret") == keys.secret_key);
  CHECK(*read_public_key(dir / "ingest.public") == keys.public_key);
  CHECK(*public_key_of(keys.secret_key) == keys.public_key);
  CHECK((std::filesystem::status(dir / "ingest.secret").permissions() & std::filesystem::perms{0777}) ==
        std::filesystem::perms{0600});
  CHECK(write_key_pair(dir / "ingest", keys).error().code == ec::already_exists);
}

TEST_CASE("a secret key that others may read is refused") {
  testing::temp_dir dir;
  REQUIRE(write_key_pair(dir / "k", make_key_pair()));

  std::filesystem::permissions(dir / "k.secret", std::filesystem::perms{0640});

  CHECK(read_secret_key(dir / "k.secret").error().code == ec::unauthorized);
}

TEST_CASE("keys are 40 characters of Z85") {
  // The example of ZeroMQ RFC 26.
  CHECK(is_key("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"));
  CHECK(*public_key_of("D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs") ==
        "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID");
  CHECK(!is_key(""));
  CHECK(!is_key(std::string(40, '#')));
  CHECK(!is_key(std::string(40, ' ')));
  CHECK(!is_key(std::string(41, 'a')));
}

TEST_CASE("an allow-list is read line by line and a bad line is named") {
  testing::temp_dir dir;
  auto one = make_key_pair().public_key, two = make_key_pair().public_key;
  std::ofstream{dir / "allow"} << "# callers\n" << one << " # feature-store\n\n" << two << "\n";
  std::ofstream{dir / "bad"} << one << "\nnonsense\n";
  std::ofstream{dir / "empty"};

  CHECK(*read_allow_list(dir / "allow") == std::vector{one, two});
  CHECK(read_allow_list(dir / "bad").error().text.find("line 2") != std::string::npos);
  CHECK(read_allow_list(dir / "empty")->empty());
  CHECK(read_allow_list(dir / "missing").error().code == ec::not_found);
}

TEST_CASE("a key is named by file, environment or itself, a secret never by itself") {
  testing::temp_dir dir;
  auto keys = make_key_pair();
  REQUIRE(write_key_pair(dir / "k", keys));
  ::setenv("TROUPE_TEST_KEY", keys.secret_key.c_str(), 1);

  CHECK(*resolve_key("file:k.secret", dir.path(), key_kind::secret) == keys.secret_key);
  CHECK(*resolve_key("file:k.public", dir.path(), key_kind::public_key) == keys.public_key);
  CHECK(*resolve_key("env:TROUPE_TEST_KEY", dir.path(), key_kind::secret) == keys.secret_key);
  CHECK(*resolve_key(keys.public_key, dir.path(), key_kind::public_key) == keys.public_key);
  CHECK(resolve_key(keys.secret_key, dir.path(), key_kind::secret).error().code == ec::invalid_argument);
  CHECK(resolve_key("env:TROUPE_TEST_NO_KEY", dir.path(), key_kind::secret).error().code == ec::not_found);
}

TEST_CASE("a secret key that Kubernetes mounts, root's and readable by our group, is taken") {
  testing::temp_dir dir;
  auto keys = make_key_pair();
  REQUIRE(write_key_pair(dir / "k", keys));
  if (::geteuid() != 0)
    return; // only root can make a file of root's
  std::filesystem::permissions(dir.path(), std::filesystem::perms{0755});
  std::filesystem::permissions(dir / "k.secret", std::filesystem::perms{0440});
  constexpr gid_t group = 12'345;
  REQUIRE(::chown((dir / "k.secret").c_str(), 0, group) == 0);

  auto child = ::fork();
  if (child == 0) {
    bool read = ::setgid(group) == 0 && ::setuid(54'321) == 0 && read_secret_key(dir / "k.secret");
    ::_exit(read ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);

  CHECK(WEXITSTATUS(status) == 0);
  CHECK(read_secret_key(dir / "k.secret").error().code == ec::unauthorized); // as root it is others' too
}
