#include "common/model/item_index.hpp"

#include "common/model/item_scan.hpp"
#include "common/model/kernels.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>

namespace troupe::model {

namespace {

// Centres are found among this many items each, in so many turns.
constexpr std::size_t sample_of_a_list = 48, turns = 6;
// Items assigned at once: their products with all centres stay in the cache.
constexpr std::size_t assigned_together = 48;
// Lists are looked at, the most promising first, while an item this many deviations beyond a list's centre
// could be among the best: one of this many lists at least, and one of that many at most.
constexpr float reach_in_deviations = 3.5f;
constexpr std::size_t least_lists = 32, most_lists = 4;
// Lists looked at between two looks at what is still open.
constexpr std::size_t lists_at_once = 4;
// Where fewer than one row of so many is allowed, the vectors of those that are are looked at, one by one.
constexpr std::size_t few = 32;
// Blocks that several groups of searches look at before the scan goes on: they stay in the cache.
constexpr std::size_t blocks_at_once = 128;

using row_list = std::vector<std::uint32_t>;

/// For each vector the list whose centre is nearest: the greatest x . c - |c|^2 / 2.
row_list nearest(std::span<const float> vectors, std::size_t width, std::span<const float> centres) {
  auto lists = centres.size() / width, count = vectors.size() / width;
  std::vector<float> bias(lists), scores(assigned_together * lists);
  for (std::size_t l = 0; l < lists; ++l)
    bias[l] = -dot(&centres[l * width], &centres[l * width], width) / 2;
  linear products{centres, bias, width, lists};
  row_list out(count);
  for (std::size_t i = 0; i < count; i += assigned_together) {
    auto rows = std::min(assigned_together, count - i);
    products.apply(&vectors[i * width], rows, scores.data());
    for (std::size_t r = 0; r < rows; ++r)
      out[i + r] = static_cast<std::uint32_t>(greatest(std::span{scores}.subspan(r * lists, lists)));
  }
  return out;
}

/// The centres of k-means over a sample (Lloyd 1982).
std::vector<float> centres_of(std::span<const float> vectors, std::size_t width, std::size_t lists) {
  auto count = vectors.size() / width;
  std::mt19937 random{1}; // The same lists each time.
  std::vector<float> sample;
  auto taken = std::min(count, lists * sample_of_a_list);
  sample.reserve(taken * width);
  for (std::size_t i = 0; i < taken; ++i) { // One of each of as many equal parts.
    auto from = i * count / taken, next = (i + 1) * count / taken;
    auto at = (from + random() % (next - from)) * width;
    sample.insert(sample.end(), &vectors[at], &vectors[at] + width);
  }
  std::vector<float> centres;
  centres.reserve(lists * width);
  auto copy_of_one = [&] { return sample.data() + random() % taken * width; };
  for (std::size_t l = 0; l < lists; ++l) {
    auto* one = copy_of_one();
    centres.insert(centres.end(), one, one + width);
  }
  for (std::size_t turn = 0; turn < turns; ++turn) {
    auto list_of = nearest(sample, width, centres);
    std::vector<float> sums(centres.size(), 0), sizes(lists, 0);
    for (std::size_t i = 0; i < taken; ++i) {
      add_scaled(&sums[list_of[i] * width], &sample[i * width], 1, width);
      ++sizes[list_of[i]];
    }
    for (std::size_t l = 0; l < lists; ++l)
      if (sizes[l] > 0)
        for (std::size_t d = 0; d < width; ++d)
          centres[l * width + d] = sums[l * width + d] / sizes[l];
      else
        std::copy_n(copy_of_one(), width, &centres[l * width]);
  }
  return centres;
}

/// What a thread keeps from one search to the next.
struct workspace {
  std::vector<running_search> searches;
  std::vector<running_search*> scanning;
  std::vector<float> reach;
  row_list lists;
};

} // namespace

struct item_index::impl {
  std::vector<float> vectors;
  std::size_t width = 0, count = 0;
  compact_rows rows;
  // The lists, where there are many items: their blocks in `rows`, and how far their items lie about.
  linear centres;
  row_list first_block;
  std::vector<float> inverse_length; ///< Of the centre; 0 where it has no length.
  std::vector<float> along, across;  ///< Variance in the centre's direction, and in one across it.

