#pragma once

#include "services/feature_store/operators/slot.hpp"
#include "services/feature_store/views/view.hpp"

#include <toml++/toml.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace troupe::feature_store {

enum class status : std::uint8_t { missing = 0, present = 1, stale = 2 };

/// One value as it was read. Which of number and words means something follows from the feature's type.
struct feature_value {
  feature_store::status status = status::missing;
  std::int64_t age_us = -1;
  double number = 0;
  std::string words; ///< A text, or a list as `add_word` makes it.
};

/// When a feature is read: the first tile that the reading sees, worked out once for many entities.
struct reading {
  reading(const feature_definition& def, std::int64_t at) noexcept;

  std::int64_t at;
  std::int64_t first; ///< Tile.
  std::int64_t since; ///< Where it begins: what is older is not seen.
};

enum class form : std::uint8_t {
  stored, ///< For `decode`.
  content ///< Without offsets: two logs that got the same records in other interleavings give the same bytes.
};

/// How the records behind a feature become one value: online, in training sets, and in SQL. One object an
/// operator, in the file of its name; stateless, what it remembers lies in the slot.
///
/// A slot is a function of the SET of records applied: sums are fixed-point, ties are broken by `order_key`,
/// and what is evicted depends on the newest event of the entity alone.
class feature_operator {
public:
  virtual ~feature_operator() = default;

  virtual std::string_view name() const noexcept = 0;

  /// Whether it looks at the records of the entity itself instead of at events about it.
  virtual bool of_entity() const noexcept { return false; }

  /// Whether its value is made of all attributes of a record, not of those that its definition names.
  virtual bool reads_whole_record() const noexcept { return false; }

  /// The keys of a definition that it takes beside name, operator and where.
  virtual std::span<const std::string_view> keys() const noexcept = 0;
  bool takes(std::string_view key) const noexcept;

  /// Reads its keys of a definition, of which there are no others. `where` says where it stands, for
  /// messages.
  virtual expected<void> parse(const toml::table& table, const feature_view& view, std::string_view where,
                               feature_definition& into) const = 0;

  /// The first tile that a reading at this instant sees.
  virtual std::int64_t first_tile(const feature_definition& def, std::int64_t at) const noexcept;

  /// Whether events of a type can count at all.
  virtual bool takes_type(const feature_definition&, std::string_view) const noexcept { return true; }

  /// Takes a record. `newest` is the newest event of the entity.
  virtual void apply(const feature_definition& def, const feature_event& from, std::int64_t newest,
                     slot& into) const = 0;

  /// The value at an instant, from an encoded slot whose newest event is not before what the reading sees:
  /// its number, or its text or words (as `add_word` makes them), added to `words`. False: missing.
  virtual bool read(const feature_definition& def, store::decoder& in, std::int64_t newest,
                    const reading& when, double& number, std::string& words) const = 0;

  /// Whether what lies before the first tile of a reading is of no account to that one and all later ones, so
  /// that a slot may go when it is so old.
  virtual bool forgets(const feature_definition& def) const noexcept { return def.hop.count() > 0; }

  /// The slot without `newest`, which a slot that is decoded has already.
  virtual void encode(const feature_definition& def, const slot& from, form as,
                      store::encoder& out) const = 0;
  virtual bool decode(const feature_definition& def, slot& into, store::decoder& in) const = 0;

  /// `decode` may leave all tiles but the newest closed: this opens them.
  virtual bool open_older(slot&) const { return true; }

  /// Of an encoded slot the index of the first tile, where it has tiles.
  virtual std::optional<std::int64_t> oldest_tile(const feature_definition& def, std::int64_t newest,
                                                  std::string_view encoded) const;

  /// The same value in SQL, over the columns of `sql.hpp`: what the tests hold it against.
  virtual std::string sql(const feature_definition& def) const = 0;
};

/// nullptr where there is none of this name.
const feature_operator* find_operator(std::string_view name) noexcept;

/// By name.
std::span<const feature_operator* const> all_operators() noexcept;

} // namespace troupe::feature_store
