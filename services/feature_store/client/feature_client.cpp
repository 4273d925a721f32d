#include "services/feature_store/client/feature_client.hpp"

#include "common/core/hash.hpp"
#include "common/net/payload.hpp"

#include <algorithm>
#include <future>
#include <memory>
#include <utility>

namespace troupe::feature_store {

void applied_offsets::add(const applied_offsets& answer) {
  if (!std::exchange(any_, true)) {
    next_ = answer.next_;
    return;
  }
  next_.resize(std::min(next_.size(), answer.next_.size()));
  for (std::size_t p = 0; p < next_.size(); ++p)
    next_[p] = std::min(next_[p], answer.next_[p]);
}

void applied_offsets::set(std::uint32_t partition, std::uint64_t offset) {
  any_ = true;
  if (partition >= next_.size())
    next_.resize(partition + 1);
  next_[partition] = offset;
}

bool is_set(const feature_column& flag, std::size_t row) noexcept {
  return (row < flag.numbers.size() && flag.numbers[row] != 0) ||
         (row < flag.texts.size() && read_flag(flag.texts[row]).value_or(false));
}

chunk encode(const feature_query& query) {
  flatbuffers::FlatBufferBuilder out;
  auto entity = out.CreateString(query.entity);
  auto ids = out.CreateVectorOfStrings(query.ids);
  auto features = out.CreateVectorOfStrings(query.features);
  auto offsets = out.CreateVectorOfStructs(query.min_offsets);
  out.Finish(wire::CreateReadFeatures(out, entity, ids, features, query.at, offsets), "TRPF");
  return net::bytes_of(out);
}

namespace {

constexpr std::uint32_t most_partitions = 1 << 16; // An answer is not trusted with our memory.

expected<feature_answer> read_table(const wire::Features* from, std::size_t rows) {
  feature_answer out;
  if (from->columns())
    for (auto* each : *from->columns()) {
      auto& to = out.columns.emplace_back();
      to.name = text_of(each->name());
      auto fits = [&](auto* vector) { return !vector || vector->size() == rows; };
      if (!each->status() || each->status()->size() != rows || !each->age_us() ||
          each->age_us()->size() != rows || !fits(each->numbers()) || !fits(each->texts()) ||
          !fits(each->lists()))
        return fail(ec::corrupt, "the answer to read_features does not have {} values of {}", rows, to.name);
      for (std::uint32_t i = 0; i < rows; ++i)
        to.status.push_back(static_cast<wire::FeatureStatus>(each->status()->Get(i)));
      to.age_us.assign(each->age_us()->begin(), each->age_us()->end());
      if (each->numbers())
        to.numbers.assign(each->numbers()->begin(), each->numbers()->end());
      if (each->texts())
        for (auto* text : *each->texts())
          to.texts.emplace_back(text_of(text));
      if (each->lists())
        for (auto* list : *each->lists()) {
          auto& words = to.lists.emplace_back();
          if (list->items())
            for (auto* word : *list->items())
              words.emplace_back(text_of(word));
        }
    }
  out.deleted.resize(rows);
  if (auto* marks = from->deleted()) {
    if (marks->size() != rows)
      return fail(ec::corrupt, "the answer to read_features does not say of {} entities what is deleted",
                  rows);
    out.deleted.assign(marks->begin(), marks->end());
  }
  if (from->view_versions())
    for (auto* each : *from->view_versions())
      out.view_versions.emplace_back(text_of(each));
  if (from->applied())
    for (auto* each : *from->applied())
      if (each->partition() < most_partitions)
        out.applied.set(each->partition(), each->offset());
  return out;
}

} // namespace

expected<feature_answer> decode_features(const chunk& payload, std::size_t rows) {
  TROUPE_TRY(table, net::read_as<wire::Features>(payload, "TRPF", "Features"));
  return read_table(table, rows);
}

chunk encode_scan(const std::string& entity, const std::vector<std::string>& features,
                  const std::string& after, std::uint32_t limit, std::int64_t at) {
  flatbuffers::FlatBufferBuilder out;
  auto entity_at = out.CreateString(entity);
  auto features_at = out.CreateVectorOfStrings(features);
  auto after_at = out.CreateString(after);
  out.Finish(wire::CreateFeatureScan(out, entity_at, features_at, after_at, limit, at), "TRPF");
  return net::bytes_of(out);
}

expected<feature_page> decode_page(const chunk& payload) {
  TROUPE_TRY(from, net::read_as<wire::FeatureScanPage>(payload, "TRPF", "FeatureScanPage"));
  if (!from->ids() || !from->features())
    return fail(ec::corrupt, "the answer to scan_features lacks its ids or features");
  feature_page page;
  for (auto* each : *from->ids())
    page.ids.emplace_back(text_of(each));
  TROUPE_TRY(features, read_table(from->features(), page.ids.size()));
  page.features = std::move(features);
  page.last = from->last();
  return page;
}

chunk encode_changes(const changes_query& query) {
  flatbuffers::FlatBufferBuilder out;
  auto entity = out.CreateString(query.entity);
  auto features = out.CreateVectorOfStrings(query.features);
  auto since = out.CreateString(query.since);
  out.Finish(wire::CreateFeatureChanges(out, entity, features, since, query.limit, 0, query.records_only),
             "TRPF");
  return net::bytes_of(out);
}

expected<changes_page> decode_changes(const chunk& payload) {
  TROUPE_TRY(from, net::read_as<wire::FeatureChangesPage>(payload, "TRPF", "FeatureChangesPage"));
  if (!from->ids() || !from->features() || !from->next())
    return fail(ec::corrupt, "the answer to feature_changes lacks its ids, features or place");
  changes_page page;
  for (auto* each : *from->ids())
    page.ids.emplace_back(text_of(each));
  TROUPE_TRY(features, read_table(from->features(), page.ids.size()));
  page.features = std::move(features);
  page.last = !from->more();
  page.next = text_of(from->next());
  page.reset = from->reset();
  return page;
}

expected<void> scan_sharded(net::client& from, const std::string& entity,
                            const std::vector<std::string>& features, std::uint32_t page, std::int64_t at,
                            deadline until, const std::function<void(feature_page)>& take) {
  for (std::uint32_t r = 0; r < from.replicas(); ++r) {
    std::string after;
    for (bool last = false; !last;) {
      TROUPE_TRY(got, from.call_to(r, wire::Kind::scan_features,
                                   encode_scan(entity, features, after, page, at), until));
      TROUPE_TRY(rows, decode_page(got.payload));
      last = rows.last || rows.ids.empty();
      if (!rows.ids.empty())
        after = rows.ids.back();
      take(std::move(rows));
    }
  }
  return {};
}

expected<feature_answer> read_sharded(net::client& from, const feature_query& query, deadline until) {
  auto replicas = from.replicas();
  if (replicas <= 1) {
    TROUPE_TRY(got, from.call(wire::Kind::read_features, encode(query), until));
    return decode_features(got.payload, query.ids.size());
  }
  struct part {
    std::vector<std::size_t> places;
    feature_query query;
    std::future<expected<net::reply>> answer;
  };
  std::vector<part> parts(replicas);
  for (std::size_t i = 0; i < query.ids.size(); ++i) {
    auto& to = parts[rendezvous(query.ids[i], replicas)];
    to.places.push_back(i);
    to.query.ids.push_back(query.ids[i]);
  }
  if (query.ids.empty())
    parts[0].places.clear();
  for (std::uint32_t r = 0; r < replicas; ++r) {
    auto& each = parts[r];
    if (each.places.empty() && !(query.ids.empty() && r == 0))
      continue;
    each.query.entity = query.entity;
    each.query.features = query.features;
    each.query.at = query.at;
    each.query.min_offsets = query.min_offsets;
    auto promise = std::make_shared<std::promise<expected<net::reply>>>();
    each.answer = promise->get_future();
    from.call_async_to(r, wire::Kind::read_features, encode(each.query), until,
                       [promise](expected<net::reply> got) { promise->set_value(std::move(got)); });
  }
  feature_answer out;
  auto rows = query.ids.size();
  out.deleted.resize(rows);
  std::optional<error> failed;
  for (auto& each : parts) {
    if (!each.answer.valid())
      continue;
    auto got = each.answer.get();
    auto answer = got ? decode_features(got->payload, each.places.size())
                      : expected<feature_answer>{unexpected<error>{got.error()}};
    if (!answer) {
      failed = answer.error();
      continue;
    }
    out.applied.add(answer->applied);
    if (out.columns.empty()) {
      out.view_versions = answer->view_versions;
      for (auto& column : answer->columns) {
        auto& to = out.columns.emplace_back();
        to.name = column.name;
        to.status.resize(rows);
        to.age_us.assign(rows, -1);
        if (!column.numbers.empty())
          to.numbers.resize(rows);
        if (!column.texts.empty())
          to.texts.resize(rows);
        if (!column.lists.empty())
          to.lists.resize(rows);
      }
    }
    if (answer->columns.size() != out.columns.size())
      return fail(ec::corrupt, "replicas of the feature store answer with {} and {} columns",
                  out.columns.size(), answer->columns.size());
    for (std::size_t i = 0; i < each.places.size(); ++i)
      out.deleted[each.places[i]] = answer->deleted[i];
    for (std::size_t c = 0; c < out.columns.size(); ++c)
      for (std::size_t i = 0; i < each.places.size(); ++i) {
        auto &to = out.columns[c], &column = answer->columns[c];
        auto row = each.places[i];
        to.status[row] = column.status[i];
        to.age_us[row] = column.age_us[i];
        if (!to.numbers.empty() && !column.numbers.empty())
          to.numbers[row] = column.numbers[i];
        if (!to.texts.empty() && !column.texts.empty())
          to.texts[row] = std::move(column.texts[i]);
        if (!to.lists.empty() && !column.lists.empty())
          to.lists[row] = std::move(column.lists[i]);
      }
  }
  if (failed)
    return with_context("reading features", std::move(*failed));
  return out;
}

} // namespace troupe::feature_store
