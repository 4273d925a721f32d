#pragma once

#include "services/validator/profile.hpp"
#include "services/validator/row_ranges.hpp"
#include "services/validator/rule_book.hpp"
#include "services/validator/unique_index.hpp"

#include "common/store/database.hpp"

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace troupe::validator {

/// Opens the validator's database: the holders of unique values, and a profile per source.
expected<std::shared_ptr<store::database>> open_state(const std::filesystem::path& folder,
                                                      std::size_t cache_bytes);

/// Holders of unique values in RocksDB. A claim is answered when its write has the durability asked for. One
/// caller at a time.
class unique_store final : public unique_index {
public:
  unique_store(std::shared_ptr<store::database> db, store::durability durability)
      : db_{std::move(db)}, durability_{durability} {}

  expected<std::vector<std::optional<unique_holder>>> claim(std::span<const unique_claim> claims) override;

private:
  std::shared_ptr<store::database> db_;
  store::durability durability_;
};

/// The live profiles, one per source. What is written - profile and rows taken - is written together, so that
/// after a crash a batch that is judged again counts exactly once in what was kept. One caller at a time.
class profile_store {
public:
  struct settings {
    std::uint64_t persist_rows =
        20'000;                     ///< Rows of a source that may be taken before its profile is written.
    std::size_t max_sources = 1000; ///< Batches of further sources are judged and not profiled.
  };

  /// Reads every stored profile.
  static expected<profile_store> open(std::shared_ptr<store::database> db, settings with);

  /// Adds the rows of a batch that were not taken before: the good ones to the columns, the others to the
  /// count of their rules.
  expected<void> add(batch_place place, const batch& rows, const validation& judged);

  /// Writes what is not written yet.
  expected<void> flush();

  /// The profile of one source, or of all merged where `source` is empty; ec::not_found for a source never
  /// seen.
  expected<profile> read(std::string_view source) const;

  std::size_t sources() const noexcept { return sources_.size(); }
  std::uint64_t not_profiled() const noexcept { return not_profiled_; }

private:
  struct entry {
    row_ranges taken;
    profile seen;
    std::uint64_t not_written = 0;
  };

  explicit profile_store(std::shared_ptr<store::database> db, settings with)
      : db_{std::move(db)}, settings_{with} {}

  expected<void> write(const std::string& source, entry& from);

  std::shared_ptr<store::database> db_;
  settings settings_;
  std::map<std::string, std::unique_ptr<entry>, std::less<>> sources_;
  std::uint64_t not_profiled_ = 0;
};

} // namespace troupe::validator
