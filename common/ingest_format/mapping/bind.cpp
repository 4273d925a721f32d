#include "common/core/hash.hpp"
#include "common/ingest_format/mapping/bound.hpp"

#include <algorithm>

namespace troupe::ingest_format::rules {

namespace {

constexpr auto absent_column = static_cast<std::size_t>(-1);

/// Finds the columns of the rules in those of a file, and notes the ones that are not there.
class binder {
public:
  binder(file_format format, const std::vector<std::string>& columns, const std::filesystem::path& path)
      : format_{format}, columns_{columns}, path_{std::filesystem::absolute(path).lexically_normal()} {}

  bound_column column(const std::string& name, bool optional) {
    bound_column made{name, absent_column, {}};
    for (std::size_t at = 0; at <= name.size();) {
      auto end = std::min(name.find('.', at), name.size());
      made.path.push_back(name.substr(at, end - at));
      at = end + 1;
    }
    auto has = [&](const std::string& wanted) {
      auto found = std::find(columns_.begin(), columns_.end(), wanted);
      if (found != columns_.end())
        made.index = static_cast<std::size_t>(found - columns_.begin());
      return found != columns_.end();
    };
    bool there = format_ == file_format::json_lines || has(name) ||
                 (format_ == file_format::parquet && has(made.path.front()));
    if (!there && !optional && std::find(missing_.begin(), missing_.end(), name) == missing_.end())
      missing_.push_back(name);
    return made;
  }

  bound_source source(const rules::source& rule, std::string_view name) {
    bound_source made{rule, std::string{name}, {}, {}};
    for (auto& each : rule.parts) {
      bound_part one{each.of, each.text, {}};
      if (each.of == part::from::column)
        one.column = column(each.text, rule.optional);
      else if (each.of == part::from::path)
        one.text = path_part(each.depth);
      made.parts.push_back(std::move(one));
    }
    for (auto& each : rule.flags) {
      auto word = rule.words.find(each);
      made.flags.emplace_back(column(each, rule.optional), word == rule.words.end() ? each : word->second);
    }
    return made;
  }

  std::optional<bound_source> source(const std::optional<rules::source>& rule, std::string_view name) {
    return rule ? std::optional{source(*rule, name)} : std::nullopt;
  }

  bound_record record(const record_rule& rule) {
    bound_record made;
    made.native = rule.native;
    if (rule.native) {
      column("kind", false);
      for (auto& each : columns_)
        if (auto known = row_fields(); std::find(known.begin(), known.end(), each) == known.end())
          strange_.push_back(each);
    }
    made.kind = rule.kind;
    made.kind_from = source(rule.kind_from, "kind");
    made.position = rule.id.position;
    for (auto& each : rule.id.parts)
      made.id_parts.push_back(source(each, "id"));
    made.id = source(rule.id.given, "id");
    made.type = source(rule.type, "type");
    made.user = source(rule.user, "user");
    made.item = source(rule.item, "item");
    made.event_time = source(rule.event_time, "event_time");
    made.value = source(rule.value, "value");
    made.request_id = source(rule.request_id, "request_id");
    made.place = source(rule.position, "position");
    made.propensity = source(rule.propensity, "propensity");
    made.slate_by = source(rule.slate_by, "slate_by");
    for (auto& [name, each] : rule.attributes)
      made.attributes.push_back(source(each, name));
    for (auto& each : rule.attribute_maps)
      made.attribute_maps.push_back(column(each, true));
    for (auto& each : rule.when)
      made.when.push_back({each, column(each.column, each.optional)});
    return made;
  }

  const std::vector<std::string>& missing() const noexcept { return missing_; }
  const std::vector<std::string>& strange() const noexcept { return strange_; }

private:
  std::string path_part(std::size_t depth) const {
    if (depth == 0)
      return without_compression(path_);
    auto at = path_;
    for (std::size_t i = 0; i < depth; ++i)
      at = at.parent_path();
    return at.filename().string();
  }

  file_format format_;
  const std::vector<std::string>& columns_;
  std::filesystem::path path_;
  std::vector<std::string> missing_;
  std::vector<std::string> strange_; ///< Columns that Troupe's own layout does not have.
};

} // namespace

expected<bound_file> bind_rules(const file_rule& rule, std::string_view mapping,
                                const std::filesystem::path& path, file_format format,
                                const std::vector<std::string>& columns) {
  binder at{format, columns, path};
  bound_file made;
  for (auto& each : rule.records)
    made.records.push_back(at.record(each));
  if (!at.missing().empty())
    return fail(ec::invalid_argument, "mapping {} does not fit {}: it lacks {}; its columns are {}", mapping,
                path.string(), fmt::join(at.missing(), ", "), fmt::join(columns, ", "));
  if (!at.strange().empty())
    return fail(ec::invalid_argument,
                "mapping {} does not fit {}: rows of Troupe's own layout have no {}; they have {}", mapping,
                path.string(), fmt::join(at.strange(), ", "), fmt::join(row_fields(), ", "));
  made.format = format;
  made.options = rule.options;
  made.columns = columns;
  made.null_tokens = rule.null_tokens;
  made.trim = rule.trim;
  made.name_hash = hash64(without_compression(path));
  return made;
}

} // namespace troupe::ingest_format::rules
