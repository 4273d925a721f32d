#include "common/command_line/command_line.hpp"

#include "common/command_line/exit_codes.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <iostream>

namespace troupe::command_line {

check between(double least, double most) {
  auto find_wrong = [least, most](const std::string& text) {
    double value = 0;
    auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), value);
    bool good = err == std::errc{} && end == text.data() + text.size() && value >= least && value <= most;
    return good ? std::string{} : fmt::format("{} is not between {} and {}", text, least, most);
  };
  return {find_wrong, fmt::format("{} to {}", least, most)};
}

check one_of(std::initializer_list<std::string_view> words) {
  std::vector<std::string> known{words.begin(), words.end()};
  auto listed = fmt::format("{}", fmt::join(known, ", "));
  auto find_wrong = [known, listed](const std::string& text) {
    return std::ranges::find(known, text) != known.end() ? std::string{}
                                                         : fmt::format("{} is none of {}", text, listed);
  };
  return {find_wrong};
}

namespace {

/// Of a path that is none of what was wanted.
std::string missing(std::string_view wanted, const std::string& text, const std::error_code& why) {
  return why && why != std::errc::no_such_file_or_directory
             ? fmt::format("cannot look for {}: {}", text, why.message())
             : fmt::format("there is no {} {}", wanted, text);
}

} // namespace

check existing_file() {
  return {[](const std::string& text) {
    std::error_code err;
    return std::filesystem::exists(text, err) && !std::filesystem::is_directory(text, err)
               ? std::string{}
               : missing("file", text, err);
  }};
}

check existing_folder() {
  return {[](const std::string& text) {
    std::error_code err;
    return std::filesystem::is_directory(text, err) ? std::string{} : missing("folder", text, err);
  }};
}

check existing_path() {
  return {[](const std::string& text) {
    std::error_code err;
    return std::filesystem::exists(text, err) ? std::string{} : missing("file or folder", text, err);
  }};
}

option* option::required() {
  own_->required();
  return this;
}

option* option::show_default() {
  own_->capture_default_str();
  return this;
}

option* option::check(const command_line::check& what) {
  own_->check([find = what.find_wrong](const std::string& text) { return find(text); }, what.description);
  return this;
}

option* option::environment(std::string name) {
  own_->envname(std::move(name));
  return this;
}

option* option::one_each_time() {
  own_->expected(1)->take_all();
  return this;
}

option* option::separated_by(char delimiter) {
  own_->delimiter(delimiter);
  return this;
}

option* option::at_least(int count) {
  own_->expected(count, -1);
  return this;
}

bool option::given() const {
  return own_->count() > 0;
}

command::command(CLI::App* own, std::string path) : own_{own}, path_{std::move(path)} {}

command* command::add_command(std::string name, std::string meaning) {
  auto path = path_.empty() ? name : path_ + " " + name;
  auto* made = own_->add_subcommand(std::move(name), std::move(meaning));
  return commands_.emplace_back(std::make_unique<command>(made, std::move(path))).get();
}

option* command::add(std::string names, target where, std::string meaning) {
  auto* made = std::visit(
      [&](auto* value) { return own_->add_option(std::move(names), *value, std::move(meaning)); }, where);
  return options_.emplace_back(std::make_unique<option>(made)).get();
}

void command::add_flag(std::string names, bool& value, std::string meaning) {
  own_->add_flag(std::move(names), value, std::move(meaning));
}

void command::require_command() {
  own_->require_subcommand(1);
}

void command::allow_command() {
  own_->require_subcommand(0, 1);
}

void command::on_given(std::function<void()> body) {
  own_->callback(std::move(body));
}

bool command::has_command_given() const {
  return !own_->get_subcommands().empty();
}

bool command::given() const {
  return own_->parsed();
}

void command::footer(std::string text) {
  own_->footer(std::move(text));
}

program::program(std::string name, std::string meaning)
    : command{nullptr, {}}, app_{std::make_unique<CLI::App>(std::move(meaning))} {
  app_->name(std::move(name));
  own_ = app_.get();
}

program::~program() = default;

void program::version(std::string text) {
  app_->set_version_flag("--version", std::move(text));
}

void program::options_anywhere() {
  app_->fallthrough();
}

void program::group(std::string heading, std::initializer_list<std::string_view> names) {
  for (auto name : names)
    app_->get_subcommand(std::string{name})->group(heading);
}

std::optional<int> program::parse(int argc, const char* const* argv) {
  try {
    app_->parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& err) {
    if (err.get_exit_code() == 0)
      return app_->exit(err);
    std::cerr << fmt::format("{}: {}; see {} --help\n", app_->get_name(), err.what(), app_->get_name());
    return exit_usage;
  }
}

} // namespace troupe::command_line
