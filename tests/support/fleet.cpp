#include "tests/support/fleet.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>
#include <signal.h>

#include <cstdlib>
#include <iostream>
#include <regex>
#include <thread>

namespace troupe::testing {

namespace {

const json* find(const json& from, std::string_view key) {
  if (auto* object = from.if_object()) {
    if (auto* here = object->if_contains(key))
      return here;
    for (auto& [name, value] : *object)
      if (auto* below = find(value, key))
        return below;
  }
  if (auto* array = from.if_array())
    for (auto& value : *array)
      if (auto* below = find(value, key))
        return below;
  return nullptr;
}

} // namespace

std::filesystem::path source_dir() {
  return TROUPE_SOURCE_DIR;
}
std::filesystem::path bin_dir() {
  return TROUPE_BIN_DIR;
}
std::filesystem::path log_dir() {
  std::filesystem::path dir = TROUPE_LOG_DIR;
  std::filesystem::create_directories(dir);
  return dir;
}

fleet::fleet(std::string name, std::string settings, std::chrono::seconds limit)
    : limit_{limit}, name_{std::move(name)}, data_{temp_ / "data"}, log_{log_dir() / (name_ + ".log")} {
  std::filesystem::remove(log_);
  std::filesystem::create_directories(data_ / "views");
  std::filesystem::create_directories(data_ / "schemas");
  auto text = read_file(source_dir() / "compose" / "catalog.toml");
  write_file(temp_ / "catalog.toml",
             std::regex_replace(text, std::regex{"(admin|http)_port = [0-9]+"}, "$1_port = 0") + "\n" +
                 settings);
}

fleet::~fleet() {
  down();
}

std::vector<std::string> fleet::command(std::vector<std::string> words, bool as_json) const {
  std::vector<std::string> out{(bin_dir() / "troupe").string(), "--catalog",
                               (temp_ / "catalog.toml").string(), "--data", data_.string()};
  if (!key_.empty())
    out.insert(out.end(), {"--key", key_});
  if (as_json)
    out.push_back("--json");
  out.insert(out.end(), words.begin(), words.end());
  return out;
}

void fleet::replace_catalog(const std::string& text, std::string key) {
  write_file(temp_ / "catalog.toml", text);
  key_ = std::move(key);
}

void fleet::up(std::vector<std::string> more) {
  more.insert(more.begin(), "up");
  up_.emplace(command(more, false), log_, log_);
  REQUIRE_MESSAGE(ready(), "the services of ", name_, " are not ready; log: ", log_.string());
}

bool fleet::down() {
  if (!up_)
    return true;
  up_->signal(SIGINT);
  auto code = up_->wait(30s);
  up_.reset();
  for (auto pid : descendants())
    ::kill(pid, SIGKILL);
  return code == 0;
}

outcome fleet::troupe(std::vector<std::string> words, std::chrono::milliseconds limit) const {
  return run(command(std::move(words), false), limit);
}

json fleet::ask(std::vector<std::string> words, std::chrono::milliseconds limit) const {
  auto result = run(command(words, true), limit);
  std::string line;
  for (auto& word : words)
    line += word + ' ';
  REQUIRE_MESSAGE(result.code == 0, "troupe ", line, "\n", result.err);
  boost::system::error_code err;
  auto value = boost::json::parse(result.out, err);
  REQUIRE_MESSAGE(!err, "troupe ", line, "printed no JSON: ", result.out);
  return value;
}

child fleet::start(std::vector<std::string> words, const std::filesystem::path& out) const {
  return child{command(std::move(words), false), out, out};
}

bool fleet::ready_now() const {
  return run(command({"status"}, true), 10s).code == 0;
}

bool fleet::ready(std::chrono::milliseconds limit) const {
  return wait_until([&] { return ready_now() || (up_ && const_cast<child&>(*up_).wait(0ms)); }, limit) &&
         ready_now();
}

std::optional<pid_t> fleet::pid_of(std::string_view service) const {
  auto pids = descendants(std::string{"troupe-"} + std::string{service});
  return pids.empty() ? std::nullopt : std::optional{pids.front()};
}

bool wait_until(const std::function<bool()>& done, std::chrono::milliseconds limit) {
  auto end = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= end)
      return false;
    std::this_thread::sleep_for(50ms);
  }
  return true;
}

std::optional<std::filesystem::path> data_set(const std::string& file) {
  auto* named = std::getenv("TROUPE_DATA");
  auto path = (named ? std::filesystem::path{named} : source_dir().parent_path() / "shared" / "data") / file;
  if (std::filesystem::exists(path))
    return path;
  std::cout << "skipped: no data\n";
  return std::nullopt;
}

std::int64_t number(const json& from, std::string_view key) {
  auto* found = find(from, key);
  if (!found)
    return -1;
  boost::system::error_code err;
  auto value = found->to_number<std::int64_t>(err);
  return err ? -1 : value;
}

std::string text(const json& from, std::string_view key) {
  return std::string{from.at(key).as_string()};
}

} // namespace troupe::testing
