#pragma once

#include "services/feature_store/views/view.hpp"

#include <toml++/toml.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What the readers of TOML definitions share. `where` in these functions says where the key stands, for
/// messages.
namespace troupe::feature_store {

expected<void> check_keys(const toml::table& table, std::initializer_list<std::string_view> known,
                          std::string_view where);

expected<std::optional<std::string>> text_key(const toml::table& table, std::string_view key,
                                              std::string_view where);

/// A duration above 0; none where the key is absent.
expected<std::optional<std::chrono::microseconds>> span_key(const toml::table& table, std::string_view key,
                                                            std::string_view where);

/// Reads `value`, `item`, `user`, `type` or `context.NAME`.
expected<field> parse_field(std::string_view text, std::string_view where);

/// Reads the key `where` of a table; none where it is absent.
expected<std::vector<field_predicate>> parse_where(const toml::table& table, std::string_view where);

} // namespace troupe::feature_store
