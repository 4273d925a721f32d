#include "services/ranker/items/item_snapshot.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <unordered_map>

namespace troupe::ranker {

namespace {

constexpr word_id no_text{0}; // Every dictionary begins with the empty text.
constexpr std::uint32_t spare_words = 100'000;

std::uint64_t next_number() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

std::shared_ptr<text_numbers> new_words() {
  auto made = std::make_shared<text_numbers>();
  made->add("");
  return made;
}

} // namespace

const attribute_value* item_attributes::find(std::string_view name) const {
  auto at = std::find_if(attributes.begin(), attributes.end(), [&](auto& each) { return each.name == name; });
  return at != attributes.end() ? &at->value : nullptr;
}

std::string_view item_attributes::closed(std::int64_t now) const noexcept {
  if (deleted)
    return "deleted";
  if (hidden)
    return "hidden";
  if (expires != 0 && expires <= now)
    return "expired";
  return {};
}

/// Puts rows into the pages of a snapshot under construction. Pages of another snapshot are copied before
/// they are written.
class item_snapshot::editor {
public:
  explicit editor(item_snapshot& of) : of_{of} {}

  void put(const item_attributes& from) {
    auto item = of_.space_->add(from.id);
    auto& page = page_for(item);
    auto row = row_of(item);
    clear(page, row);
    ++of_.size_;
    set(page.known, row, true);
    set(page.hidden, row, from.hidden);
    set(page.deleted, row, from.deleted);
    page.expires[row] = from.expires;
    page.created[row] = from.created;
    page.trend[row] = from.trend;
    page.titles[row] = from.title.empty() ? no_text : word(from.title);
    for (auto& each : from.attributes)
      put(column(page.attributes, attribute_place(each.name)), row, each.value);
    for (std::size_t i = 0; i < from.features.size(); ++i)
      if (from.features[i])
        put(column(page.features, i), row, *from.features[i]);
    touched_.push_back(item);
  }

  void remove(std::string_view id) {
    auto item = of_.space_->find(id);
    if (item == no_item || !of_.knows(item))
      return;
    clear(page_for(item), row_of(item));
    touched_.push_back(item);
  }

  /// All that were put or removed.
  std::vector<item_ord> finish() {
    for (auto& [at, page] : own_)
      for (auto* columns : {&page->attributes, &page->features})
        for (auto& each : *columns)
          tidy(each);
    return std::move(touched_);
  }

private:
  item_page& page_for(item_ord item) {
    auto at = index_of(item) / item_page::rows;
    if (at >= of_.pages_.size())
      of_.pages_.resize(at + 1);
    auto& mine = own_[at];
    if (!mine) {
      auto made =
          of_.pages_[at] ? std::make_shared<item_page>(*of_.pages_[at]) : std::make_shared<item_page>();
      made->number = next_number();
      mine = made.get();
      of_.pages_[at] = std::move(made);
    }
    return *mine;
  }

  void clear(item_page& page, std::size_t row) {
    of_.size_ -= item_page::bit(page.known, row) ? 1 : 0;
    for (auto* bits : {&page.known, &page.hidden, &page.deleted})
      set(*bits, row, false);
    page.expires[row] = page.created[row] = 0;
    page.trend[row] = 0;
    page.titles[row] = no_text;
    for (auto* columns : {&page.attributes, &page.features})
      for (auto& each : *columns)
        each.kinds[row] = item_column::kind::none;
  }

  static void set(item_page::bits& bits, std::size_t row, bool to) {
    auto mask = std::uint64_t{1} << row % 64;
    bits[row / 64] = to ? bits[row / 64] | mask : bits[row / 64] & ~mask;
  }

  static item_column& column(std::vector<item_column>& of, std::size_t at) {
    if (at >= of.size())
      of.resize(at + 1);
    return of[at];
  }

  std::size_t attribute_place(const std::string& name) {
    auto found = std::find(of_.attributes_.begin(), of_.attributes_.end(), name);
    auto at = static_cast<std::size_t>(found - of_.attributes_.begin());
    if (found == of_.attributes_.end())
      of_.attributes_.push_back(name);
    return at;
  }

  word_id word(std::string_view text) { return word_id{of_.words_->add(text)}; }

  void put(item_column& to, std::size_t row, const attribute_value& value) {
    auto& at = to.values[row];
    if (auto* text = std::get_if<std::string>(&value)) {
      to.kinds[row] = item_column::kind::text;
      at.text = word(*text);
    } else if (auto* list = std::get_if<text_list>(&value)) {
      to.kinds[row] = item_column::kind::list;
      at.list = {static_cast<std::uint32_t>(to.words.size()), static_cast<std::uint32_t>(list->size())};
      for (auto& each : *list)
        to.words.push_back(word(each));
    } else {
      auto* flag = std::get_if<bool>(&value);
      to.kinds[row] = flag ? item_column::kind::flag : item_column::kind::number;
      at.number = flag ? (*flag ? 1 : 0) : std::get<double>(value);
    }
  }

