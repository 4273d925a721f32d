#include "services/feature_store/client/training_manifest.hpp"

#include "common/artefact/canonical.hpp"
#include "common/core/file.hpp"
#include "common/core/plain_name.hpp"
#include "common/json/fields.hpp"
#include "common/json/parse.hpp"

#include <boost/json.hpp>

#include <optional>

namespace troupe::feature_store {

namespace json = boost::json;

namespace {

std::optional<std::uint64_t> whole_of(const json::value* from) {
  if (from != nullptr && from->is_uint64())
    return from->get_uint64();
  if (from != nullptr && from->is_int64() && from->get_int64() >= 0)
    return static_cast<std::uint64_t>(from->get_int64());
  return std::nullopt;
}

} // namespace

expected<training_manifest> parse_training_manifest(std::string text, const std::string& origin) {
  auto parsed = parse_json(text);
  if (!parsed || !parsed->is_object())
    return fail(ec::corrupt, "{} is not a JSON object", origin);
  auto& from = parsed->get_object();
  auto *columns = find_array(from, "columns"), *parts = find_array(from, "parts"),
       *offsets = find_array(from, "log_offsets");
  auto rows = whole_of(from.if_contains("rows"));
  training_manifest out;
  out.content_sha256 = text_or(from, "content_sha256");
  if (columns == nullptr || parts == nullptr || !rows || !artefact::is_sha256(out.content_sha256))
    return fail(ec::corrupt, "{} names no columns, parts, rows or content_sha256", origin);
  out.name = text_or(from, "name");
  out.identity = text_or(from, "identity");
  out.rows = *rows;
  out.unmatched_rows = whole_of(from.if_contains("unmatched_rows")).value_or(0);
  for (auto& each : *columns) {
    if (!each.is_object())
      return fail(ec::corrupt, "{}: a column is not an object", origin);
    TROUPE_TRY(type, column_type_named(text_or(each.get_object(), "type")));
    out.columns.push_back({text_or(each.get_object(), "name"), type});
  }
  for (auto& each : *parts) {
    auto file = each.is_object() ? text_or(each.get_object(), "file") : std::string{};
    if (!is_plain_name(file))
      return fail(ec::corrupt, "{}: \"{}\" is no name of a part", origin, file);
    out.parts.push_back(std::move(file));
  }
  if (offsets != nullptr)
    for (auto& each : *offsets)
      if (auto offset = whole_of(&each))
        out.log_offsets.push_back(*offset);
  out.text = std::move(text);
  return out;
}

expected<training_manifest> read_training_manifest(const std::filesystem::path& folder) {
  auto path = folder / training_manifest_file;
  TROUPE_TRY(text, read_file(path));
  return parse_training_manifest(std::move(text), path.string());
}

expected<training_check> verify_training_set(const std::filesystem::path& folder) {
  TROUPE_TRY(manifest, read_training_manifest(folder));
  training_check result;
  std::vector<std::string> hashes;
  for (auto& each : manifest.parts) {
    TROUPE_TRY(hash, hash_part(folder / each, manifest.columns, result.rows));
    hashes.push_back(std::move(hash));
  }
  result.stated = manifest.content_sha256;
  result.computed = content_hash(manifest.columns, hashes);
  result.same = result.stated == result.computed && result.rows == manifest.rows;
  return result;
}

} // namespace troupe::feature_store
