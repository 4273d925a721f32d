#include "services/trainer/worker/training_table.hpp"

#include "common/core/file.hpp"
#include "common/core/hash.hpp"
#include "common/table/parquet.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <limits>

namespace troupe::trainer {

namespace json = boost::json;

namespace {

constexpr std::uint64_t rows_memory = std::uint64_t{512} << 20;

struct manifest {
  std::vector<std::pair<std::string, std::string>> columns; ///< Name and type.
  std::vector<std::string> parts;
  json::object views, entities;
  std::string digest;
};

expected<manifest> read_manifest(const std::filesystem::path& folder) {
  auto path = folder / "manifest.json";
  auto read = read_file(path);
  if (!read)
    return fail(ec::not_found,
                "cannot read {}: {} holds no finished training set; `troupe training-set build` makes one",
                path.string(), folder.string());
  auto& text = *read;
  manifest out;
  try {
    auto root = json::parse(text).as_object();
    for (auto& each : root.at("columns").as_array())
      out.columns.emplace_back(each.at("name").as_string(), each.at("type").as_string());
    for (auto& each : root.at("parts").as_array())
      out.parts.emplace_back(each.at("file").as_string());
    out.views = root.at("views").as_object();
    if (!root.contains("entities"))
      return fail(ec::unsupported_version,
                  "{} does not say which views are of users and which of items: build the training set again",
                  path.string());
    out.entities = root.at("entities").as_object();
    out.digest = root.at("content_sha256").as_string();
  } catch (const std::exception& problem) {
    return fail(ec::corrupt, "cannot read {}: {}", path.string(), problem.what());
  }
  return out;
}

std::string quoted(const std::string& name) {
  std::string out = "\"";
  for (auto each : name)
    out += each == '"' ? std::string{"\"\""} : std::string{each};
  return out + "\"";
}

void add_words(feature_column& to, const table::column_view& from, const table::column_view& words, bool list,
               std::uint64_t row) {
  if (!from.is_null(row)) {
    if (list) {
      auto range = from.elements(row);
      for (std::uint64_t i = 0; i < range.length; ++i)
        to.words.push_back(hash64(words.text(range.offset + i)));
    } else if (auto text = from.text(row); !text.empty()) {
      to.words.push_back(hash64(text));
    }
  }
  to.begin.push_back(to.words.size());
}

} // namespace

expected<labelled_rows> read_training_set(const std::filesystem::path& folder,
                                          const training_table_options& options, const progress_sink& sink) {
  TROUPE_TRY(about, read_manifest(folder));
  labelled_rows out;
  out.digest = about.digest;
  for (auto& [name, version] : about.views)
    out.views.emplace(name, version.as_string());
  auto has = [&](const std::string& name) {
    return std::any_of(about.columns.begin(), about.columns.end(),
                       [&](auto& each) { return each.first == name; });
  };
  if (!has(options.label))
    return fail(ec::invalid_argument, "training set {} has no column {}: set dcn.label", folder.string(),
                options.label);
  // A label of entity_rows is text: what is no number has no value.
  auto columns = fmt::format("TRY_CAST({} AS DOUBLE), \"user\", \"item\"", quoted(options.label));
  std::vector<std::string> types;
  auto add = [&](const std::string& name, const std::string& type, bool of_item) {
    auto& made = out.columns.emplace_back();
    made.name = name;
    made.of_item = of_item;
    made.category = type != "number";
    types.push_back(type);
    columns += ", " + quoted(name);
  };
  for (auto& [name, type] : about.columns) {
    auto* entity = about.entities.if_contains(name.substr(0, name.find('.')));
    bool feature = name.find('.') != std::string::npos && type != "whole" && name != options.label;
    if (feature && entity && entity->is_string())
      add(name, type, entity->get_string() == "item");
  }
  if (options.ids) {
    add("user", "text", false);
    add("item", "text", true);
  }
  TROUPE_TRY(db, table::connection::open({.memory_limit_bytes = rows_memory, .threads = 1}));
  for (auto& part : about.parts) {
    TROUPE_TRY(found,
               db.query(fmt::format("SELECT {} FROM {}", columns, table::parquet_file(folder / part))));
    for (;;) {
      TROUPE_TRY(more, found.next());
      if (!more)
        break;
      auto &label = found.column(0), &user = found.column(1), &item = found.column(2);
      for (std::uint64_t r = 0; r < found.rows(); ++r) {
        out.labels.push_back(!label.is_null(r) && label.number(r) >= options.positive_at_least ? 1.0f : 0.0f);
        out.users.emplace_back(user.is_null(r) ? std::string_view{} : user.text(r));
        out.items.emplace_back(item.is_null(r) ? std::string_view{} : item.text(r));
      }
      for (std::size_t c = 0; c < types.size(); ++c) {
        auto& from = found.column(c + 3);
        auto& to = out.columns[c];
        bool list = types[c] == "list";
        auto words = list ? from.child() : table::column_view{};
        for (std::uint64_t r = 0; r < found.rows(); ++r)
          if (to.category)
            add_words(to, from, words, list, r);
          else
            to.numbers.push_back(from.is_null(r) ? std::numeric_limits<float>::quiet_NaN()
                                                 : static_cast<float>(from.number(r)));
      }
      if (sink && !sink({"loading", out.size()}))
        return fail(ec::canceled, "reading {} was canceled", folder.string());
    }
  }
  if (out.size() == 0)
    return fail(ec::invalid_argument, "training set {} has no rows", folder.string());
  return out;
}

} // namespace troupe::trainer
