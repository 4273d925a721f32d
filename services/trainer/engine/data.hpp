#pragma once

#include "common/core/error.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace troupe::trainer {

/// Who took what, in the order of the log. Users and items are numbered by first appearance.
struct interactions {
  std::vector<std::string> users;
  std::vector<std::string> items;
  std::vector<std::uint32_t> user;
  std::vector<std::uint32_t> item;
  std::string digest; ///< SHA-256 of the input's bytes.

  std::uint64_t size() const noexcept { return user.size(); }
};

/// Rows of numbers of different lengths.
struct rows {
  std::vector<std::uint64_t> begin{0};
  std::vector<std::uint32_t> values;

  std::uint64_t size() const noexcept { return begin.size() - 1; }
  std::span<const std::uint32_t> operator[](std::uint64_t row) const noexcept {
    return {values.data() + begin[row], values.data() + begin[row + 1]};
  }
  void add(std::span<const std::uint32_t> row) {
    values.insert(values.end(), row.begin(), row.end());
    begin.push_back(values.size());
  }
};

/// Items of each user, in order; with `distinct` each item once, at its first place.
rows items_by_user(const interactions& data, bool distinct);

/// Users of each item.
rows transpose(const rows& by_row, std::uint64_t columns);

/// What is asked of a model: rank `positive` among `negatives`, or among all items but those of `seen`.
struct ranking_case {
  std::uint32_t user = 0;
  std::vector<std::uint32_t> seen; ///< What the model may know, in order.
  std::uint32_t positive = 0;
  std::vector<std::uint32_t> negatives; ///< Empty: all items.
};

/// Training data with the questions held back from it.
struct benchmark {
  std::string protocol;
  interactions train;
  std::vector<ranking_case> validation; ///< For stopping early; may be empty.
  std::vector<ranking_case> test;
};

/// Reads interactions as text: `user item [time] [anything]` a line, between them tabs, "::", commas or
/// spaces. A first line whose first field is "user" or "user_id" names the columns. Rows are sorted by time
/// where they have one (equal times keep their order). Errors name the line.
expected<interactions> read_interactions(const std::filesystem::path& file);

/// "ml-1m-ncf": pairs, positives and 99 negatives as in the NCF paper, where a positive that is among its own
/// negatives counts once. "ml-1m-sasrec": the last item of a user is the test, the one before it the
/// validation. "leave-last-out": the same for any file of interactions.
expected<benchmark> load_benchmark(const std::string& protocol, const std::filesystem::path& folder);

/// Holds back the last item of each user as the test and the one before it as the validation; users with
/// fewer than three items are only trained on. Where users take items again, it is the last item that was new
/// to them, and what came after it is neither trained on nor known to the model that is asked.
benchmark leave_last_out(interactions data, std::string protocol);

} // namespace troupe::trainer
