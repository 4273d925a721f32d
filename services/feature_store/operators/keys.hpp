#pragma once

#include "services/feature_store/views/view_toml.hpp"

#include <array>

/// The keys that operators share. `where` says where the definition stands, for messages.
namespace troupe::feature_store {

inline constexpr std::array<std::string_view, 2> window_keys{"window", "hop"};
inline constexpr std::array<std::string_view, 3> number_keys{"of", "window", "hop"};

/// `window`, and `hop` or its default.
expected<void> parse_window(const toml::table& table, std::string_view where, feature_definition& into);

/// `of`, which must be there.
expected<void> parse_of(const toml::table& table, std::string_view where, feature_definition& into);

/// `of` of something that can be a number, `value` by default, and the window.
expected<void> parse_number(const toml::table& table, std::string_view where, feature_definition& into);

/// `type`: by default that of what `of` names.
expected<void> parse_type(const toml::table& table, std::string_view where, feature_definition& into);

} // namespace troupe::feature_store
