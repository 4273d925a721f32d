#include "services/trainer/engine/data.hpp"

#include "common/core/file.hpp"
#include "common/core/hash.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>
#include <unordered_map>
#include <utility>

namespace troupe::trainer {

namespace {

expected<std::string> read_text(const std::filesystem::path& file) {
  TROUPE_TRY(text, read_file(file));
  if (text.empty())
    return fail(ec::not_found, "cannot read {}: it is empty", file.string());
  return std::move(text);
}

std::string_view take_line(std::string_view& text) {
  auto end = text.find('\n');
  auto line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (line.ends_with('\r'))
    line.remove_suffix(1);
  return line;
}

void split(std::string_view line, std::vector<std::string_view>& out) {
  out.clear();
  std::string_view between = line.find('\t') != std::string_view::npos   ? "\t"
                             : line.find("::") != std::string_view::npos ? "::"
                             : line.find(',') != std::string_view::npos  ? ","
                                                                         : " ";
  while (true) {
    auto end = line.find(between);
    out.push_back(line.substr(0, end));
    if (end == std::string_view::npos)
      return;
    line.remove_prefix(end + between.size());
  }
}

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (err != std::errc{} || end != text.data() + text.size())
    return std::nullopt;
  return value;
}

class vocabulary {
public:
  explicit vocabulary(std::vector<std::string>& names) : names_{names} {
    for (auto& name : names_)
      known_.emplace(name, known_.size());
  }

  std::uint32_t number_of(std::string_view name) {
    auto [at, added] = known_.try_emplace(std::string{name}, static_cast<std::uint32_t>(names_.size()));
    if (added)
      names_.emplace_back(name);
    return at->second;
  }

private:
  std::vector<std::string>& names_;
  std::unordered_map<std::string, std::uint32_t> known_;
};

expected<benchmark> load_ncf(const std::filesystem::path& folder) {
  benchmark out;
  out.protocol = "ml-1m-ncf";
  TROUPE_TRY(train, read_interactions(folder / "ml-1m.train.pairs.tsv"));
  out.train = std::move(train);
  TROUPE_TRY(positives, read_text(folder / "ml-1m.test.rating"));
  TROUPE_TRY(negatives, read_text(folder / "ml-1m.test.negative"));
  vocabulary users{out.train.users};
  vocabulary items{out.train.items};
  auto known = out.train.users.size();
  auto by_user = items_by_user(out.train, true);
  std::string_view positive_text = positives;
  std::string_view negative_text = negatives;
  std::vector<std::string_view> fields;
  for (std::uint64_t line = 1; !positive_text.empty(); ++line) {
    split(take_line(positive_text), fields);
    if (fields.size() < 2)
      return fail(ec::corrupt, "line {} of ml-1m.test.rating has no user and item", line);
    ranking_case one;
    auto head = fmt::format("({},{})", fields[0], fields[1]);
    one.user = users.number_of(fields[0]);
    one.positive = items.number_of(fields[1]);
    if (one.user < known) {
      auto seen = by_user[one.user];
      one.seen.assign(seen.begin(), seen.end());
    }
    split(take_line(negative_text), fields);
    if (fields[0] != head)
      return fail(ec::corrupt, "line {} of ml-1m.test.negative is not that of {}", line, head);
    for (auto field : std::span{fields}.subspan(1))
      if (auto item = items.number_of(field); item != one.positive)
        one.negatives.push_back(item);
    out.test.push_back(std::move(one));
  }
  out.train.digest = sha256_hex(as_bytes(out.train.digest + positives + negatives));
  return out;
}

} // namespace

rows items_by_user(const interactions& data, bool distinct) {
  std::vector<std::uint64_t> at(data.users.size() + 1, 0);
  for (auto user : data.user)
    ++at[user + 1];
  std::partial_sum(at.begin(), at.end(), at.begin());
  rows all;
  all.begin = at;
  all.values.resize(data.size());
  for (std::uint64_t i = 0; i < data.size(); ++i)
    all.values[at[data.user[i]]++] = data.item[i];
  if (!distinct)
    return all;
  rows out;
  std::vector<std::uint32_t> last(data.items.size(), 0);
  for (std::uint32_t user = 0; user < all.size(); ++user) {
    for (auto item : all[user])
      if (last[item] != user + 1) {
        last[item] = user + 1;
        out.values.push_back(item);
      }
    out.begin.push_back(out.values.size());
  }
  return out;
}

rows transpose(const rows& by_row, std::uint64_t columns) {
  rows out;
  out.begin.assign(columns + 1, 0);
  for (auto column : by_row.values)
    ++out.begin[column + 1];
  std::partial_sum(out.begin.begin(), out.begin.end(), out.begin.begin());
  auto at = out.begin;
  out.values.resize(by_row.values.size());
  for (std::uint32_t row = 0; row < by_row.size(); ++row)
    for (auto column : by_row[row])
      out.values[at[column]++] = row;
  return out;
}

