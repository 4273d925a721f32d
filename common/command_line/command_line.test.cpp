#include "common/command_line/command_line.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <iostream>
#include <sstream>

namespace {

using namespace troupe;

/// What is written to a stream of iostream while it lives.
class caught {
public:
  explicit caught(std::ostream& stream) : stream_{stream}, before_{stream.rdbuf(text_.rdbuf())} {}
  ~caught() { stream_.rdbuf(before_); }
  std::string text() const { return text_.str(); }

private:
  std::ostream& stream_;
  std::ostringstream text_;
  std::streambuf* before_;
};

/// A program with one of everything.
struct fixture {
  command_line::program app{"show", "Shows things."};
  std::string ran;
  bool loud = false;
  std::uint32_t limit = 20;
  double share = 0.5;
  std::string kind = "plain";
  std::vector<std::string> sets;
  std::vector<double> steps;
  std::filesystem::path file;
  command_line::command* all = nullptr;
  command_line::option* limit_option = nullptr;

  fixture() {
    app.require_command();
    app.options_anywhere();
    app.version("show 1");
    app.add_flag("--loud", loud, "More");
    all = app.add_command("all", "All things");
    limit_option =
        all->add_option("--limit", limit, "How many")->check(command_line::between(1, 100))->show_default();
    all->add_option("--share", share)->check(command_line::between(0.01, 0.99))->environment("SHOW_SHARE");
    all->add_option("--kind", kind, "Which")->check(command_line::one_of({"plain", "odd"}));
    all->add_option("--steps", steps, "Steps")->separated_by(',');
    all->add_option("--set", sets, "name=value")->one_each_time();
    all->allow_command();
    all->on_given([this] { ran += all->has_command_given() ? "" : "all"; });
    auto* one = all->add_command("one", "One thing");
    one->add_option("file", file, "Which")->required()->check(command_line::existing_file());
    one->on_given([this, one] { ran += one->path(); });
    app.add_command("more", "More things")->on_given([this] { ran += "more"; });
    app.group("Look", {"all"});
  }

  std::optional<int> parse(std::vector<const char*> words) {
    words.insert(words.begin(), "show");
    return app.parse(static_cast<int>(words.size()), words.data());
  }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "the options of a command fill their targets, and its body runs") {
  CHECK(parse({"all", "--limit", "7", "--kind=odd", "--steps", "5,25.5", "--set", "a=1", "--set", "b=2",
               "--loud"}) == std::nullopt);

  CHECK(ran == "all");
  CHECK(limit == 7);
  CHECK(limit_option->given());
  CHECK(kind == "odd");
  CHECK(steps == std::vector{5.0, 25.5});
  CHECK(sets == std::vector<std::string>{"a=1", "b=2"});
  CHECK(loud);
}

TEST_CASE_FIXTURE(fixture,
                  "a command below a command knows its path, and the one above that it is not meant") {
  CHECK(parse({"all", "one", "/proc/self/exe"}) == std::nullopt);

  CHECK(ran == "all one");
  CHECK(file == "/proc/self/exe");
  CHECK_FALSE(limit_option->given());
}

TEST_CASE_FIXTURE(fixture, "an option is read from the environment where it is not given") {
  ::setenv("SHOW_SHARE", "0.25", 1);
  CHECK(parse({"all"}) == std::nullopt);
  ::unsetenv("SHOW_SHARE");

  CHECK(share == 0.25);
}

TEST_CASE_FIXTURE(fixture, "wrong usage is said in one line, ends with code 2 and runs nothing") {
  caught err{std::cerr};
  std::string said;
  SUBCASE("a number out of bounds") {
    CHECK(parse({"all", "--limit", "101"}) == 2);
    said = "101 is not between 1 and 100";
  }
  SUBCASE("a share that is no number") {
    CHECK(parse({"all", "--share", "half"}) == 2);
    said = "half is not between 0.01 and 0.99";
  }
  SUBCASE("a number that does not fit") {
    CHECK(parse({"all", "--limit", "-1"}) == 2);
    said = "-1 is not between 1 and 100";
  }
  SUBCASE("another word") {
    CHECK(parse({"all", "--kind", "even"}) == 2);
    said = "even is none of plain, odd";
  }
  SUBCASE("a file that is not there") {
    CHECK(parse({"all", "one", "/nowhere"}) == 2);
    said = "there is no file /nowhere";
  }
  SUBCASE("an argument that is missing") {
    CHECK(parse({"all", "one"}) == 2);
    said = "file";
  }
  SUBCASE("no command") {
    CHECK(parse({}) == 2);
    said = "A subcommand is required";
  }
  SUBCASE("an unknown option") {
    CHECK(parse({"all", "--colour"}) == 2);
    said = "--colour";
  }

  CHECK(ran == "");
  CHECK(err.text().starts_with("show: "));
  CHECK(err.text().find(said) != std::string::npos);
  CHECK(err.text().ends_with("; see show --help\n"));
}

TEST_CASE_FIXTURE(fixture, "the help has groups, meanings, defaults and bounds, and ends with code 0") {
  caught out{std::cout};

  CHECK(parse({"--help"}) == 0);
  CHECK(parse({"all", "--help"}) == 0);

  auto text = out.text();
  CHECK(text.find("\nLook:\n  all ") != std::string::npos);
  CHECK(text.find("--limit UINT:1 to 100=20") != std::string::npos);
  CHECK(text.find("How many") != std::string::npos);
  CHECK(ran == "");
}

TEST_CASE_FIXTURE(fixture, "the version is printed") {
  caught out{std::cout};

  CHECK(parse({"--version"}) == 0);

  CHECK(out.text() == "show 1\n");
}
