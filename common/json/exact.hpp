#pragma once

#include "common/core/error.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe {

/// A value of an `exact_document`: a text is unescaped, a number is the text that stands there, so that an id
/// of twenty digits stays one. Small, copied freely; valid until its document reads again.
class exact_value {
public:
  enum class kind : std::uint8_t { null, flag, number, text, list, object };

  kind is() const noexcept { return at_->is; }
  bool is(kind other) const noexcept { return at_->is == other; }

  /// Of a text what it says; of a number or a flag its characters; empty of others.
  std::string_view text() const noexcept { return at_->text; }

  /// What it is called in the object around it.
  std::string_view key() const noexcept { return at_->key; }

  /// The double nearest to a number; nothing where it has none that is finite, or this is no number.
  std::optional<double> number() const noexcept;

  /// Whether a number has neither a fraction nor an exponent.
  bool is_whole() const noexcept;

  class iterator;
  /// The values of a list, the members of an object; nothing in others.
  iterator begin() const noexcept;
  iterator end() const noexcept;

  /// A member of an object, a value of a list.
  std::optional<exact_value> find(std::string_view key) const noexcept;
  std::optional<exact_value> find(std::size_t index) const noexcept;

private:
  friend class exact_document;
  friend class exact_objects;
  struct node {
    kind is = kind::null;
    std::uint32_t size = 1; ///< Of its own and all below it, which follow it.
    std::string_view key{};
    std::string_view text{};
  };
  explicit exact_value(const node* at) noexcept : at_{at} {}

  const node* at_;
};

class exact_value::iterator {
public:
  exact_value operator*() const noexcept { return exact_value{at_}; }
  iterator& operator++() noexcept {
    at_ += at_->size;
    return *this;
  }
  friend bool operator==(const iterator&, const iterator&) = default;

private:
  friend class exact_value;
  explicit iterator(const node* at) noexcept : at_{at} {}
  const node* at_;
};

inline exact_value::iterator exact_value::begin() const noexcept {
  return iterator{at_ + 1};
}
inline exact_value::iterator exact_value::end() const noexcept {
  return iterator{at_ + at_->size};
}

/// A text without the byte order mark that some programs put before it.
std::string_view without_mark(std::string_view text) noexcept;

/// JSON of rows (RFC 8259): one value a text, a byte order mark before it skipped. An object that has a name
/// twice is refused: which one is meant would be a guess. Keeps its memory from one text to the next. Not
/// thread-safe.
class exact_document {
public:
  exact_document();
  ~exact_document();
  exact_document(exact_document&&) noexcept;
  exact_document& operator=(exact_document&&) noexcept;

  /// Fails with ec::invalid_argument, which says what is wrong and where. At most 64 levels deep.
  expected<exact_value> read(std::string_view text);

  /// The object of these texts: a row of a table whose cells have no type. An empty one is null.
  exact_value of_texts(std::span<const std::pair<std::string_view, std::string_view>> cells);

private:
  struct state;
  std::unique_ptr<state> state_;
};

/// Objects that are made value by value, not read: the rows of a table whose cells have types. Each is as
/// `exact_document` reads it from its JSON. Not thread-safe while they are made; any thread may read them
/// then.
class exact_objects {
public:
  /// Room for so many values, keys and texts aside.
  explicit exact_objects(std::size_t values = 0) { nodes_.reserve(values); }
  std::size_t values() const noexcept { return nodes_.size(); }

  /// A copy of a text that lives as long as the objects.
  std::string_view keep(std::string_view text);

  /// Begins an object or a list; what is added goes into it until `close`, which is given what this gave. A
  /// key is one that lives as long as the objects.
  std::size_t open(exact_value::kind is, std::string_view key);
  void close(std::size_t at) { nodes_[at].size = static_cast<std::uint32_t>(nodes_.size() - at); }

  /// Adds a value; its text is copied.
  void add(exact_value::kind is, std::string_view key, std::string_view text) {
    nodes_.push_back({is, 1, key, keep(text)});
  }

  /// What `open` gave `at` for; until something is added.
  exact_value operator[](std::size_t at) const { return exact_value{nodes_.data() + at}; }

  /// It has at most so many bytes as JSON.
  std::size_t most_bytes(std::size_t at) const noexcept;

private:
  std::vector<exact_value::node> nodes_;
  std::vector<std::unique_ptr<char[]>> pieces_;
  char* free_ = nullptr;
  std::size_t left_ = 0;
};

/// What a value is, for messages: `a text`, `an object`, `null`.
std::string_view kind_name(exact_value what) noexcept;

/// Appends it as JSON without spaces, numbers as they are written.
void append_json(std::string& out, exact_value what);

} // namespace troupe