  /// Lists of rows that were written over go.
  static void tidy(item_column& of) {
    std::size_t live = 0;
    for (std::size_t row = 0; row < item_column::rows; ++row)
      live += of.kinds[row] == item_column::kind::list ? of.values[row].list.count : 0;
    if (live == of.words.size())
      return;
    std::vector<word_id> kept;
    kept.reserve(live);
    for (std::size_t row = 0; row < item_column::rows; ++row)
      if (of.kinds[row] == item_column::kind::list) {
        auto list = of.list(row);
        of.values[row].list.from = static_cast<std::uint32_t>(kept.size());
        kept.insert(kept.end(), list.begin(), list.end());
      }
    of.words = std::move(kept);
  }

  item_snapshot& of_;
  std::unordered_map<std::size_t, item_page*> own_;
  std::vector<item_ord> touched_;
};

item_snapshot::item_snapshot(item_space_ptr space)
    : space_{std::move(space)}, words_{new_words()}, number_{next_number()} {
  make_lists();
}

item_snapshot::item_snapshot(item_space_ptr space, const std::vector<item_attributes>& items,
                             snapshot_origin origin)
    : space_{std::move(space)}, words_{new_words()}, number_{next_number()}, features_{std::move(
                                                                                 origin.features)},
      views_{std::move(origin.views)}, taken_{origin.taken}, applied_{std::move(origin.applied)} {
  editor edit{*this};
  for (auto& each : items)
    edit.put(each);
  edit.finish();
  words_at_first_ = words_->size();
  make_lists();
}

item_snapshot_ptr with_changes(const item_snapshot_ptr& base, const item_changes& by) {
  auto made = std::make_shared<item_snapshot>(*base);
  if (!made->space_)
    made->space_ = std::make_shared<item_space>();
  // What changes again and again leaves words behind that nobody has: now and then all is made anew.
  if (!by.passing && base->words_->size() > 2 * base->words_at_first_ + spare_words)
    made = std::make_shared<item_snapshot>(
        base->space_, base->all_rows(),
        snapshot_origin{base->taken_, base->features_, base->views_, base->applied_});
  item_snapshot::editor edit{*made};
  for (auto& each : by.changed)
    edit.put(each);
  for (auto& each : by.removed)
    edit.remove(each);
  made->update_lists(edit.finish(), *base);
  made->number_ = next_number();
  made->passing_ = by.passing;
  made->taken_ = by.taken.value_or(base->taken_);
  if (by.applied)
    made->applied_ = *by.applied;
  return made;
}

namespace {

/// What of `old` is not in `gone`, with `fresh`, in order, up to `longest`; `old` itself where that is the
/// same.
template <class T, class Ahead, class Gone>
std::shared_ptr<const std::vector<T>> merged(const std::shared_ptr<const std::vector<T>>& old,
                                             std::vector<T> fresh, std::size_t longest, const Gone& gone,
                                             const Ahead& ahead) {
  std::sort(fresh.begin(), fresh.end(), ahead);
  if (fresh.empty() && std::none_of(old->begin(), old->end(), gone))
    return old;
  auto out = std::make_shared<std::vector<T>>();
  out->reserve(old->size() + fresh.size());
  auto next = fresh.begin();
  for (auto& each : *old) {
    if (gone(each))
      continue;
    while (next != fresh.end() && ahead(*next, each))
      out->push_back(*next++);
    out->push_back(each);
  }
  out->insert(out->end(), next, fresh.end());
  if (out->size() > longest)
    out->resize(longest);
  return out;
}

} // namespace

void item_snapshot::make_lists() {
  std::vector<item_ord> all;
  for (std::size_t p = 0; p < pages_.size(); ++p)
    for (std::size_t row = 0; pages_[p] && row < item_page::rows; ++row)
      if (item_page::bit(pages_[p]->known, row))
        all.push_back(item_ord{static_cast<std::uint32_t>(p * item_page::rows + row)});
  trending_ = recent_ = std::make_shared<const std::vector<item_ord>>();
  expiring_ = std::make_shared<const std::vector<expiry>>();
  trending_cut_ = recent_cut_ = false;
  update_lists(all, *this);
}

void item_snapshot::update_lists(const std::vector<item_ord>& touched, const item_snapshot& before) {
  std::vector<bool> is_touched(space_ ? space_->limit() : 0);
  std::vector<item_ord> trending, recent;
  std::vector<expiry> expiring;
  for (auto each : touched) {
    if (is_touched[index_of(each)])
      continue;
    is_touched[index_of(each)] = true;
    auto& page = *page_of(each);
    auto row = row_of(each);
    if (page.trend[row] > 0)
      trending.push_back(each);
    if (page.created[row] > 0)
      recent.push_back(each);
    if (page.expires[row] != 0)
      expiring.push_back({page.expires[row], each});
  }
  auto update = [&](shared_list<item_ord>& list, bool& cut, std::vector<item_ord> fresh, auto weight) {
    auto ahead_in = [&](const item_snapshot& of_a, item_ord a, item_ord b) {
      auto first = weight(*of_a.page_of(a), row_of(a)), second = weight(*page_of(b), row_of(b));
      return first != second ? first > second : space_->id(a) < space_->id(b);
    };
    auto ahead = [&](item_ord a, item_ord b) { return ahead_in(*this, a, b); };
    auto gone = [&](item_ord each) { return is_touched[index_of(each)]; };
    // Of those beyond the end of a list that was cut nothing is known: one that would stand there waits for
    // the list to be made anew. The end is where it was: the last item may have been touched, too.
    if (cut)
      std::erase_if(fresh, [&](item_ord each) { return ahead_in(before, list->back(), each); });
    auto length = list->size() + fresh.size();
    list = merged(list, std::move(fresh), longest, gone, ahead);
    cut = cut || length > longest;
    return !cut || list->size() > longest - longest / 4;
  };
  bool whole = update(trending_, trending_cut_, std::move(trending),
                      [](auto& page, std::size_t row) { return page.trend[row]; });
  whole &= update(recent_, recent_cut_, std::move(recent),
                  [](auto& page, std::size_t row) { return page.created[row]; });
  expiring_ = merged(
      expiring_, std::move(expiring), SIZE_MAX, [&](auto& each) { return is_touched[index_of(each.item)]; },
      [](auto& a, auto& b) { return a.when != b.when ? a.when < b.when : a.item < b.item; });
  if (!whole)
    make_lists();
}

std::vector<item_attributes> item_snapshot::all_rows() const {
  std::vector<item_attributes> out;
  out.reserve(size_);
  for (std::size_t p = 0; p < pages_.size(); ++p)
    for (std::size_t row = 0; pages_[p] && row < item_page::rows; ++row)
      if (item_page::bit(pages_[p]->known, row))
        out.push_back(row_at(item_ord{static_cast<std::uint32_t>(p * item_page::rows + row)}));
  return out;
}

attribute_value item_snapshot::value_at(const item_column& column, std::size_t row) const {
  auto& value = column.values[row];
  switch (column.kinds[row]) {
  case item_column::kind::text:
    return std::string{word(value.text)};
  case item_column::kind::list: {
    text_list out;
    for (auto each : column.list(row))
      out.emplace_back(word(each));
    return out;
  }
  case item_column::kind::flag:
    return value.number != 0;
  case item_column::kind::number:
  case item_column::kind::none:
    return value.number;
  }
  return value.number;
}

item_attributes item_snapshot::row_at(item_ord item) const {
  auto& page = *page_of(item);
  auto row = row_of(item);
  item_attributes out;
  out.id = space_->id(item);
  out.title = title(item);
  out.hidden = item_page::bit(page.hidden, row);
  out.deleted = item_page::bit(page.deleted, row);
  out.expires = page.expires[row];
  out.created = page.created[row];
  out.trend = page.trend[row];
  for (std::size_t i = 0; i < page.attributes.size(); ++i)
    if (page.attributes[i].kinds[row] != item_column::kind::none)
      out.attributes.push_back({attributes_[i], value_at(page.attributes[i], row)});
  out.features.resize(features_.size());
  for (std::size_t i = 0; i < std::min(page.features.size(), features_.size()); ++i)
    if (page.features[i].kinds[row] != item_column::kind::none)
      out.features[i] = value_at(page.features[i], row);
  return out;
}

std::optional<item_attributes> item_snapshot::find(std::string_view id) const {
  auto item = space_ ? space_->find(id) : no_item;
  if (item == no_item || !knows(item))
    return std::nullopt;
  return row_at(item);
}

std::string_view item_snapshot::closed(item_ord item, std::int64_t now) const noexcept {
  auto* page = page_of(item);
  if (!page)
    return {};
  auto row = row_of(item);
  if (item_page::bit(page->deleted, row))
    return "deleted";
  if (item_page::bit(page->hidden, row))
    return "hidden";
  if (page->expires[row] != 0 && page->expires[row] <= now)
    return "expired";
  return {};
}

std::span<const item_snapshot::expiry> item_snapshot::expiring_between(std::int64_t from,
                                                                       std::int64_t to) const noexcept {
  auto first = std::ranges::upper_bound(*expiring_, from, {}, &expiry::when);
  auto last = std::ranges::upper_bound(*expiring_, std::max(from, to), {}, &expiry::when);
  return {first, last};
}

std::string_view item_snapshot::title(item_ord item) const noexcept {
  auto* page = page_of(item);
  return page ? word(page->titles[row_of(item)]) : std::string_view{};
}

std::optional<std::size_t> item_snapshot::attribute_column(std::string_view name) const noexcept {
  auto found = std::find(attributes_.begin(), attributes_.end(), name);
  if (found == attributes_.end())
    return std::nullopt;
  return static_cast<std::size_t>(found - attributes_.begin());
}

std::span<const word_id> item_snapshot::words(std::size_t column, item_ord item) const noexcept {
  auto* page = page_of(item);
  auto row = row_of(item);
  if (!page || column >= page->attributes.size() ||
      page->attributes[column].kinds[row] != item_column::kind::list)
    return {};
  return page->attributes[column].list(row);
}

std::optional<word_id> item_snapshot::find_word(std::string_view text) const noexcept {
  auto found = words_->find(text);
  if (found == text_numbers::none)
    return std::nullopt;
  return word_id{found};
}

} // namespace troupe::ranker
