#pragma once

#include "services/ranker/items/item_space.hpp"

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace troupe::ranker {

/// What one request knows of each item, by ordinal: an array that is never cleared, because what another
/// request has left in it does not count. One thread.
class item_marks {
public:
  static constexpr std::uint32_t excluded = 1;    ///< By the request.
  static constexpr std::uint32_t seen = 2;        ///< By the user.
  static constexpr std::uint32_t refused = 4;     ///< Offered, and may not be shown.
  static constexpr std::uint32_t first_place = 8; ///< From here on: the place among the candidates.

  /// For ordinals below `limit`.
  void begin(std::size_t limit) {
    if (all_.size() < limit)
      all_.resize(limit + limit / 2);
    if (++request_ == 0) { // It has gone round.
      all_.assign(all_.size(), {});
      request_ = 1;
    }
  }

  std::uint32_t& operator[](item_ord item) noexcept {
    assert(index_of(item) < all_.size());
    auto& mark = all_[index_of(item)];
    if (mark.request != request_)
      mark = {request_, 0};
    return mark.what;
  }
  std::uint32_t at(item_ord item) const noexcept {
    auto& mark = all_[index_of(item)];
    return mark.request == request_ ? mark.what : 0;
  }

private:
  struct mark {
    std::uint32_t request = 0, what = 0;
  };
  std::vector<mark> all_;
  std::uint32_t request_ = 0;
};

/// The items that one request names: those that the space does not know get ordinals behind its own, which
/// are good for this request. One thread; ids must outlive it.
class request_items {
public:
  void begin(const item_space& space) {
    space_ = &space;
    known_ = space.limit();
    own_.clear();
    places_.clear();
  }

  item_ord add(std::string_view id) {
    // What the space has learned since we began is not ours: others may have marks for fewer.
    if (auto found = space_->find(id); index_of(found) < known_)
      return found;
    auto [at, fresh] = places_.try_emplace(id, static_cast<std::uint32_t>(known_ + own_.size()));
    if (fresh)
      own_.push_back(id);
    return item_ord{at->second};
  }

  std::string_view id(item_ord item) const noexcept {
    return index_of(item) < known_ ? space_->id(item) : own_[index_of(item) - known_];
  }

  /// Ordinals are below it.
  std::size_t limit() const noexcept { return known_ + own_.size(); }

private:
  const item_space* space_ = nullptr;
  std::uint32_t known_ = 0;
  std::vector<std::string_view> own_;
  std::unordered_map<std::string_view, std::uint32_t> places_;
};

} // namespace troupe::ranker
