#include "services/registry/run_ledger.hpp"

#include "common/artefact/canonical.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

namespace troupe::registry {

namespace {

constexpr std::uint32_t most_points = 10'000;
constexpr std::uint32_t most_runs = 1'000;

using named_texts = std::vector<std::unique_ptr<wire::NamedTextT>>;
using wire_texts = flatbuffers::Vector<flatbuffers::Offset<wire::NamedText>>;

wire::NamedTextT* find(named_texts& in, std::string_view name) {
  auto found = std::ranges::find(in, name, [](auto& each) { return std::string_view{each->name}; });
  return found == in.end() ? nullptr : found->get();
}

void set(named_texts& in, std::string_view name, std::string_view text) {
  if (auto* there = find(in, name)) {
    there->text = text;
    return;
  }
  auto made = std::make_unique<wire::NamedTextT>();
  made->name = name;
  made->text = text;
  in.push_back(std::move(made));
}

/// Adds what is new; another text under a name that is there is a conflict.
expected<void> add_for_ever(named_texts& to, const wire_texts* from, std::string_view kind,
                            std::string_view run_id) {
  for (flatbuffers::uoffset_t i = 0; from != nullptr && i < from->size(); ++i) {
    auto name = text_of(from->Get(i)->name());
    auto text = text_of(from->Get(i)->text());
    TROUPE_CHECK(check_label(kind, name));
    if (auto* there = find(to, name); there != nullptr && there->text != text)
      return fail(ec::conflict, "{} '{}' of run {} is '{}' and stays so; '{}' was not taken", kind, name,
                  run_id, there->text, text);
    set(to, name, text);
  }
  return {};
}

expected<void> add_tags(named_texts& to, const wire_texts* from) {
  for (flatbuffers::uoffset_t i = 0; from != nullptr && i < from->size(); ++i) {
    TROUPE_CHECK(check_label("tag", text_of(from->Get(i)->name())));
    set(to, text_of(from->Get(i)->name()), text_of(from->Get(i)->text()));
  }
  return {};
}

std::string run_order_key(const wire::RunT& run) {
  std::string key;
  store::append_u64(key, static_cast<std::uint64_t>(run.created));
  return key + run.run_id;
}

std::string series_key(std::string_view run_id, std::string_view name) {
  std::string key{run_id};
  key += '\0';
  key += name;
  key += '\0';
  return key;
}

std::string point_key(std::string_view run_id, std::string_view name, std::uint64_t step) {
  auto key = series_key(run_id, name);
  store::append_u64(key, step);
  return key;
}

wire::MetricSummaryT& summary_of(wire::RunT& run, std::string_view name) {
  auto found = std::ranges::find(run.metrics, name, [](auto& each) { return std::string_view{each->name}; });
  if (found != run.metrics.end())
    return **found;
  auto made = std::make_unique<wire::MetricSummaryT>();
  made->name = name;
  made->least = INFINITY;
  made->most = -INFINITY;
  run.metrics.push_back(std::move(made));
  return *run.metrics.back();
}

bool is_over(wire::RunState state) {
  return state != wire::RunState::running;
}

} // namespace

expected<wire::RunT> run_ledger::create(const wire::RunCreate& ask) {
  auto id = text_of(ask.run_id());
  TROUPE_CHECK(check_name("run", id));
  TROUPE_TRY(there, db_->find(runs, id));
  if (there) {
    TROUPE_TRY(run, unpacked<wire::Run>(*there, id));
    auto before = run.parameters.size();
    TROUPE_CHECK(add_for_ever(run.parameters, ask.parameters(), "parameter", id));
    if (run.parameters.size() != before)
      return fail(ec::conflict, "run {} exists without some of these parameters; add them by an update", id);
    return std::move(run);
  }
  wire::RunT run;
  run.run_id = id;
  run.experiment = text_of(ask.experiment()).empty() ? "default" : text_of(ask.experiment());
  run.name = text_of(ask.name());
  if (!run.name.empty())
    TROUPE_CHECK(check_name("run", run.name));
  run.created = micros_of(wall_now());
  TROUPE_CHECK(check_name("experiment", run.experiment));
  TROUPE_CHECK(add_for_ever(run.parameters, ask.parameters(), "parameter", id));
  TROUPE_CHECK(add_tags(run.tags, ask.tags()));
  store::write_batch batch;
  batch.put(runs, id, packed<wire::Run>(run));
  batch.put(run_order, run_order_key(run), {});
  TROUPE_CHECK(db_->write(batch, store::durability::synced));
  return run;
}

expected<void> run_ledger::take_points(wire::RunT& run, const wire::RunUpdate& ask,
                                       store::write_batch& batch) const {
  auto* given = ask.metrics();
  if (given == nullptr)
    return {};
  if (given->size() > most_points)
    return fail(ec::invalid_argument, "update {} of run {} has {} points; at most {} go into one",
                ask.number(), run.run_id, given->size(), most_points);
  std::set<std::string> new_keys;
  for (auto* point : *given) {
    auto name = text_of(point->name());
    TROUPE_CHECK(check_label("metric", name));
    auto& summary = summary_of(run, name);
    auto key = point_key(run.run_id, name, point->step());
    bool is_new = summary.points == 0 || point->step() > summary.last_step;
    if (!is_new) {
      TROUPE_TRY(kept, db_->find(points, key));
      is_new = !kept && !new_keys.contains(key);
    }
    if (is_new) {
      new_keys.insert(key);
      ++summary.points;
    }
    if (point->step() >= summary.last_step) {
      summary.last_step = point->step();
      summary.last = point->value();
    }
    if (!std::isnan(point->value())) {
      summary.least = std::min(summary.least, point->value());
      summary.most = std::max(summary.most, point->value());
    }
    std::string value;
    store::append_u64(value, std::bit_cast<std::uint64_t>(point->value()));
    store::append_u64(value, static_cast<std::uint64_t>(point->at()));
    batch.put(points, key, value);
  }
  return {};
}

expected<wire::RunT> run_ledger::update(const wire::RunUpdate& ask) {
  auto id = text_of(ask.run_id());
  TROUPE_TRY(run, find(id));
  if (ask.number() == 0)
    return fail(ec::invalid_argument, "updates of a run are numbered from 1");
  if (ask.number() <= run.last_update)
    return std::move(run);
  if (ask.number() != run.last_update + 1)
    return fail(ec::conflict, "update {} of run {} came before {}", ask.number(), id, run.last_update + 1);
  store::write_batch batch;
  TROUPE_CHECK(add_for_ever(run.parameters, ask.parameters(), "parameter", id));
  TROUPE_CHECK(add_tags(run.tags, ask.tags()));
  TROUPE_CHECK(add_for_ever(run.artefacts, ask.artefacts(), "artefact", id));
  for (auto& each : run.artefacts)
    if (!artefact::is_sha256(each->text))
      return fail(ec::invalid_argument, "artefact '{}' of run {}: '{}' is not a SHA-256", each->name, id,
                  each->text);
  TROUPE_CHECK(take_points(run, ask, batch));
  if (auto state = ask.state()) {
    if (*state > wire::RunState::MAX)
      return fail(ec::invalid_argument, "{} is no state of a run", static_cast<int>(*state));
    run.state = *state;
    run.ended = is_over(*state) ? micros_of(wall_now()) : 0;
  }
  if (auto text = text_of(ask.error()); !text.empty())
    run.error = text;
  run.last_update = ask.number();
  batch.put(runs, id, packed<wire::Run>(run));
  TROUPE_CHECK(db_->write(batch, store::durability::synced));
  return std::move(run);
}

expected<wire::RunT> run_ledger::find(std::string_view run_id) const {
  TROUPE_TRY(there, db_->find(runs, run_id));
  if (!there)
    return fail(ec::not_found, "there is no run '{}'", run_id);
  return unpacked<wire::Run>(*there, run_id);
}

expected<wire::RunPageT> run_ledger::list(std::string_view experiment, std::string_view before,
                                          std::uint32_t limit) const {
  limit = std::clamp<std::uint32_t>(limit == 0 ? 100 : limit, 1, most_runs);
  std::string end;
  if (!before.empty()) {
    TROUPE_TRY(run, find(before));
    end = run_order_key(run);
  }
  wire::RunPageT page;
  auto at = db_->scan(run_order, {}, end);
  std::string newest(9, '\xff');
  for (at.seek_at_or_before(end.empty() ? newest : end); at.valid(); at.previous()) {
    TROUPE_TRY(run, find(at.key().substr(8)));
    if (!experiment.empty() && run.experiment != experiment)
      continue;
    if (page.runs.size() == limit)
      return page;
    page.runs.push_back(std::make_unique<wire::RunT>(std::move(run)));
  }
  TROUPE_CHECK(at.check());
  page.last = true;
  return page;
}

expected<wire::MetricPageT> run_ledger::metric(const wire::MetricQuery& ask) const {
  auto id = text_of(ask.run_id());
  auto name = text_of(ask.name());
  TROUPE_TRY(run, find(id));
  if (std::ranges::find(run.metrics, name, [](auto& each) { return std::string_view{each->name}; }) ==
      run.metrics.end())
    return fail(ec::not_found, "run '{}' has no metric '{}'", id, name);
  auto limit = std::clamp<std::uint32_t>(ask.limit() == 0 ? most_points : ask.limit(), 1, most_points);
  auto every = std::max<std::uint32_t>(ask.every(), 1);
  wire::MetricPageT page;
  std::uint64_t position = 0;
  auto at = db_->scan(points, point_key(id, name, ask.from_step()), store::prefix_end(series_key(id, name)));
  for (; at.valid(); at.next(), ++position) {
    if (position % every != 0)
      continue;
    if (page.points.size() == limit)
      return page;
    auto point = std::make_unique<wire::MetricPointT>();
    point->name = name;
    point->step = store::read_u64(at.key(), at.key().size() - 8);
    point->value = std::bit_cast<double>(store::read_u64(at.value()));
    point->at = static_cast<std::int64_t>(store::read_u64(at.value(), 8));
    page.points.push_back(std::move(point));
  }
  TROUPE_CHECK(at.check());
  page.last = true;
  return page;
}

} // namespace troupe::registry
