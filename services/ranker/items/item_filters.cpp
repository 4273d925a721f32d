#include "services/ranker/items/item_filters.hpp"

#include "services/ranker/items/predicate.hpp"

namespace troupe::ranker {

namespace {

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

item_bits::item_bits(const attribute_predicate& of, const item_snapshot& items, const item_bits* before)
    : snapshot_{items.number()}, bits_(items.pages().size()) {
  compiled_predicate when{of, items};
  outside_ = when.holds(nullptr, 0);
  for (auto& page : items.pages()) {
    auto at = pages_.size();
    pages_.push_back(page ? page->number : 0);
    if (before && at < before->pages_.size() && before->pages_[at] == pages_[at])
      bits_[at] = before->bits_[at];
    else
      for (std::size_t row = 0; row < item_page::rows; ++row)
        if (when.holds(page.get(), row))
          bits_[at][row / 64] |= std::uint64_t{1} << row % 64;
  }
}

item_bits_ptr item_filters::get(const attribute_predicate& of, const item_snapshot& items) const {
  auto key = key_of(of);
  item_bits_ptr before;
  {
    std::lock_guard lock{mutex_};
    if (auto found = known_.find(key); found != known_.end())
      before = found->second;
  }
  if (before && before->snapshot() == items.number())
    return before;
  auto made = std::make_shared<const item_bits>(of, items, before.get());
  if (items.passing() || (before && items.number() < before->snapshot()))
    return made;
  std::lock_guard lock{mutex_};
  if (known_.size() >= most)
    known_.clear();
  known_[std::move(key)] = made;
  return made;
}

} // namespace troupe::ranker
