#pragma once

#include "services/ranker/client/rules.hpp"
#include "services/ranker/serving/user_features.hpp"

#include "common/core/time.hpp"
#include "common/event/record.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::ranker {

/// What is asked, with what is known of the user at this moment. Texts are those of the request, which must
/// outlive it and what is answered.
struct query {
  std::string_view user;                 ///< Empty: nobody in particular, or one that was deleted.
  user_features_ptr known;               ///< null: nothing was read of the user, or could be.
  std::vector<std::string_view> session; ///< Of this visit, oldest first, later than the history.
  std::vector<attribute_predicate> filters;
  std::vector<std::string_view> exclude;
  std::vector<std::string_view> candidates; ///< Where given, these and no others.
  std::uint32_t n = 10;
  bool explain = false;
  std::uint64_t seed = 0;
  std::int64_t now = 0; ///< Microseconds since 1970 UTC: what has expired by then is not shown.
  deadline until{deadline::clock::time_point::max()}; ///< Models that would begin later do not score.
};

/// The sources that named one item.
class source_set {
public:
  void add(candidate_source source) noexcept {
    bits_ = static_cast<std::uint16_t>(bits_ | 1u << static_cast<unsigned>(source));
  }
  bool has(candidate_source source) const noexcept {
    return (bits_ >> static_cast<unsigned>(source) & 1) != 0;
  }

  /// In the order of the enumeration.
  std::vector<std::string> names() const;

private:
  static_assert(candidate_source_count <= 16);
  std::uint16_t bits_ = 0;
};

/// The items of the history that an item owes its place to, the heaviest first: ids, of which there are few.
class reason_list {
public:
  static constexpr std::size_t most = 3;

  void add(std::string_view id) noexcept { all_[size_++] = id; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  const std::string_view* begin() const noexcept { return all_.data(); }
  const std::string_view* end() const noexcept { return all_.data() + size_; }
  std::string_view operator[](std::size_t at) const noexcept { return all_[at]; }

private:
  std::array<std::string_view, most> all_;
  std::size_t size_ = 0;
};

struct ranked_item {
  std::string_view item;
  double score = 0;
  double propensity = 1;
  source_set sources;
  reason_list because;
  std::string_view title;
  std::vector<std::pair<std::string, double>> models; ///< explain: the score of each.
  std::vector<std::string> notes;                     ///< explain: what moved it.
};

struct stage_time {
  std::string_view name;
  std::chrono::microseconds took{};
  std::uint64_t count = 0;
};

/// What an answer lacks.
struct degradation {
  std::string_view code; ///< What programs tell it by: "deadline", "features", "items"...
  double share = 1;      ///< How much of that is lacking.
  std::string text;      ///< What a person reads. It begins with the code.
};

/// Why an answer has fewer items than were asked for.
struct page_shortage {
  std::uint32_t considered = 0;                    ///< Items that sources had to give.
  std::map<std::string, std::uint32_t> left_out{}; ///< Of them, by reason; the others are in the answer.
};

struct ranking {
  std::vector<ranked_item> items; ///< Best first.
  std::vector<degradation> degraded;
  std::vector<stage_time> stages;
  std::optional<page_shortage> shortage; ///< None: there are as many as were asked for.
  std::shared_ptr<const void>
      texts; ///< What titles lie in. Ids lie in the space of the items, or in the query.
};

} // namespace troupe::ranker
