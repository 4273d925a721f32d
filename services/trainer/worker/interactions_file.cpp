#include "services/trainer/worker/interactions_file.hpp"

#include "common/core/file_hash.hpp"
#include "common/table/parquet.hpp"

#include <algorithm>
#include <numeric>
#include <unordered_map>

namespace troupe::trainer {

namespace {

constexpr std::uint64_t interactions_memory = std::uint64_t{512} << 20;

/// Rows as they stand in the file; numbers of names by first appearance in it.
struct file_rows {
  std::vector<std::string> users;
  std::vector<std::string> items;
  std::vector<std::uint32_t> user;
  std::vector<std::uint32_t> item;
  std::vector<std::int64_t> time;
};

class numbering {
public:
  explicit numbering(std::vector<std::string>& names) : names_{names} {}
  std::uint32_t operator()(std::string_view name) {
    auto [at, fresh] = known_.try_emplace(std::string{name}, static_cast<std::uint32_t>(names_.size()));
    if (fresh)
      names_.emplace_back(name);
    return at->second;
  }

private:
  std::vector<std::string>& names_;
  std::unordered_map<std::string, std::uint32_t> known_;
};

expected<file_rows> read_parquet(const std::filesystem::path& file, const progress_sink& sink) {
  TROUPE_TRY(db, table::connection::open({.memory_limit_bytes = interactions_memory, .threads = 1}));
  {
    TROUPE_TRY(shape, db.query(fmt::format("SELECT * FROM {} LIMIT 0", table::parquet_file(file))));
    for (auto* name : {"user", "item", "event_time"})
      if (!shape.find(name))
        return fail(ec::invalid_argument,
                    "{} lacks the column {}: a file of interactions has user, item and event_time",
                    file.string(), name);
  }
  TROUPE_TRY(found,
             db.query(fmt::format("SELECT \"user\", item, event_time FROM {}", table::parquet_file(file))));
  for (std::size_t column : {0, 1})
    if (found.type(column).of != table::kind::text)
      return fail(ec::invalid_argument, "column {} of {} holds {}, not text", found.name(column),
                  file.string(), to_string(found.type(column).of));
  bool whole = found.type(2).of == table::kind::int64;
  if (!whole && !is_instant(found.type(2).of))
    return fail(ec::invalid_argument, "column event_time of {} holds {}, neither times nor int64",
                file.string(), to_string(found.type(2).of));
  file_rows out;
  numbering user_number{out.users};
  numbering item_number{out.items};
  for (;;) {
    TROUPE_TRY(more, found.next());
    if (!more)
      return out;
    auto& user = found.column(0);
    auto& item = found.column(1);
    auto& time = found.column(2);
    for (std::uint64_t i = 0; i < found.rows(); ++i) {
      if (user.is_null(i) || item.is_null(i) || time.is_null(i) || user.text(i).empty() ||
          item.text(i).empty())
        return fail(ec::invalid_argument, "row {} of {} lacks its user, item or event_time",
                    out.user.size() + 1, file.string());
      auto at = whole ? std::optional{from_micros(time.integer(i))} : time.instant(i);
      if (!at)
        return fail(ec::invalid_argument, "row {} of {} has an event_time that is no instant",
                    out.user.size() + 1, file.string());
      out.user.push_back(user_number(user.text(i)));
      out.item.push_back(item_number(item.text(i)));
      out.time.push_back(micros_of(*at));
    }
    if (sink && !sink({"loading", out.user.size()}))
      return fail(ec::canceled, "reading {} was canceled", file.string());
  }
}

} // namespace

expected<interactions> read_interactions_file(const std::filesystem::path& file, const progress_sink& sink) {
  if (file.extension() != ".parquet")
    return read_interactions(file);
  TROUPE_TRY(content, hash_file(file));
  TROUPE_TRY(read, read_parquet(file, sink));
  if (read.user.empty())
    return fail(ec::invalid_argument, "cannot train on {}: it holds no interactions", file.string());
  std::vector<std::uint32_t> order(read.user.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return read.time[a] < read.time[b]; });
  // Numbered again, so that the same rows give the same numbers however the file was sorted.
  interactions out;
  constexpr auto none = ~std::uint32_t{0};
  std::vector<std::uint32_t> user_at(read.users.size(), none);
  std::vector<std::uint32_t> item_at(read.items.size(), none);
  auto renumber = [](std::uint32_t& at, std::string& name, std::vector<std::string>& names) {
    if (at == none) {
      at = static_cast<std::uint32_t>(names.size());
      names.push_back(std::move(name));
    }
    return at;
  };
  for (auto row : order) {
    auto user = read.user[row];
    auto item = read.item[row];
    out.user.push_back(renumber(user_at[user], read.users[user], out.users));
    out.item.push_back(renumber(item_at[item], read.items[item], out.items));
  }
  out.digest = std::move(content.sha256);
  return out;
}

} // namespace troupe::trainer
