#pragma once

#include "services/feature_store/online/feature_event.hpp"
#include "services/feature_store/training/training_spec.hpp"

#include "common/core/error.hpp"
#include "common/table/connection.hpp"

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

/// The place of a row in the order of replay: rows are replayed by these members, in this order. Times in
/// microseconds since 1970.
struct replay_place {
  std::int64_t visible = 0; ///< The instant from which a label sees the record; of a label: its own.
  std::int64_t label = 0;   ///< 1 for a label: it comes after the records that are visible at its instant.
  std::int64_t time = 0;    ///< Event time.
  std::int64_t partition = 0;
  std::int64_t offset = 0; ///< Of a row of entity_rows: its number, from 0.
  std::int64_t index = 0;  ///< Of an item of a slate: which, from 0.
};

/// Writes what a training set is replayed from: the records that its views take and its labels, each at its
/// place, into a table (visible, label, time, part, off, idx BIGINT, payload BLOB) that is sorted when it is
/// read. A payload is a record of the wire with the attributes that the views read; memory is one record. Not
/// thread-safe. `spec` and `views` outlive it.
class replay_rows {
public:
  replay_rows(const training_spec& spec, const std::vector<feature_view>& views, table::appender rows);

  /// A record of the log: a row for the views that take it, and one more where it is a label; of a slate for
  /// each of its items.
  expected<void> add(const wire::Record& rec, std::uint32_t partition, std::uint64_t offset);

  /// Labels from the file that the specification names as its entity_rows, as `read_entity_rows` reads it;
  /// kept columns travel as attributes.
  expected<void> add_entity_rows();

  expected<void> finish() { return rows_.flush(); }

private:
  expected<void> add(const feature_event& from);
  std::string_view encode(const feature_event& from, bool attributes);
  flatbuffers::Offset<flatbuffers::String> string(std::string_view text);
  std::string_view bytes() const;
  expected<void> put(const replay_place& at, std::string_view payload);

  const training_spec& spec_;
  const std::vector<feature_view>& views_;
  table::appender rows_;
  std::set<std::string, std::less<>> wanted_; ///< Attributes, where not the `whole_` record is.
  bool whole_ = false;
  flatbuffers::FlatBufferBuilder builder_{512};
};

} // namespace troupe::feature_store
