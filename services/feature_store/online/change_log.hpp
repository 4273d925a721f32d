#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe::feature_store {

/// Entities that have changed since a place in the order of all changes.
struct changed_entities {
  std::vector<std::string> ids; ///< Each once, the one that changed longest ago first.
  std::string next;             ///< The place behind them.
  bool more = false;            ///< There are more already.
  bool reset = false;           ///< The place asked for is not known any more: `next` is behind all changes.
};

/// Which entities the views have changed, for those who keep a copy of features and read again what changed.
///
/// Operation: a view is listened to from the first question about it on, one that nobody asks about costs
/// nothing. Of an entity the newest change under a view counts. Limits: `most` entities a view, beyond them
/// the longest unchanged is forgotten; a place from before that, from before a view was listened to, or of
/// another process is not known: the answer is `reset`. Concurrency: any thread; whoever calls `note` and
/// `listen` must do so under one mutex of his own.
class change_log {
public:
  /// `of_records`, by view: it changes with the entity's own records alone, and not with events.
  explicit change_log(std::vector<bool> of_records, std::size_t most = 100'000);

  bool listens(std::span<const std::uint32_t> views) const;
  void listen(std::span<const std::uint32_t> views);

  /// The state of the entity under the view has changed: what is read from now on is the new one.
  void note(std::uint32_t view, std::string_view id);

  /// What these views, all of which are listened to, have changed since the place; without `events` what own
  /// records have changed: the others wait behind `next`, and are not missed where they are forgotten. An
  /// empty place is the one behind all changes.
  changed_entities since(std::string_view place, std::span<const std::uint32_t> views, bool events,
                         std::size_t limit) const;

private:
  struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  using entity = std::pair<const std::string, std::size_t>; ///< An id, and its place in `order`.
  struct change {
    std::uint64_t number;
    entity* of; ///< null: it has changed again since, or is forgotten.
  };
  struct view_changes {
    bool of_records = false;
    bool listened = false;
    std::uint64_t forgotten = 0; ///< The newest change that is not here.
    std::unordered_map<std::string, std::size_t, text_hash, std::equal_to<>> newest;
    std::vector<change> order;
    std::size_t oldest = 0; ///< In `order`: before it all is forgotten.
  };

  static void forget_oldest(view_changes& in);
  static void compact(view_changes& in);

  std::uint64_t epoch_;
  std::size_t most_;
  mutable std::mutex mutex_; ///< `listened` is written under it and the callers' mutex.
  std::uint64_t last_ = 0;   ///< Number of the last change of all.
  std::vector<view_changes> views_;
};

} // namespace troupe::feature_store
