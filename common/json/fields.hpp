#pragma once

#include "common/core/error.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace troupe {

/// Members of a JSON object by path: a key, or keys with a dot between them (`weights.sha256`). A key that
/// has a dot itself cannot be reached so.
///
/// `..._at` want a member of one type; the error, ec::corrupt, says path and types: `weights.sha256 is a
/// number, not a text`. `..._or` take `standard` where there is no member of that type; `find_...` give null
/// there.

expected<std::string> text_at(const boost::json::object& in, std::string_view path);
expected<double> number_at(const boost::json::object& in, std::string_view path);
/// A whole number that is not negative; 3.0 is one.
expected<std::uint64_t> whole_at(const boost::json::object& in, std::string_view path);
expected<bool> flag_at(const boost::json::object& in, std::string_view path);
/// Never null; lives as long as `in`.
expected<const boost::json::object*> object_at(const boost::json::object& in, std::string_view path);
expected<const boost::json::array*> array_at(const boost::json::object& in, std::string_view path);

std::string text_or(const boost::json::object& in, std::string_view path, std::string_view standard = {});
double number_or(const boost::json::object& in, std::string_view path, double standard);
std::uint64_t whole_or(const boost::json::object& in, std::string_view path, std::uint64_t standard);
bool flag_or(const boost::json::object& in, std::string_view path, bool standard);

const boost::json::value* find_value(const boost::json::object& in, std::string_view path) noexcept;
const boost::json::object* find_object(const boost::json::object& in, std::string_view path) noexcept;
const boost::json::array* find_array(const boost::json::object& in, std::string_view path) noexcept;

/// What a value is, for messages: `a text`, `an object`, `null`.
std::string_view kind_name(const boost::json::value& what) noexcept;

/// Text that is one JSON object; `origin` is for messages. ec::corrupt where it is none.
expected<boost::json::object> parse_json_object(std::string_view text, std::string_view origin);

/// A file that is one JSON object. Blocks.
expected<boost::json::object> read_json_object(const std::filesystem::path& file);

} // namespace troupe