  void make_lists() {
    auto lists = std::bit_ceil(static_cast<std::size_t>(std::sqrt(static_cast<double>(count))));
    auto middles = centres_of(vectors, width, lists);
    auto list_of = nearest(vectors, width, middles);
    std::vector<row_list> members(lists);
    std::vector<float> squares(lists);
    for (std::size_t l = 0; l < lists; ++l) {
      squares[l] = dot(&middles[l * width], &middles[l * width], width);
      inverse_length.push_back(squares[l] > 0 ? 1 / std::sqrt(squares[l]) : 0);
    }
    along.assign(lists, 0);
    across.assign(lists, 0);
    for (std::size_t i = 0; i < count; ++i) {
      auto l = list_of[i];
      members[l].push_back(static_cast<std::uint32_t>(i));
      auto *x = &vectors[i * width], *c = &middles[l * width];
      auto product = dot(x, c, width);
      auto ahead = (product - squares[l]) * inverse_length[l];
      along[l] += ahead * ahead;
      across[l] += std::max(dot(x, x, width) - 2 * product + squares[l] - ahead * ahead, 0.0f);
    }
    row_list order;
    for (std::size_t l = 0; l < lists; ++l) {
      auto size = members[l].size();
      along[l] /= static_cast<float>(std::max<std::size_t>(size, 1));
      across[l] /= static_cast<float>(std::max<std::size_t>(size, 1) * std::max<std::size_t>(width - 1, 1));
      first_block.push_back(static_cast<std::uint32_t>(order.size() / compact_rows::block_rows));
      order.insert(order.end(), members[l].begin(), members[l].end());
      while (order.size() % compact_rows::block_rows != 0)
        order.push_back(compact_rows::no_row);
    }
    first_block.push_back(static_cast<std::uint32_t>(order.size() / compact_rows::block_rows));
    rows = compact_rows{vectors, width, std::move(order)};
    centres = linear{middles, {}, width, lists};
  }

  /// Looks at the allowed vectors themselves.
  void look_at_each(running_search& search, const query& of) const {
    if (of.allowed.empty())
      for (std::size_t row = 0; row < count; ++row)
        search.look_at(static_cast<std::uint32_t>(row));
    for (std::size_t word = 0; word < of.allowed.size() && word * 64 < count; ++word)
      for (auto bits = of.allowed[word]; bits != 0; bits &= bits - 1)
        if (auto row = word * 64 + static_cast<std::size_t>(std::countr_zero(bits)); row < count)
          search.look_at(static_cast<std::uint32_t>(row));
  }

  /// Looks at lists, the most promising first, until none that is left can hold one of the best.
  void search_lists(running_search& search, workspace& with) const {
    auto lists = along.size();
    with.reach.resize(lists);
    centres.apply(search.query().data(), 1, with.reach.data());
    auto square = search.length() * search.length();
    for (std::size_t l = 0; l < lists; ++l) {
      auto ahead = with.reach[l] * inverse_length[l]; // The part of the query in the centre's direction.
      auto variance = ahead * ahead * along[l] + std::max(square - ahead * ahead, 0.0f) * across[l];
      with.reach[l] += reach_in_deviations * std::sqrt(variance);
    }
    with.lists.resize(lists);
    std::iota(with.lists.begin(), with.lists.end(), 0);
    auto nearer = [&](auto a, auto b) { return with.reach[a] < with.reach[b]; };
    std::make_heap(with.lists.begin(), with.lists.end(), nearer);
    auto* one = &search;
    for (std::size_t turn = 0; turn < (lists + most_lists - 1) / most_lists; ++turn) {
      std::pop_heap(with.lists.begin(), with.lists.end() - static_cast<std::ptrdiff_t>(turn), nearer);
      auto list = with.lists[lists - turn - 1];
      if (turn >= lists / least_lists) {
        if (turn % lists_at_once == 0)
          search.narrow();
        if (with.reach[list] <= search.threshold())
          break;
      }
      rows.scan(first_block[list], first_block[list + 1], {&one, 1});
    }
  }

