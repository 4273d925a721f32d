#include "services/ingest/admission/admission.hpp"

#include "common/core/time.hpp"

#include <utility>

namespace troupe::ingest {

admission::admission(std::string stream, std::uint64_t first_record)
    : stream_{std::move(stream)}, first_record_{first_record} {}

admission::admission(std::string stream)
    : admission{std::move(stream), static_cast<std::uint64_t>(micros_of(wall_now()))} {}

void admission::add(record rec, row_origin origin) {
  normalise(rec);
  if (auto good = check(rec); !good) {
    if (request_->raw_of(origin).empty()) {
      origin.raw = to_json(rec);
      origin.raw_is = raw_kind::record;
    }
    return refuse(origin, "record", {}, good.error().text);
  }
  request_->records.push_back(std::move(rec));
  request_->origins.push_back(std::move(origin));
}

void admission::refuse(const row_origin& origin, std::string rule, std::string field, std::string reason) {
  if (origin.quarantined > 0)
    refused_rows_.insert(origin.quarantined);
  request_->refused.push_back({request_->source, request_->import, origin.row, origin.byte_offset,
                               std::move(rule), std::move(field), std::move(reason), request_->raw_of(origin),
                               origin.raw_is});
}

validation_request admission::validation() const {
  return {stream_, first_record_, request_->joined(), accepted_, max_ahead_};
}

void admission::take_out(const std::vector<row_violation>& violations) {
  if (violations.empty())
    return;
  std::vector<bool> gone(request_->size());
  for (auto& each : violations) {
    if (gone[each.record])
      continue;
    gone[each.record] = true;
    if (auto number = request_->origins[each.record].quarantined; number > 0)
      refused_rows_.insert(number);
    request_->refused.push_back(request_->rejected(each.record, each.rule, each.field, each.reason));
  }
  request_->leave_out(gone);
}

std::size_t admission::leave_refused_rows() {
  request_->refused.clear();
  std::vector<bool> gone(request_->size());
  for (std::size_t i = 0; i < gone.size(); ++i)
    gone[i] = refused_rows_.contains(request_->origins[i].quarantined);
  request_->leave_out(gone);
  return refused_rows_.size();
}

} // namespace troupe::ingest