expected<interactions> read_interactions(const std::filesystem::path& file) {
  TROUPE_TRY(content, read_text(file));
  interactions out;
  vocabulary users{out.users};
  vocabulary items{out.items};
  std::string_view text = content;
  std::vector<std::string_view> fields;
  struct row {
    std::string_view user;
    std::string_view item;
    double time = 0;
  };
  std::vector<row> all;
  std::size_t user_column = 0;
  std::size_t item_column = 1;
  std::size_t time_column = 2;
  bool timed = true;
  for (std::uint64_t line = 1; !text.empty(); ++line) {
    auto content_of_line = take_line(text);
    if (content_of_line.empty())
      continue;
    split(content_of_line, fields);
    if (line == 1 &&
        (fields[0] == "user" || fields[0] == "user_id" || fields[0] == "item" || fields[0] == "item_id")) {
      auto column = [&](std::initializer_list<std::string_view> names) {
        auto found = std::find_first_of(fields.begin(), fields.end(), names.begin(), names.end());
        return static_cast<std::size_t>(found - fields.begin());
      };
      user_column = column({"user", "user_id"});
      item_column = column({"item", "item_id"});
      time_column = column({"event_time", "time", "timestamp"});
      timed = time_column < fields.size();
      if (user_column == fields.size() || item_column == fields.size())
        return fail(ec::invalid_argument, "cannot read {}: its first line names no columns user and item",
                    file.string());
      continue;
    }
    if (fields.size() <= std::max(user_column, item_column) || fields[user_column].empty() ||
        fields[item_column].empty())
      return fail(ec::invalid_argument, "cannot read {}: line {} has no user and item", file.string(), line);
    row one{fields[user_column], fields[item_column], 0};
    timed = timed && time_column < fields.size();
    if (timed) {
      auto time = number<double>(fields[time_column]);
      if (!time)
        return fail(ec::invalid_argument, "cannot read {}: the time in line {} is no number", file.string(),
                    line);
      one.time = *time;
    }
    all.push_back(one);
  }
  if (timed)
    std::stable_sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.time < b.time; });
  for (auto& one : all) {
    out.user.push_back(users.number_of(one.user));
    out.item.push_back(items.number_of(one.item));
  }
  if (out.user.empty())
    return fail(ec::invalid_argument, "cannot read {}: it holds no interactions", file.string());
  out.digest = sha256_hex(as_bytes(content));
  return out;
}

benchmark leave_last_out(interactions data, std::string protocol) {
  benchmark out;
  out.protocol = std::move(protocol);
  auto by_user = items_by_user(data, false);
  std::vector<std::uint64_t> left(data.users.size());
  std::vector<std::uint32_t> known_by(data.items.size(), 0);
  std::vector<std::size_t> new_at;
  for (std::uint32_t user = 0; user < by_user.size(); ++user) {
    auto items = by_user[user];
    new_at.clear();
    for (std::size_t i = 0; i < items.size(); ++i)
      if (std::exchange(known_by[items[i]], user + 1) != user + 1)
        new_at.push_back(i);
    left[user] = items.size();
    if (new_at.size() < 3)
      continue;
    auto before = [&](std::size_t at) {
      return ranking_case{
          user, {items.begin(), items.begin() + static_cast<std::ptrdiff_t>(at)}, items[at], {}};
    };
    auto last = new_at[new_at.size() - 1];
    left[user] = new_at[new_at.size() - 2];
    out.validation.push_back(before(left[user]));
    out.test.push_back(before(last));
  }
  auto& train = out.train;
  for (std::uint64_t i = 0; i < data.size(); ++i) {
    if (left[data.user[i]] == 0)
      continue;
    --left[data.user[i]];
    train.user.push_back(data.user[i]);
    train.item.push_back(data.item[i]);
  }
  train.users = std::move(data.users);
  train.items = std::move(data.items);
  train.digest = std::move(data.digest);
  return out;
}

expected<benchmark> load_benchmark(const std::string& protocol, const std::filesystem::path& folder) {
  if (protocol == "ml-1m-ncf")
    return load_ncf(folder);
  if (protocol == "ml-1m-sasrec") {
    TROUPE_TRY(data, read_interactions(folder / "ml-1m.txt"));
    return leave_last_out(std::move(data), protocol);
  }
  if (protocol == "leave-last-out") {
    TROUPE_TRY(data, read_interactions(folder));
    return leave_last_out(std::move(data), protocol);
  }
  return fail(ec::invalid_argument, "no protocol {}: there are ml-1m-ncf, ml-1m-sasrec and leave-last-out",
              protocol);
}

} // namespace troupe::trainer
