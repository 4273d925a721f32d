#pragma once

#include "services/ingest/log/log_types.hpp"

#include "common/core/hash.hpp"
#include "common/store/database.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// How the event log lies in its store: families, keys and values. Numbers in keys are big-endian, so that
/// they sort; values are written by `encoder` and stay readable by newer versions.
namespace troupe::ingest {

/// In the order in which the store was opened with them.
enum family : store::family_id {
  log_family,
  dedup_family,
  source_family,
  quarantine_family,
  meta_family,
  keys_family,
  rows_family ///< Blocks of the log as they came: `log` has those of columns, and all blocks of logs of
              ///< before.
};

/// In `dedup`, of logs of before: what `keys` and the runs hold since.
using dedup_key = std::array<char, 16>;

dedup_key key_of(hash128 hash);
std::string_view view(const dedup_key& key);

/// Of the block that starts at `offset`.
std::string block_key(std::uint32_t partition, std::uint64_t offset);
/// Eight bytes: the key of a quarantined row and of a row of `keys`, and the value of a dedup key (a content
/// hash; 0 for a refused row).
std::string number_key(std::uint64_t number);
std::string segment_key(std::uint32_t partition, std::uint64_t first);

/// Within `meta`: the state of the log, by partition where it begins and where its blocks of rows begin,
/// which log it is, the runs of known ids, and what `metadata_store` keeps.
inline constexpr std::string_view state_key = "state";
inline constexpr std::string_view first_key = "first";
inline constexpr std::string_view packed_key = "packed";
inline constexpr std::string_view identity_key = "identity";
inline constexpr std::string_view dedup_state_key = "dedup";
inline constexpr std::string_view metadata_prefix = "kept/";

std::string encode(const source_state& from);
source_state decode_source(std::string_view bytes);

/// Without `sealed` of the partitions, which the segments tell.
std::string encode(const log_state& from);
log_state decode_state(std::string_view bytes);

std::string encode_offsets(const std::vector<std::uint64_t>& from);
std::vector<std::uint64_t> decode_offsets(std::string_view bytes);

std::string encode(const quarantined_row& from);
quarantined_row decode_row(std::string_view bytes);

std::string encode(const lake_segment& from);
lake_segment decode_segment(std::string_view bytes);

/// By which a record is kept once: its kind and id, so that order 1, user 1 and item 1 are three. Of an event
/// it is the id alone, as in the logs of all versions before.
hash128 hash_of(const record& rec);

/// What logs of before kinds were part of the key hold of a record: its id alone, and its content with the
/// beginning of 1970 for the time that it did not have.
hash128 hash_of_before(const record& rec);
std::uint64_t content_hash_of_before(record rec);

/// By which a refused row is kept once: source, row, rule and bytes.
hash128 hash_of(const rejected_row& row);

} // namespace troupe::ingest
