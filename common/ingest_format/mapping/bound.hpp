#pragma once

#include "common/ingest_format/mapping/rules.hpp"
#include "common/ingest_format/readers/source.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// The rules of a mapping with their columns found in one file.
namespace troupe::ingest_format::rules {

struct bound_column {
  std::string name;
  std::size_t index = 0;         // CSV.
  std::vector<std::string> path; // JSON.
};

struct bound_part {
  part::from of;
  std::string text; // The literal, or what the path gives.
  bound_column column;
};

struct bound_source {
  source rule;
  std::string name; // Of the field, for messages.
  std::vector<bound_part> parts;
  std::vector<std::pair<bound_column, std::string>> flags; // With the word for each.
};

struct bound_condition {
  condition rule;
  bound_column column;
};

struct bound_record {
  bool native = false;
  std::optional<record_kind> kind;
  std::optional<bound_source> kind_from;
  bool position = false;
  std::vector<bound_source> id_parts;
  std::optional<bound_source> id, type, user, item, event_time, value, request_id;
  std::optional<bound_source> place, propensity, slate_by;
  std::vector<bound_source> attributes;
  std::vector<bound_column> attribute_maps;
  std::vector<bound_condition> when;
};

struct bound_file {
  file_format format = file_format::csv;
  source_options options{};
  std::vector<std::string> columns;
  std::vector<std::string> null_tokens;
  bool trim = false;
  std::vector<bound_record> records;
  std::uint64_t name_hash = 0;      // Of the file's name without its compression.
  std::optional<hash128> content{}; // As the reader says.
};

/// Finds the columns of `rule` among those of a file; `mapping` is what the mapping is called in messages.
expected<bound_file> bind_rules(const file_rule& rule, std::string_view mapping,
                                const std::filesystem::path& path, file_format format,
                                const std::vector<std::string>& columns);

} // namespace troupe::ingest_format::rules
