#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace troupe::feature_store {

enum class entity_kind : std::uint8_t { user, item };

/// How the records behind a feature become one value (operators/operator.hpp).
class feature_operator;

enum class value_type : std::uint8_t { number, text, list };

std::string_view to_string(entity_kind kind) noexcept;
std::string_view to_string(value_type type) noexcept;

/// A part of a record: its value, its item, its user, its type, or the attribute of a name.
struct field {
  enum class part : std::uint8_t { none, value, item, user, type, context };
  part of = part::none;
  std::string name; ///< Of the attribute, where `of` is context.

  friend bool operator==(const field&, const field&) = default;
};

/// `value`, `item`, `context.device`.
std::string to_string(const field& what);

/// A record counts only when this part of it equals this.
struct field_predicate {
  field what;
  std::variant<std::string, double, bool> equals;

  friend bool operator==(const field_predicate&, const field_predicate&) = default;
};

struct feature_definition {
  std::string name;
  const feature_operator* op = nullptr; ///< Never null in a view that was read.
  field of;
  std::optional<std::chrono::microseconds> window; ///< Absent: all time.
  std::chrono::microseconds hop{};                 ///< Width of a tile; 0 without tiles.
  std::chrono::microseconds half_life{};           ///< decayed_count.
  std::uint32_t n = 0;                             ///< last_n.
  std::string numerator;                           ///< rate: an event type.
  std::string denominator;                         ///< rate: an event type.
  std::vector<field_predicate> where;              ///< All must hold.
  value_type type = value_type::number;
};

/// Features of one entity, computed from some types of events (or, for attributes, from the entity's own
/// records).
struct feature_view {
  std::string name;
  entity_kind entity = entity_kind::user;
  std::vector<std::string> sources;             ///< Event types, sorted; empty: attributes only.
  std::optional<std::chrono::microseconds> ttl; ///< Older values are stale. Absent: never.
  std::vector<feature_definition> features;     ///< Sorted by name.
  std::string version;                          ///< SHA-256 of `canonical()`, hexadecimal.

  /// The definition with every default written out: two definitions that mean the same give the same text.
  std::string canonical() const;

  std::optional<std::uint32_t> find(std::string_view feature) const noexcept;
  bool has_source(std::string_view type) const noexcept;
};

/// The built-in view of users or items, `user_record` or `item_record`: its one feature, `attributes`, is the
/// newest record of the entity as a JSON object, or empty text where that record deletes it.
feature_view record_view(entity_kind entity);

/// Reads the views of one TOML text. Unknown keys, keys that an operator does not use and missing ones are
/// errors that name `origin`, view and feature.
expected<std::vector<feature_view>> parse_views(std::string_view toml, std::string_view origin);

/// Reads a file, or every *.toml of a folder in name order. View names are unique over all of them and
/// those built in.
expected<std::vector<feature_view>> read_views(const std::filesystem::path& path);

} // namespace troupe::feature_store
