#include "services/ingest/import_plan.hpp"

#include "common/core/hash.hpp"
#include "common/ingest_format/mapping/mapping.hpp"
#include "common/ingest_format/readers/source.hpp"
#include "common/store/codec.hpp"

#include <filesystem>

namespace troupe::ingest {

std::string import_id(std::string_view path, std::string_view mapping) {
  return to_hex(hash_wide(std::string_view{store::encoder{}.big_text(path).big_text(mapping).take()}))
      .substr(0, 16);
}

std::string import_id_of_upload(std::string_view upload, std::string_view mapping) {
  return import_id(fmt::format("upload/{}", upload), mapping); // No path of a file: those begin with a slash.
}

std::string source_prefix(std::string_view import) {
  return fmt::format("import/{}/", import);
}
std::string source_key(std::string_view import, std::string_view path) {
  return fmt::format("import/{}/{}", import, path);
}

std::string import_key(std::string_view import) {
  return fmt::format("import/{}", import);
}

std::string encode(const import_plan& plan) {
  store::encoder out;
  out.big_text(plan.id)
      .big_text(plan.path)
      .big_text(plan.mapping)
      .big_text(plan.mapping_name)
      .big(static_cast<std::uint64_t>(plan.state))
      .big_text(plan.error);
  out.big(static_cast<std::uint64_t>(micros_of(plan.started))).big(std::uint64_t{plan.files.size()});
  for (auto& each : plan.files)
    out.big_text(each.path)
        .big(each.bytes)
        .big(static_cast<std::uint64_t>(each.modified))
        .big_text(each.failure);
  return out.take();
}

import_plan decode_plan(std::string_view bytes) {
  store::decoder in{bytes};
  import_plan plan;
  plan.id = in.big_text();
  plan.path = in.big_text();
  plan.mapping = in.big_text();
  plan.mapping_name = in.big_text();
  plan.state = static_cast<wire::ImportState>(std::min<std::uint64_t>(in.big(), 3));
  plan.error = in.big_text();
  plan.started = from_micros(static_cast<std::int64_t>(in.big()));
  plan.files.resize(std::min<std::uint64_t>(in.big(), bytes.size() / 32));
  for (auto& each : plan.files) {
    each.path = in.big_text();
    each.bytes = in.big();
    each.modified = static_cast<std::int64_t>(in.big());
    each.failure = in.big_text();
  }
  return plan;
}

expected<std::shared_ptr<const ingest_format::mapping>> open_mapping(std::string_view toml,
                                                                     std::string_view name) {
  if (toml.empty())
    return ingest_format::mapping::native();
  return ingest_format::mapping::parse(toml, name.empty() ? "mapping" : name);
}

bool refresh(planned_file& file) {
  std::error_code problem;
  auto before = file;
  auto bytes = std::filesystem::file_size(file.path, problem);
  if (!problem)
    file.bytes = bytes;
  auto modified = std::filesystem::last_write_time(file.path, problem);
  if (!problem)
    file.modified = modified.time_since_epoch().count();
  return file.bytes == before.bytes && file.modified == before.modified;
}

expected<import_plan> make_plan(std::string_view id, std::string_view path, std::string_view mapping,
                                std::string_view mapping_name, deadline until) {
  TROUPE_TRY(rules, open_mapping(mapping, mapping_name));
  TROUPE_TRY(files, ingest_format::expand_paths(std::string{path}, until));
  import_plan plan;
  plan.id = id;
  plan.path = path;
  plan.mapping = mapping;
  plan.mapping_name = mapping_name;
  plan.started = wall_now();
  bool named = files.size() == 1 && files.front() == std::filesystem::path{path};
  for (auto& each : files)
    if (rules->match(each, named))
      refresh(plan.files.emplace_back(planned_file{each.string(), 0, 0, {}}));
  if (plan.files.empty())
    return fail(ec::not_found, "none of the {} files at {} is described by the mapping {}: it wants {}",
                files.size(), path, rules->name(), rules->patterns());
  return plan;
}

} // namespace troupe::ingest
