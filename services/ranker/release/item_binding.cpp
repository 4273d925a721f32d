#include "services/ranker/release/item_binding.hpp"

#include "services/ranker/items/predicate.hpp"
#include "services/ranker/release/load.hpp"

#include <algorithm>

namespace troupe::ranker {

namespace {

/// The features of one item as models take them, with the memory that lists of words need.
class feature_row {
public:
  std::span<const model::feature> read(const item_snapshot& items, const item_page* page, std::size_t row,
                                       std::string_view id, const std::vector<std::size_t>& columns) {
    words_.resize(std::max(words_.size(), columns.size()));
    values_.clear();
    for (std::size_t i = 0; i < columns.size(); ++i)
      if (columns[i] == item_binding::id_column)
        values_.emplace_back(id);
      else if (page && columns[i] < page->features.size())
        values_.push_back(value(items, page->features[columns[i]], row, words_[i]));
      else
        values_.emplace_back();
    return values_;
  }

private:
  static model::feature value(const item_snapshot& items, const item_column& in, std::size_t row,
                              std::vector<std::string_view>& words) {
    switch (in.kinds[row]) {
    case item_column::kind::none:
      return {};
    case item_column::kind::number:
    case item_column::kind::flag:
      return in.values[row].number;
    case item_column::kind::text:
      return items.word(in.values[row].text);
    case item_column::kind::list:
      words.clear();
      for (auto each : in.list(row))
        words.push_back(items.word(each));
      return std::span<const std::string_view>{words};
    }
    return {};
  }

