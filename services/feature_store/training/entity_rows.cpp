#include "services/feature_store/training/entity_rows.hpp"

#include "common/event/row.hpp"
#include "common/ingest_format/readers/source.hpp"
#include "common/json/identity.hpp"

#include <algorithm>
#include <utility>

namespace troupe::feature_store {

namespace {

constexpr std::size_t batch_rows = 2'000;

/// Makes an entity_row of each row of the file.
class row_maker {
public:
  row_maker(const training_spec& spec, const ingest_format::source_reader& from) : spec_{spec}, from_{from} {}

  expected<void> check_columns() const {
    auto& columns = from_.columns(); // JSON lines have none: each row is seen by itself.
    auto lacks = [&](const std::string& name) {
      return !name.empty() && std::find(columns.begin(), columns.end(), name) == columns.end();
    };
    if (from_.format() == ingest_format::file_format::json_lines)
      return {};
    std::vector<std::string> names = spec_.kept_columns;
    names.insert(names.begin(), {spec_.entity_user, spec_.entity_item, spec_.entity_time});
    for (auto& name : names)
      if (lacks(name))
        return fail(ec::invalid_argument, "entity_rows {} has no column {}; its columns are {}",
                    spec_.entity_rows, name, fmt::join(columns, ", "));
    return {};
  }

  expected<entity_row> make(const ingest_format::raw_row& row) {
    auto made = read(row);
    if (!made)
      return with_context(fmt::format("reading row {} of entity_rows {}", row.number, spec_.entity_rows),
                          std::move(made).error());
    return made;
  }

private:
  expected<entity_row> read(const ingest_format::raw_row& row) {
    if (row.refused)
      return fail(ec::invalid_argument, "{}", row.refused->reason);
    TROUPE_TRY(cells, cells_of(row));
    entity_row out;
    out.number = row.number;
    TROUPE_TRY(user, identity_in(cells, spec_.entity_user));
    TROUPE_TRY(item, identity_in(cells, spec_.entity_item));
    out.user = user;
    out.item = item;
    auto time = cells.find(spec_.entity_time);
    auto at = parse_time(time ? time->text() : std::string_view{});
    if (!at)
      return with_context(fmt::format("column {}", spec_.entity_time), std::move(at).error());
    out.at = *at;
    for (auto& name : spec_.kept_columns)
      if (auto& kept = out.kept.emplace_back(); auto found = cells.find(name))
        append_word(kept, *found);
    return out;
  }

  expected<exact_value> cells_of(const ingest_format::raw_row& row) {
    if (row.object)
      return *row.object;
    if (from_.format() != ingest_format::file_format::csv)
      return document_.read(row.text);
    std::vector<std::pair<std::string_view, std::string_view>> cells;
    for (std::size_t i = 0; i < row.fields.size(); ++i)
      cells.emplace_back(from_.columns()[i], row.fields[i]);
    return document_.of_texts(cells);
  }

  expected<std::string_view> identity_in(exact_value cells, const std::string& column) const {
    auto found = column.empty() ? std::nullopt : cells.find(column);
    if (!found)
      return std::string_view{};
    auto name = identity_of(*found);
    if (!name)
      return with_context(fmt::format("column {}", column), std::move(name).error());
    return name;
  }

  const training_spec& spec_;
  const ingest_format::source_reader& from_;
  exact_document document_;
};

} // namespace

expected<void> read_entity_rows(const training_spec& spec,
                                const std::function<expected<void>(const entity_row&)>& take) {
  ingest_format::source_options options;
  options.wanted = spec.kept_columns;
  options.wanted->push_back(spec.entity_time);
  for (auto& name : {spec.entity_user, spec.entity_item})
    if (!name.empty()) {
      options.wanted->push_back(name);
      options.identities.push_back(name);
    }
  TROUPE_TRY(reader, ingest_format::open_reader(spec.entity_rows, options));
  row_maker rows{spec, *reader};
  TROUPE_CHECK(rows.check_columns());
  for (;;) {
    TROUPE_TRY(batch, reader->next(batch_rows));
    if (batch->rows.empty())
      return {};
    for (auto& each : batch->rows) {
      TROUPE_TRY(row, rows.make(each));
      TROUPE_CHECK(take(row));
    }
  }
}

} // namespace troupe::feature_store
