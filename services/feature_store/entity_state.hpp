#pragma once

#include "services/feature_store/distinct.hpp"
#include "services/feature_store/fact.hpp"
#include "services/feature_store/view.hpp"

#include "common/store/codec.hpp"

#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

enum class status : std::uint8_t { missing = 0, present = 1, stale = 2 };

/// One value as it was read. Which of number, text and list means something follows from the feature's type.
struct feature_value {
  feature_store::status status = status::missing;
  std::int64_t age_us = -1;
  double number = 0;
  std::string text;
  text_list list;
};

inline constexpr std::int64_t never = std::numeric_limits<std::int64_t>::min();

/// What one view knows about one entity. A function of the SET of records applied: their order does not
/// matter, so that a replay from any interleaving of partitions ends in the same bytes. Sums are fixed-point,
/// ties are broken by `order_key`, and what is evicted depends on the newest event of the entity alone.
///
/// The same record must not be applied twice: the log holds each once. Not thread-safe, reading included (it
/// remembers the last window it added up).
class entity_state {
public:
  explicit entity_state(const feature_view& view) : features_(view.features.size()) {}

  /// Takes a record that `entity_of(view, from)` names this entity for.
  void apply(const feature_view& view, const fact& from);

  /// The value of a feature at an instant, which is not before the newest event applied: `max(at, newest())`
  /// is used.
  void read(const feature_view& view, std::uint32_t feature, std::int64_t at, feature_value& out);

  /// The number alone; for features whose type is number.
  status read_number(const feature_view& view, std::uint32_t feature, std::int64_t at, double& number,
                     std::int64_t& age_us);

  /// Event time of the newest event; `never` when only attributes are known.
  std::int64_t newest() const noexcept { return newest_; }

  enum class form : std::uint8_t {
    stored, ///< For `decode`.
    content ///< Without offsets: two logs that got the same records in other interleavings give the same
            ///< bytes.
  };

  /// The same bytes for the same set of records.
  std::string encode(const feature_view& view, form as = form::stored);
  static expected<entity_state> decode(const feature_view& view, std::string_view bytes);

  /// Roughly what it takes in memory.
  std::size_t bytes() const noexcept;

private:
  /// What the events of one tile add up to.
  struct tile {
    std::int64_t index = 0;
    std::uint64_t count = 0; ///< Events; of a rate, the denominator.
    union {
      store::int128 sum = 0; ///< Fixed point, 2^-40; of a rate, the numerator.
      double extreme;
    };
  };
  struct distinct_tile {
    std::int64_t index = 0;
    distinct_sketch sketch;
  };
  struct kept {
    order_key key;
    std::variant<double, std::string, text_list> value;
  };
  struct extra {
    std::vector<distinct_tile> tiles;
    std::vector<kept> values; ///< In order.
  };
  struct slot {
    std::int64_t newest = never; ///< Of the records that count for this feature.
    std::vector<tile> tiles;     ///< In order of index.
    std::unique_ptr<extra> more;
    std::int64_t memo_first = never;
    std::int64_t memo_newest = never;
    double memo = 0;
    bool memo_present = false;
  };

  static std::int64_t first_tile(const feature_definition& def, std::int64_t at);
  static tile& tile_at(std::vector<tile>& tiles, std::int64_t index);
  static extra& more_of(slot& of);
  void apply_feature(const feature_definition& def, slot& into, const fact& from);
  void trim(const feature_view& view);
  bool fold(const feature_definition& def, slot& from, std::int64_t first, double& number) const;
  status judge(const feature_view& view, const slot& from, std::int64_t at, std::int64_t& age_us) const;
  static void encode_slot(const feature_definition& def, const slot& from, std::int64_t base, form as,
                          store::encoder& out);
  static bool decode_slot(const feature_definition& def, slot& into, std::int64_t base, store::decoder& in);

  std::int64_t newest_ = never;
  std::vector<slot> features_;
};

} // namespace troupe::feature_store
