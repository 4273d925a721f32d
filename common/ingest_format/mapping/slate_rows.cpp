#include "common/ingest_format/mapping/slate_rows.hpp"

#include <algorithm>

namespace troupe::ingest_format {

namespace {

/// Whether an item stands in that place already.
bool is_taken(const record& slate, std::uint32_t place) {
  return place != 0 && std::ranges::find(slate.shown, place, &shown_item::position) != slate.shown.end();
}

} // namespace

void slate_rows::add(const raw_row& row, std::vector<mapped_row>& out) {
  mapped_row made{row.number, row.offset, {}, {}, {}};
  made.outcome = by_.apply(row, made.records, made.refusals);
  auto open = by_.open();
  if (waiting_.size() == max_shown)
    finish(out);
  if (!waiting_.empty() && open) {
    auto& under_way = waiting_.front().records[slate_];
    auto more = made.records.begin() + static_cast<std::ptrdiff_t>(open->record);
    if (open->key == key_ && more->user == under_way.user &&
        !is_taken(under_way, more->shown.front().position)) {
      under_way.shown.push_back(std::move(more->shown.front()));
      made.records.erase(more);
      open.reset();
    } else {
      finish(out);
    }
  }
  if (open) {
    slate_ = open->record;
    key_ = std::move(open->key);
  }
  (waiting_.empty() && !open ? out : waiting_).push_back(std::move(made));
}

void slate_rows::finish(std::vector<mapped_row>& out) {
  if (!waiting_.empty())
    normalise(waiting_.front().records[slate_]);
  for (auto& each : waiting_)
    out.push_back(std::move(each));
  waiting_.clear();
}

std::optional<source_position> slate_rows::waits_from() const {
  if (waiting_.empty())
    return std::nullopt;
  return source_position{waiting_.front().number - 1, waiting_.front().offset};
}

} // namespace troupe::ingest_format
