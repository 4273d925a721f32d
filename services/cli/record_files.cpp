#include "services/cli/record_files.hpp"

#include "services/cli/context.hpp"

#include "common/core/file.hpp"
#include "common/ingest_format/mapping/shipped.hpp"
#include "common/ingest_format/mapping/slate_rows.hpp"
#include "common/ingest_format/readers/source.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace troupe::cli {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t batch_rows = 2000;

expected<void> read_record_file(const ingest_format::mapping& by, std::size_t rule, const fs::path& file,
                                const std::function<expected<void>(const record_rows&)>& take) {
  TROUPE_TRY(reader, ingest_format::open_reader(file, by.options(rule)));
  TROUPE_TRY(mapper, by.bind(rule, file, *reader));
  std::vector<record> records;
  std::vector<ingest_format::refused_row> refused;
  std::vector<ingest_format::mapped_row> complete;
  ingest_format::slate_rows slates{mapper};
  auto give = [&](std::uint64_t first) -> expected<void> {
    for (auto& row : std::exchange(complete, {})) {
      std::ranges::move(row.records, std::back_inserter(records));
      std::ranges::move(row.refusals, std::back_inserter(refused));
    }
    for (auto& each : records)
      normalise(each);
    TROUPE_CHECK(take({file, first, records, refused}));
    records.clear();
    refused.clear();
    return {};
  };
  while (!context::interrupted()) {
    TROUPE_TRY(rows, reader->next(batch_rows));
    if (rows->rows.empty()) {
      slates.finish(complete);
      return complete.empty() ? expected<void>{} : give(complete.front().number);
    }
    for (auto& each : rows->rows)
      mapper.joins_rows() ? slates.add(each, complete)
                          : static_cast<void>(mapper.apply(each, records, refused));
    TROUPE_CHECK(give(rows->rows.front().number));
  }
  return fail(ec::canceled, "interrupted while reading {}", file.string());
}

} // namespace

expected<std::string> mapping_text(const std::string& named) {
  if (named.empty())
    return std::string{};
  if (auto shipped = ingest_format::find_shipped_mapping(named))
    return std::string{*shipped};
  auto text = read_file(named);
  if (!text && text.error().code == ec::not_found) {
    std::string known;
    for (auto& each : ingest_format::shipped_mappings())
      known += (known.empty() ? "" : ", ") + std::string{each.name};
    return fail(ec::not_found, "there is no mapping and no file {}; shipped mappings: {}", named, known);
  }
  return text;
}

expected<std::shared_ptr<const ingest_format::mapping>> open_mapping(const std::string& named) {
  if (named.empty())
    return ingest_format::mapping::native();
  TROUPE_TRY(text, mapping_text(named));
  return ingest_format::mapping::parse(text, named);
}

expected<void> read_records(const std::string& path, const std::string& mapping,
                            const std::function<expected<void>(const record_rows&)>& take) {
  context::watch_interrupt();
  TROUPE_TRY(by, open_mapping(mapping));
  TROUPE_TRY(files, ingest_format::expand_paths(path));
  bool named = files.size() == 1 && files.front() == fs::path{path};
  std::size_t matched = 0;
  for (auto& each : files)
    if (auto rule = by->match(each, named)) {
      ++matched;
      TROUPE_CHECK(read_record_file(*by, *rule, each, take));
    }
  if (matched == 0)
    return fail(ec::not_found, "none of the {} files at {} is described by the mapping {}: it wants {}",
                files.size(), path, by->name(), by->patterns());
  return {};
}

} // namespace troupe::cli
