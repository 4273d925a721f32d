#include "services/trainer/snapshot.hpp"

#include "services/trainer/interaction_sorter.hpp"

#include "common/core/file_hash.hpp"
#include "common/event/slate.hpp"

#include <boost/json/array.hpp>

#include <algorithm>
#include <numeric>
#include <optional>

namespace troupe::trainer {

namespace {

constexpr std::uint32_t read_bytes = 4 << 20;

bool is_one_of(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

bool wanted(const wire::Record& rec, const snapshot_options& options) {
  if (is_entity(static_cast<record_kind>(rec.kind())))
    return false;
  auto type = troupe::text_of(rec.type());
  if (options.event_types.empty() ? type == impression_type : !is_one_of(options.event_types, type))
    return false;
  return options.exclude_arms.empty() ||
         !is_one_of(options.exclude_arms, text_attribute(rec, shown_attribute::arm));
}

bool can_be_named(std::string_view identity) {
  return !identity.empty() && !holds_control(identity);
}

/// Reads the log into a sorter, partition by partition, in the order of the records.
class log_copy {
public:
  log_copy(ingest::record_stream& log, interaction_sorter& into, const snapshot_options& options)
      : log_{log}, into_{into}, options_{options} {
    query_.max_bytes = read_bytes;
    query_.kinds = {wire::RecordKind::event, wire::RecordKind::slate};
    query_.fields = {wire::ColumnField::kind, wire::ColumnField::user, wire::ColumnField::item,
                     wire::ColumnField::event_time, wire::ColumnField::value};
    query_.types = options.event_types;
    if (query_.types.empty()) {
      query_.types = {std::string{impression_type}};
      query_.other_types = true;
    }
    if (!options.exclude_arms.empty())
      query_.attributes = {std::string{shown_attribute::arm}};
  }

  expected<void> read(const std::vector<std::uint64_t>& ends) {
    std::uint64_t done = 0;
    auto total = std::accumulate(ends.begin(), ends.end(), std::uint64_t{0});
    for (std::uint32_t p = 0; p < ends.size(); ++p)
      for (std::uint64_t at = 0; at < ends[p];) {
        query_.partition = p, query_.offset = at, query_.end = ends[p];
        TROUPE_TRY(page, log_.read_columns(query_));
        if (page.next == at)
          return fail(ec::corrupt, "partition {} of the log has no record at offset {}", p, at);
        auto slates = std::ranges::any_of(page.parts, [](auto& part) {
          return std::ranges::find(part.kinds, wire::RecordKind::slate) != part.kinds.end();
        });
        if (slates)
          TROUPE_CHECK(read_rows(p, at, page.next)); // What they show is no column.
        else
          for (auto& part : page.parts)
            TROUPE_CHECK(add(part));
        done += page.next - at;
        at = page.next;
        if (options_.report && !options_.report(done, total))
          return fail(ec::canceled, "the snapshot was stopped");
      }
    return {};
  }

  /// Wanted interactions that no vocabulary can name.
  std::uint64_t dropped() const noexcept { return dropped_; }

private:
  static constexpr std::uint32_t unknown = 0xffff'ffff, nameless = 0xffff'fffe;

  std::uint32_t number_of(std::string_view name) {
    return can_be_named(name) ? into_.number(name) : nameless;
  }

  /// The number of the entry of a row, looked up once.
  std::uint32_t number_of(const ingest::column_part::texts& column, std::size_t row,
                          std::vector<std::uint32_t>& known) {
    auto& number = known[column.rows[row]];
    if (number == unknown)
      number = number_of(column[row]);
    return number;
  }

  expected<void> add(std::uint32_t user, std::uint32_t item, std::int64_t time, std::optional<double> value) {
    if (user != nameless && item != nameless)
      return into_.add(user, item, time, value);
    ++dropped_;
    return {};
  }

  expected<void> add(const ingest::column_part& part) {
    std::vector<std::uint32_t> users(part.users.entries.size(), unknown),
        items(part.items.entries.size(), unknown);
    auto generation = into_.generation();
    for (std::size_t i = 0; i < part.offsets.size(); ++i) {
      if (!part.attributes.empty() && is_one_of(options_.exclude_arms, part.attributes.front()[i]))
        continue;
      if (into_.generation() != generation) {
        generation = into_.generation();
        std::ranges::fill(users, unknown);
        std::ranges::fill(items, unknown);
      }
      TROUPE_CHECK(add(number_of(part.users, i, users), number_of(part.items, i, items), part.event_times[i],
                       part.has_values[i] != 0 ? std::optional{part.values[i]} : std::nullopt));
    }
    return {};
  }

  expected<void> read_rows(std::uint32_t partition, std::uint64_t at, std::uint64_t end) {
    while (at < end) {
      TROUPE_TRY(batches, log_.read(partition, at, read_bytes));
      auto before = at;
      for (auto& each : batches)
        for (; at < std::min(end, each.base_offset() + each.size()); ++at)
          TROUPE_CHECK(add(each[at - each.base_offset()]));
      if (at == before)
        return fail(ec::corrupt, "partition {} of the log has no record at offset {}", partition, at);
    }
    return {};
  }

  /// An event, or each item that a slate shows.
  expected<void> add(const wire::Record& rec) {
    if (!wanted(rec, options_))
      return {};
    auto one = [&](std::string_view item) {
      // Numbers are asked for together: `add` may begin to count anew.
      auto user = number_of(troupe::text_of(rec.user()));
      auto value = rec.value();
      return add(user, number_of(item), rec.event_time(), value ? std::optional{*value} : std::nullopt);
    };
    if (rec.kind() == wire::RecordKind::event)
      return one(troupe::text_of(rec.item()));
    if (rec.shown())
      for (auto* each : *rec.shown())
        TROUPE_CHECK(one(troupe::text_of(each->item())));
    return {};
  }

  ingest::record_stream& log_;
  interaction_sorter& into_;
  const snapshot_options& options_;
  ingest::column_query query_;
  std::uint64_t dropped_ = 0;
};

} // namespace

expected<boost::json::object> take_snapshot(ingest::record_stream& log, const std::filesystem::path& file,
                                            const snapshot_options& options) {
  TROUPE_TRY(now, log.ends());
  auto ends = options.offsets.empty() ? now : options.offsets;
  for (std::size_t p = 0; p < ends.size(); ++p)
    if (p >= now.size() || ends[p] > now[p])
      return fail(ec::not_found, "the log has no record {} in partition {}", ends[p], p);
  auto work = file;
  work += ".work";
  std::error_code problem;
  std::filesystem::remove_all(work, problem);
  std::filesystem::create_directories(work, problem);
  std::uint64_t rows = 0, dropped_events = 0;
  {
    interaction_sorter sorter{work, options.memory_bytes};
    log_copy copy{log, sorter, options};
    TROUPE_CHECK(copy.read(ends));
    dropped_events = copy.dropped();
    TROUPE_TRY(written, sorter.write(file));
    rows = written;
  }
  std::filesystem::remove_all(work, problem);
  if (rows == 0)
    return fail(ec::invalid_argument, "the log holds no interactions to train on");
  TROUPE_TRY(hash, hash_file(file));
  boost::json::array offsets;
  for (auto each : ends)
    offsets.emplace_back(each);
  boost::json::object known;
  known["source"] = "log";
  known["sha256"] = hash.sha256;
  known["bytes"] = hash.bytes;
  known["rows"] = rows;
  known["dropped_events"] = dropped_events;
  known["offsets"] = std::move(offsets);
  return known;
}

} // namespace troupe::trainer
