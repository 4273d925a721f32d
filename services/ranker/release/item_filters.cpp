#include "services/ranker/release/item_filters.hpp"

#include "services/ranker/items/predicate.hpp"
#include "services/ranker/release/load.hpp"

#include <algorithm>

namespace troupe::ranker {

namespace {

constexpr std::size_t words_of_page = item_page::rows / 64;

/// Two predicates with the same key hold for the same items.
std::string key_of(const attribute_predicate& of) {
  auto key = fmt::format("{}\n{}{}{}\n{}\n", of.attribute, static_cast<int>(of.op), of.negated ? '!' : ' ',
                         of.number, of.text);
  for (auto& each : of.list) {
    key += std::to_string(each.size()) + ':';
    key += each;
  }
  return key;
}

} // namespace

item_bits::item_bits(const loaded_release& release, const attribute_predicate& of, const item_snapshot& items,
                     const item_bits* before)
    : snapshot_{items.number()}, bits_(items.pages().size() * words_of_page), rows_(release.models.size()) {
  compiled_predicate when{of, items};
  outside_ = when.holds(nullptr, 0);
  std::vector<std::size_t> other; // Pages that are not as they were.
  for (auto& page : items.pages()) {
    auto at = pages_.size();
    auto* to = bits_.data() + at * words_of_page;
    pages_.push_back(page ? page->number : 0);
    if (before && at < before->pages_.size() && before->pages_[at] == pages_[at]) {
      std::copy_n(before->bits_.data() + at * words_of_page, words_of_page, to);
      continue;
    }
    other.push_back(at);
    for (std::size_t row = 0; row < item_page::rows; ++row)
      to[row / 64] |= std::uint64_t{when.holds(page.get(), row)} << row % 64;
  }
  for (std::size_t m = 0; m < rows_.size(); ++m) {
    auto& model = release.models[m];
    if (!model.index)
      continue;
    auto put = [&](model::row row, bool held) {
      auto mask = std::uint64_t{1} << row % 64;
      rows_[m][row / 64] = held ? rows_[m][row / 64] | mask : rows_[m][row / 64] & ~mask;
    };
    // Where there are fewer pages than before, rows of these would keep what they had.
    if (before && before->pages_.size() <= pages_.size()) {
      rows_[m] = before->rows_[m];
      for (auto at : other)
        for (std::size_t i = 0; i < item_page::rows; ++i) {
          item_ord item{static_cast<std::uint32_t>(at * item_page::rows + i)};
          if (auto row = model.rows->find(item); row != no_row)
            put(row, holds(item));
        }
      continue;
    }
    rows_[m].resize((model.rows->size() + 63) / 64);
    for (model::row row = 0; row < model.rows->size(); ++row)
      put(row, holds(model.rows->item(row)));
  }
}

std::size_t item_bits::bytes() const noexcept {
  auto words = pages_.size() + bits_.size();
  for (auto& each : rows_)
    words += each.size();
  return words * sizeof(std::uint64_t);
}

item_bits_ptr item_filters::get(const loaded_release& release, const attribute_predicate& of,
                                const item_snapshot& items) const {
  auto key = key_of(of);
  item_bits_ptr before;
  {
    std::lock_guard lock{mutex_};
    if (auto found = known_.find(key); found != known_.end()) {
      before = found->second.bits;
      found->second.asked = ++questions_;
    }
  }
  if (before && before->snapshot() == items.number())
    return before;
  auto made = std::make_shared<const item_bits>(release, of, items, before.get());
  if (items.passing() || (before && items.number() < before->snapshot()))
    return made;
  keep(std::move(key), made);
  return made;
}

void item_filters::keep(std::string key, const item_bits_ptr& bits) const {
  std::lock_guard lock{mutex_};
  auto& at = known_[std::move(key)];
  bytes_ += bits->bytes() - (at.bits ? at.bits->bytes() : 0);
  at = {bits, ++questions_};
  while (known_.size() > most || (bytes_ > most_bytes_ && known_.size() > 1)) {
    auto longest = std::ranges::min_element(known_, {}, [](auto& each) { return each.second.asked; });
    bytes_ -= longest->second.bits->bytes();
    known_.erase(longest);
  }
}

std::size_t item_filters::bytes() const {
  std::lock_guard lock{mutex_};
  return bytes_;
}

} // namespace troupe::ranker
