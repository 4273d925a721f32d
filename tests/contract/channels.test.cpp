// Holds what is written beside the code to the code: schemas/README.md, the promises of README.md,
// tests/allowed_skips.
#include "common/net/envelope.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <vector>

using namespace troupe;
namespace fs = std::filesystem;

namespace {

const fs::path root = fs::path{TROUPE_GOLDEN}.parent_path().parent_path();

std::string content(const fs::path& file) {
  std::ifstream in{file};
  return {std::istreambuf_iterator<char>{in}, {}};
}

std::string readme() {
  return content(root / "schemas/README.md");
}

/// The names of all test cases under services, common and tests.
std::set<std::string> test_names() {
  static const std::regex parts{R"("\s*\n\s*")"};
  static const std::regex name{R"rx(TEST_CASE(?:_FIXTURE)?\((?:[^",]+,)?\s*"([^"]*)")rx"};
  std::set<std::string> names;
  for (auto* folder : {"common", "services", "tests"})
    for (auto& entry : fs::recursive_directory_iterator{root / folder}) {
      if (!entry.path().string().ends_with(".test.cpp"))
        continue;
      auto text = std::regex_replace(content(entry.path()), parts, "");
      for (std::sregex_iterator at{text.begin(), text.end(), name}, end; at != end; ++at)
        names.insert((*at)[1]);
    }
  return names;
}

/// Kind by name -> the words of the column "again".
std::map<std::string, std::string> channel_rows() {
  std::map<std::string, std::string> rows;
  std::istringstream lines{readme()};
  static const std::regex row{R"(^\| `([a-z_]+)` \| [^|]+ \| [^|]+ \| (yes|no) \| .*)"};
  for (std::string line; std::getline(lines, line);)
    if (std::smatch found; std::regex_match(line, found, row))
      rows[found[1]] = found[2];
  return rows;
}

} // namespace

TEST_CASE("every test that the table of channels names exists") {
  auto names = test_names();
  auto text = readme();
  static const std::regex quoted{R"rx("([^"]+)")rx"};
  int count = 0;

  for (std::sregex_iterator at{text.begin(), text.end(), quoted}, end; at != end; ++at, ++count)
    CHECK_MESSAGE(names.contains((*at)[1]), (*at)[1].str());

  CHECK(count > 30);
}

TEST_CASE("every test that the promises of the README name exists") {
  auto names = test_names();
  auto text = content(root / "README.md");
  auto begin = text.find("## What it promises"), end = text.find("\n## ", begin + 1);
  REQUIRE(end != std::string::npos);
  text = text.substr(begin, end - begin);
  static const std::regex quoted{R"rx("([^"]+)")rx"},
      path{R"(`((?:tests|services|schemas|compose|scripts)/[^` ]+)`)"};
  int count = 0;

  for (std::sregex_iterator at{text.begin(), text.end(), quoted}, last; at != last; ++at, ++count)
    CHECK_MESSAGE(names.contains((*at)[1]), (*at)[1].str());
  for (std::sregex_iterator at{text.begin(), text.end(), path}, last; at != last; ++at, ++count)
    CHECK_MESSAGE(fs::exists(root / (*at)[1].str()), (*at)[1].str());

  CHECK(count > 20);
}

TEST_CASE("every case that may be skipped exists") {
  auto names = test_names();
  std::istringstream lines{content(root / "tests/allowed_skips")};

  for (std::string line; std::getline(lines, line);)
    if (!line.starts_with('#'))
      CHECK_MESSAGE(names.contains(line.substr(0, line.rfind(": "))), line);
}

TEST_CASE("the table of channels names every kind and says whether it may be asked twice") {
  auto rows = channel_rows();

  for (auto kind : wire::EnumValuesKind()) {
    if (kind == wire::Kind::none)
      continue;
    auto found = rows.find(net::to_string(kind));
    REQUIRE_MESSAGE(found != rows.end(), net::to_string(kind));
    CHECK_MESSAGE((found->second == "yes") == net::idempotent(kind), net::to_string(kind));
    rows.erase(found);
  }
  CHECK(rows.empty());
}
