#include "services/ingest/lake_reader.hpp"

#include "common/event/row.hpp"
#include "common/ingest_format/shown_column.hpp"
#include "common/json/exact.hpp"
#include "common/table/connection.hpp"
#include "common/table/parquet.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

namespace troupe::ingest {

namespace {

constexpr std::size_t records_of_a_block = 4096;

constexpr std::array kinds{record_kind::event, record_kind::user, record_kind::item, record_kind::slate};

/// What `attributes_json` wrote.
expected<std::vector<attribute>> read_attributes(exact_document& in, std::string_view json) {
  std::vector<attribute> found;
  TROUPE_TRY(root, in.read(json));
  for (auto each : root) {
    auto value = read_attribute(each);
    if (!value)
      return fail(ec::corrupt, "attribute {} cannot be read", each.key());
    found.push_back({std::string{each.key()}, std::move(*value)});
  }
  return found;
}

/// Reads rows one after the other.
class row_cursor {
public:
  explicit row_cursor(table::result& from) : from_{from} {}

  /// Fills `to`, whose offset must be `offset`; false at the end.
  expected<bool> next(record& to, std::uint32_t partition, std::uint64_t offset) {
    if (row_ == filled_) {
      TROUPE_TRY(more, from_.next());
      if (!more)
        return false;
      row_ = 0;
      filled_ = from_.rows();
    }
    auto text = [&](std::size_t column) {
      return from_.column(column).is_null(row_) ? std::string_view{} : from_.column(column).text(row_);
    };
    auto kind = std::ranges::find(kinds, text(2), [](auto each) { return to_string(each); });
    if (from_.column(0).integer(row_) != partition ||
        static_cast<std::uint64_t>(from_.column(1).integer(row_)) != offset || kind == kinds.end())
      return fail(ec::corrupt, "the row that stands where offset {} should is another one", offset);
    to.kind = *kind;
    to.id = text(3);
    to.type = text(4);
    to.user = text(5);
    to.item = text(6);
    to.event_time = from_.column(7).time(row_);
    to.ingest_time = from_.column(8).time(row_);
    to.value.reset();
    if (!from_.column(9).is_null(row_))
      to.value = from_.column(9).number(row_);
    to.request_id = text(10);
    to.attributes.clear();
    if (auto json = text(11); !json.empty()) {
      TROUPE_TRY(attributes, read_attributes(json_, json));
      to.attributes = std::move(attributes);
    }
    to.untimed = !from_.column(12).is_null(row_) && from_.column(12).flag(row_);
    to.shown = ingest_format::shown_in(from_.column(13), row_);
    ++row_;
    return true;
  }

private:
  table::result& from_;
  exact_document json_;
  std::uint64_t row_ = 0, filled_ = 0;
};

} // namespace

expected<void> each_record(const std::filesystem::path& file, const lake_segment& segment,
                           const std::function<expected<void>(const record&)>& use) {
  auto context = [&](const error& why) {
    return with_context(fmt::format("reading records {} to {} of partition {} from {}", segment.first,
                                    segment.next, segment.partition, file.string()),
                        why);
  };
  auto db = table::connection::open({.memory_limit_bytes = std::uint64_t{512} << 20, .threads = 1});
  if (!db)
    return context(db.error());
  auto rows =
      db->query(fmt::format("SELECT \"partition\", \"offset\", kind, id, type, \"user\", item, event_time, "
                            "ingest_time, value, request_id, attributes, untimed, shown FROM (FROM {} "
                            // Files of before had no such columns.
                            "UNION ALL BY NAME (SELECT NULL::BOOLEAN AS untimed, NULL::{} AS shown "
                            "WHERE false))",
                            table::parquet_file(file), ingest_format::shown_type));
  if (!rows)
    return context(rows.error());
  row_cursor from{*rows};
  record rec;
  for (auto offset = segment.first; offset < segment.next; ++offset) {
    auto more = from.next(rec, segment.partition, offset);
    if (!more)
      return context(more.error());
    if (!*more)
      return context({ec::corrupt, fmt::format("it ends before offset {}", offset)});
    TROUPE_CHECK(use(rec));
  }
  auto more = from.next(rec, segment.partition, segment.next);
  if (!more)
    return context(more.error());
  if (*more)
    return context({ec::corrupt, fmt::format("it goes on at offset {}", segment.next)});
  return {};
}

std::shared_ptr<lake_reader::held> lake_reader::place_of(const lake_segment& segment) {
  std::lock_guard lock{mutex_};
  auto known = std::ranges::find_if(known_, [&](auto& each) { return each->segment == segment; });
  if (known == known_.end()) {
    known_.push_front(std::make_shared<held>());
    known_.front()->segment = segment;
  } else {
    known_.splice(known_.begin(), known_, known);
  }
  return known_.front();
}

expected<std::shared_ptr<const lake_blocks>> lake_reader::read(const lake_segment& segment) {
  auto place = place_of(segment);
  std::lock_guard alone{place->reading};
  if (place->blocks)
    return place->blocks;
  auto made = read_file(segment);
  std::lock_guard lock{mutex_};
  if (!made) {
    std::erase(known_, place);
    return made;
  }
  place->blocks = *made;
  std::size_t bytes = 0;
  std::erase_if(known_, [&](auto& each) {
    return each->blocks && (bytes += each->blocks->bytes) > cache_bytes_ && each != place;
  });
  return made;
}

expected<std::shared_ptr<const lake_blocks>> lake_reader::read_file(const lake_segment& segment) const {
  auto made = std::make_shared<lake_blocks>();
  made->segment = segment;
  std::vector<record> records;
  records.reserve(records_of_a_block);
  auto next = segment.first;
  auto add = [&] {
    if (records.empty())
      return;
    auto rows = batch::trusted(encode_batch(std::span<const record>{records}));
    block_builder to;
    for (std::size_t i = 0; i < rows.size(); ++i)
      to.add(rows[i]);
    made->blocks.push_back(to.finish(segment.partition, next));
    made->bytes += made->blocks.back().size();
    next += records.size();
    records.clear();
  };
  TROUPE_CHECK(each_record(folder_ / segment.path, segment, [&](const record& rec) -> expected<void> {
    records.push_back(rec);
    if (records.size() == records_of_a_block)
      add();
    return {};
  }));
  add();
  return made;
}

} // namespace troupe::ingest