  /// Shows all rows to all searches, in parts that stay in the cache, some searches at a time.
  void scan_all(std::span<running_search* const> searches) const {
    auto part = searches.size() > compact_rows::most_together ? blocks_at_once : rows.blocks();
    for (std::size_t first = 0; first < rows.blocks(); first += part)
      for (std::size_t s = 0; s < searches.size(); s += compact_rows::most_together)
        scan_part(first, std::min(first + part, rows.blocks()),
                  searches.subspan(s, std::min(compact_rows::most_together, searches.size() - s)));
  }

  /// Skips the blocks of which no search may find a row.
  void scan_part(std::size_t first, std::size_t last, std::span<running_search* const> searches) const {
    auto wanted = [&](std::size_t block) {
      return std::ranges::any_of(searches, [&](auto* each) { return each->may_find_in(block); });
    };
    while (first < last) {
      while (first < last && !wanted(first))
        ++first;
      auto end = first;
      while (end < last && wanted(end))
        ++end;
      rows.scan(first, end, searches);
      first = end;
    }
  }
};

expected<item_index> item_index::build(std::vector<float> vectors, std::size_t width,
                                       std::size_t flat_up_to) {
  if (width == 0 || vectors.size() % width != 0)
    return fail(ec::corrupt, "{} numbers are no vectors of width {}", vectors.size(), width);
  for (auto each : vectors)
    if (!std::isfinite(each))
      return fail(ec::corrupt, "an item vector holds a number that is not finite");
  auto made = std::make_shared<impl>();
  made->width = width;
  made->count = vectors.size() / width;
  made->vectors = std::move(vectors);
  if (made->count > flat_up_to)
    made->make_lists();
  else
    made->rows = compact_rows{made->vectors, width, {}};
  item_index out;
  out.impl_ = std::move(made);
  return out;
}

void item_index::search(std::span<const query> of) const {
  thread_local workspace with;
  auto& in = *impl_;
  if (with.searches.size() < of.size())
    with.searches.resize(of.size());
  with.scanning.clear();
  for (std::size_t i = 0; i < of.size(); ++i) {
    auto& each = of[i];
    each.found->clear();
    if (each.vector.size() != in.width || each.most == 0 || in.count == 0)
      continue;
    auto& search = with.searches[i];
    search.begin(each.vector, std::min(each.most, in.count), each.allowed);
    std::size_t allowed = 0;
    for (auto word : each.allowed)
      allowed += static_cast<std::size_t>(std::popcount(word));
    if ((!each.allowed.empty() && allowed < in.count / few) || !in.rows.can_bound(search))
      in.look_at_each(search, each);
    else if (!exact())
      in.search_lists(search, with);
    else
      with.scanning.push_back(&search);
  }
  in.scan_all(with.scanning);
  for (std::size_t i = 0; i < of.size(); ++i)
    if (of[i].vector.size() == in.width && of[i].most > 0 && in.count > 0)
      with.searches[i].finish(in.vectors, *of[i].found);
}

std::span<const float> item_index::vector(std::uint32_t row) const {
  return std::span{impl_->vectors}.subspan(row * impl_->width, impl_->width);
}

std::size_t item_index::size() const noexcept {
  return impl_ ? impl_->count : 0;
}

bool item_index::exact() const noexcept {
  return impl_->first_block.empty();
}

} // namespace troupe::model
