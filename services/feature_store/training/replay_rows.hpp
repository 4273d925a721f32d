#pragma once

#include "services/feature_store/online/feature_event.hpp"
#include "services/feature_store/training/sorted_rows.hpp"
#include "services/feature_store/training/training_spec.hpp"

#include "common/core/error.hpp"

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

/// Gives what a training set is replayed from to a sorter: the records that its views take and its labels,
/// each at its place. A payload is a record of the wire with the attributes that the views read; memory
/// beside the sorter's is one record. Not thread-safe. All that it is made from outlives it.
class replay_rows {
public:
  replay_rows(const training_spec& spec, const std::vector<feature_view>& views, row_sorter& rows);

  /// A record of the log: a row for the views that take it, and one more where it is a label; of a slate for
  /// each of its items.
  expected<void> add(const wire::Record& rec, std::uint32_t partition, std::uint64_t offset);

  /// Labels from the file that the specification names as its entity_rows, as `read_entity_rows` reads it;
  /// kept columns travel as attributes.
  expected<void> add_entity_rows();

private:
  expected<void> add(const feature_event& from);
  std::string_view encode(const feature_event& from, bool attributes);
  flatbuffers::Offset<flatbuffers::String> string(std::string_view text);
  std::string_view bytes() const;

  const training_spec& spec_;
  const std::vector<feature_view>& views_;
  row_sorter& rows_;
  std::set<std::string, std::less<>> wanted_; ///< Attributes, where not the `whole_` record is.
  bool whole_ = false;
  flatbuffers::FlatBufferBuilder builder_{512};
};

} // namespace troupe::feature_store