  std::vector<std::vector<std::string_view>> words_;
  std::vector<model::feature> values_;
};

std::vector<std::size_t> columns_of(const model::feature_needs& needs, const item_snapshot& items) {
  std::vector<std::size_t> out;
  for (auto& name : needs.item) {
    auto& has = items.feature_names();
    auto found = std::find(has.begin(), has.end(), name);
    out.push_back(name == "item"       ? item_binding::id_column
                  : found == has.end() ? item_binding::no_column
                                       : static_cast<std::size_t>(found - has.begin()));
  }
  return out;
}

void assign(std::vector<std::uint64_t>& bits, std::size_t at, bool to) {
  auto mask = std::uint64_t{1} << at % 64;
  bits[at / 64] = to ? bits[at / 64] | mask : bits[at / 64] & ~mask;
}

void set(item_page::bits& bits, std::size_t row) {
  bits[row / 64] |= std::uint64_t{1} << row % 64;
}

} // namespace

item_binding::item_binding(const loaded_release& release, const item_snapshot& items, std::int64_t now,
                           const item_binding* before)
    : snapshot_{items.number()}, bound_at_{now} {
  for (auto& by : release.models)
    columns_.push_back(columns_of(by.scorer->features(), items));
  // Columns of features have other places after a scan with other features: then nothing is as it was.
  if (before && before->columns_ != columns_)
    before = nullptr;
  nothing_ = bind(release, items, nullptr, 0);
  std::size_t limit = items.pages().size() * item_page::rows;
  for (auto& by : release.models)
    limit = std::max(limit, by.rows->limit());
  pages_.resize((limit + item_page::rows - 1) / item_page::rows, nothing_);
  auto before_page = [&](std::size_t at) {
    return before && at < before->pages_.size() ? before->pages_[at].get() : nullptr;
  };
  std::vector<std::size_t> other; // Pages that are not as they were.
  for (std::size_t at = 0; at < pages_.size(); ++at) {
    auto page = at < items.pages().size() ? items.pages()[at] : nullptr;
    auto* was = before_page(at);
    if (was && was->of == page) {
      pages_[at] = before->pages_[at];
      continue;
    }
    other.push_back(at);
    if (page)
      pages_[at] = bind(release, items, page, at);
  }
  // What expires only closes as time goes by: bits of an earlier instant are good but for what has expired
  // since.
  bool bits_too = before && before->bound_at_ <= now;
  if (!bits_too) {
    other.resize(pages_.size());
    for (std::size_t at = 0; at < other.size(); ++at)
      other[at] = at;
  }
  if (bits_too)
    open_ = before->open_;
  open_.resize(pages_.size() * item_page::rows / 64, 0);
  for (auto at : other)
    for (std::size_t row = 0; row < item_page::rows; ++row) {
      item_ord item{static_cast<std::uint32_t>(at * item_page::rows + row)};
      assign(open_, index_of(item),
             !item_page::bit(pages_[at]->filtered, row) && items.closed(item, now).empty());
    }
  auto expired =
      bits_too ? items.expiring_between(before->bound_at_, now) : std::span<const item_snapshot::expiry>{};
  for (auto& each : expired)
    assign(open_, index_of(each.item), false);
  allowed_.resize(release.models.size());
  for (std::size_t m = 0; m < release.models.size(); ++m) {
    auto& by = release.models[m];
    if (!by.index)
      continue;
    if (bits_too)
      allowed_[m] = before->allowed_[m];
    allowed_[m].resize((by.rows->size() + 63) / 64, 0);
    for (auto at : other)
      for (std::size_t row = 0; row < item_page::rows; ++row) {
        item_ord item{static_cast<std::uint32_t>(at * item_page::rows + row)};
        if (auto of_model = by.rows->find(item); of_model != no_row)
          assign(allowed_[m], of_model, open(item));
      }
    for (auto& each : expired)
      if (auto of_model = by.rows->find(each.item); of_model != no_row)
        assign(allowed_[m], of_model, false);
  }
}

std::shared_ptr<const bound_page> item_binding::bind(const loaded_release& release,
                                                     const item_snapshot& items, const item_page_ptr& page,
                                                     std::size_t at) const {
  auto out = std::make_shared<bound_page>();
  out->of = page;
  for (auto& each : release.rules.rules) {
    auto& meant = out->meant.emplace_back();
    if (each.kind == rule_kind::pin)
      continue;
    compiled_predicate when{each.when, items};
    for (std::size_t row = 0; row < item_page::rows; ++row)
      if (when.holds(page.get(), row)) {
        set(meant, row);
        if (each.kind == rule_kind::filter)
          set(out->filtered, row);
      }
  }
  out->inputs.resize(release.models.size());
  if (!page)
    return out;
  feature_row features;
  for (std::size_t m = 0; m < release.models.size(); ++m) {
    auto& scorer = *release.models[m].scorer;
    auto width = scorer.input_width();
    if (width == 0)
      continue;
    out->inputs[m].resize(width * item_page::rows);
    for (std::size_t row = 0; row < item_page::rows; ++row)
      if (item_page::bit(page->known, row)) {
        item_ord item{static_cast<std::uint32_t>(at * item_page::rows + row)};
        scorer.item_input(features.read(items, page.get(), row, items.space()->id(item), columns_[m]),
                          std::span{out->inputs[m]}.subspan(row * width, width));
      }
  }
  return out;
}

void item_binding::unknown_input(const model::scorer& by, std::size_t model, std::string_view id,
                                 std::span<float> out) const {
  static const item_snapshot nothing;
  feature_row features;
  by.item_input(features.read(nothing, nullptr, 0, id, columns_[model]), out);
}

std::size_t item_binding::shared_with(const item_snapshot& items) const noexcept {
  std::size_t out = 0;
  for (std::size_t at = 0; at < std::min(pages_.size(), items.pages().size()); ++at)
    out += items.pages()[at] && pages_[at]->of == items.pages()[at] ? 1 : 0;
  return out;
}

item_binding_ptr item_bindings::get(const loaded_release& release, const item_snapshot& items,
                                    std::int64_t now) const {
  auto fits = [&](const item_binding_ptr& each) {
    return each && each->snapshot() == items.number() && each->bound_at() <= now;
  };
  auto kept = kept_.get();
  for (auto* each : {&kept->newest, &kept->before})
    if (fits(*each))
      return *each;
  auto make = [&](const item_binding_ptr& from) {
    return std::make_shared<const item_binding>(release, items, now, from.get());
  };
  if (items.passing() || (kept->newest && items.number() < kept->newest->snapshot()))
    return make(kept->newest);
  std::lock_guard lock{making_};
  kept = kept_.get();
  if (fits(kept->newest))
    return kept->newest;
  auto& [newest, before, prepared] = *kept;
  bool is_prepared = prepared && (!newest || prepared->shared_with(items) > newest->shared_with(items));
  auto made = fits(prepared) ? prepared : make(is_prepared ? prepared : newest);
  auto next = std::make_shared<const pair>(pair{made, newest, is_prepared ? nullptr : prepared});
  keep(std::move(next), std::move(kept));
  return made;
}

void item_bindings::prepare(const loaded_release& release, const item_snapshot& items,
                            std::int64_t now) const {
  // Not under the lock: while all is bound anew, changes of the items in force are, too.
  auto made = std::make_shared<const item_binding>(release, items, now, nullptr);
  std::lock_guard lock{making_};
  auto kept = kept_.get();
  auto next = std::make_shared<const pair>(pair{kept->newest, kept->before, std::move(made)});
  keep(std::move(next), std::move(kept));
}

/// Under the lock of who makes.
void item_bindings::keep(std::shared_ptr<const pair> next, std::shared_ptr<const pair> old) const {
  kept_.set(std::move(next));
  retired_.push_back(std::move(old));
  std::erase_if(retired_, [](auto& each) {
    // Nobody else holds the pair, nor what is only in it.
    return each.use_count() == 1 && (!each->before || each->before.use_count() == 1);
  });
}

} // namespace troupe::ranker
