#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace CLI {
class App;
class Option;
} // namespace CLI

/// Command lines with commands below commands, `--help` made from what is said here. The only place that
/// includes CLI11: its templates cost a unit twelve seconds. One thread.
namespace troupe::command_line {

/// What a value must be like.
struct check {
  /// For `find_wrong`: what is wrong with a text, empty where nothing is.
  template <class F>
  requires std::is_invocable_r_v<std::string, F, const std::string&> check(F function, std::string what = {})
      : find_wrong{std::move(function)}, description{std::move(what)} {}

  std::function<std::string(const std::string&)> find_wrong;
  std::string description; ///< For the help: "1 to 1000".
};

check between(double least, double most);
check one_of(std::initializer_list<std::string_view> words);
check existing_file();
check existing_folder();
check existing_path();

/// Where the value of an option goes.
using target =
    std::variant<bool*, int*, std::uint32_t*, std::uint64_t*, double*, std::string*, std::filesystem::path*,
                 std::vector<std::string>*, std::vector<std::uint64_t>*, std::vector<double>*>;

class option {
public:
  explicit option(CLI::Option* own) : own_{own} {}

  option* required();
  /// The help shows the value that the target has now.
  option* show_default();
  option* check(const command_line::check& what);
  /// Where the option is not given, this variable of the environment counts, if it is set.
  option* environment(std::string name);
  /// A list: one value each time that the option is given, so that a command's own arguments may follow.
  option* one_each_time();
  option* separated_by(char delimiter);
  /// A list: so many values or more.
  option* at_least(int count);

  bool given() const;

private:
  CLI::Option* own_;
};

/// A command, or the program itself. Pointers that it gives are its own.
class command {
public:
  explicit command(CLI::App* own, std::string path);
  command(const command&) = delete;
  command& operator=(const command&) = delete;

  command* add_command(std::string name, std::string meaning);

  /// `names`: "--limit", "-n,--n", or "path" for an argument without a name. The target must outlive the
  /// parsing.
  template <class T>
  option* add_option(std::string names, T& value, std::string meaning = {}) {
    return add(std::move(names), target{&value}, std::move(meaning));
  }
  void add_flag(std::string names, bool& value, std::string meaning);

  /// One of its commands must be given.
  void require_command();
  /// It does something itself, too: at most one of its commands may be given.
  void allow_command();
  /// Runs when the command is given; for a command with commands below, after these.
  void on_given(std::function<void()> body);
  /// Whether one of its commands is given.
  bool has_command_given() const;
  bool given() const;

  /// Text below the help.
  void footer(std::string text);
  /// The names from the program's down, without the program: "rollouts start".
  const std::string& path() const { return path_; }

protected:
  option* add(std::string names, target where, std::string meaning);

  CLI::App* own_;
  std::string path_;
  std::vector<std::unique_ptr<command>> commands_;
  std::vector<std::unique_ptr<option>> options_;
};

/// What `main` makes first.
class program : public command {
public:
  program(std::string name, std::string meaning);
  ~program();

  void version(std::string text);
  /// Options of the program may stand behind its commands, too.
  void options_anywhere();
  /// Its commands stand in the help under this heading, which stands where the first of them was added. An
  /// unknown name is our mistake.
  void group(std::string heading, std::initializer_list<std::string_view> names);

  /// Fills the targets and runs what is given. An exit code where the program ends here: 0 after `--help`, 2
  /// when the usage is wrong, which stderr says in one line.
  std::optional<int> parse(int argc, const char* const* argv);

private:
  std::unique_ptr<CLI::App> app_;
};

} // namespace troupe::command_line
