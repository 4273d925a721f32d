#include "services/ingest/log/column_block.hpp"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <optional>

namespace troupe::ingest {

namespace {

/// A wire::Batch has an offset that is not zero in front of its identifier.
constexpr std::string_view magic{"\0\0\0\0TRPC\1", 9};

constexpr std::size_t most_records = 1 << 20;
constexpr std::size_t most_section_bytes = std::size_t{1} << 30;

// Level 3 saves 2 % of the bytes of generated events for a tenth more processor.
constexpr int zstd_level = 1;

std::uint32_t number_of(block_field field) noexcept {
  return static_cast<std::uint32_t>(field);
}

/// Sections one after the other, and the table of them.
class section_writer {
public:
  void add(std::uint32_t field, const std::string& bytes) {
    if (bytes.empty())
      return;
    auto begin = body_.size();
    body_.resize(begin + ZSTD_compressBound(bytes.size()));
    thread_local std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context{ZSTD_createCCtx(),
                                                                              &ZSTD_freeCCtx};
    auto size = ZSTD_compressCCtx(context.get(), body_.data() + begin, body_.size() - begin, bytes.data(),
                                  bytes.size(), zstd_level);
    if (ZSTD_isError(size) || size >= bytes.size()) {
      body_.resize(begin);
      body_ += bytes;
    } else {
      body_.resize(begin + size);
    }
    table_.whole(field).whole(bytes.size()).whole(body_.size() - begin);
    ++count_;
  }
  void add(block_field field, const std::string& bytes) { add(number_of(field), bytes); }

  std::string finish(std::uint32_t partition, std::uint64_t base, std::size_t records) {
    store::encoder out;
    out.raw(magic).whole(partition).whole(base).whole(records).whole(count_).raw(table_.bytes()).raw(body_);
    return out.take();
  }

private:
  store::encoder table_;
  std::string body_;
  std::size_t count_ = 0;
};

/// The bytes of one column, by one of the functions of `column_codec`.
template <class Value>
std::string column(void (*put)(store::encoder&, std::span<const Value>), const std::vector<Value>& values) {
  store::encoder out;
  put(out, values);
  return out.take();
}

/// As `column`, but none at all where every value is what a reader takes for one that is missing.
template <class Value>
std::string sparse_column(void (*put)(store::encoder&, std::span<const Value>),
                          const std::vector<Value>& values) {
  auto nothing = std::ranges::all_of(values, [](auto& each) { return each == Value{}; });
  return nothing ? std::string{} : column(put, values);
}

wire::ValueKind kind_of(const wire::Attribute& from) noexcept {
  return from.kind() <= wire::ValueKind::list ? from.kind() : wire::ValueKind::text;
}

} // namespace

void block_builder::add(const wire::Record& rec) {
  kinds_.push_back(static_cast<std::uint32_t>(rec.kind()));
  ids_.push_back(text_of(rec.id()));
  types_.push_back(text_of(rec.type()));
  users_.push_back(text_of(rec.user()));
  items_.push_back(text_of(rec.item()));
  requests_.push_back(text_of(rec.request_id()));
  event_times_.push_back(rec.event_time());
  ingest_times_.push_back(rec.ingest_time());
  auto value = rec.value();
  has_value_.push_back(value ? 1 : 0);
  if (value)
    values_.push_back(*value);
  untimed_.push_back(rec.untimed() ? 1 : 0);
  add_attributes(rec);
  auto shown = rec.shown() ? rec.shown()->size() : 0;
  shown_counts_.push_back(shown);
  for (flatbuffers::uoffset_t i = 0; i < shown; ++i) {
    auto* each = rec.shown()->Get(i);
    shown_items_.push_back(text_of(each->item()));
    shown_positions_.push_back(each->position());
    shown_propensities_.push_back(each->propensity());
  }
}

std::uint32_t block_builder::column_of(std::string_view name, wire::ValueKind kind) {
  auto found =
      std::ranges::find_if(columns_, [&](auto& each) { return each.kind == kind && each.name == name; });
  if (found == columns_.end())
    found = columns_.insert(columns_.end(), {name, kind, {}, {}, {}});
  return static_cast<std::uint32_t>(found - columns_.begin());
}

void block_builder::add_attributes(const wire::Record& rec) {
  shape_.clear();
  auto count = rec.attributes() ? rec.attributes()->size() : 0;
  for (flatbuffers::uoffset_t i = 0; i < count; ++i) {
    auto* each = rec.attributes()->Get(i);
    auto kind = kind_of(*each);
    auto name = text_of(each->name());
    // Most records have the attributes of the one before.
    auto like_last = i < last_shape_.size() && columns_[last_shape_[i]].kind == kind &&
                     columns_[last_shape_[i]].name == name;
    shape_.push_back(like_last ? last_shape_[i] : column_of(name, kind));
    auto& to = columns_[shape_.back()];
    switch (kind) {
    case wire::ValueKind::number:
      to.numbers.push_back(each->number());
      break;
    case wire::ValueKind::flag:
      to.codes.push_back(each->number() != 0 ? 1 : 0);
      break;
    case wire::ValueKind::list:
      to.codes.push_back(each->list() ? each->list()->size() : 0);
      for (flatbuffers::uoffset_t k = 0; k < to.codes.back(); ++k)
        to.texts.push_back(text_of(each->list()->Get(k)));
      break;
    default:
      to.texts.push_back(text_of(each->text()));
    }
  }
  if (shape_of_.empty() || shape_ != last_shape_) {
    shape_of_.push_back(
        shapes_.try_emplace(shape_, static_cast<std::uint32_t>(shapes_.size())).first->second);
    std::swap(shape_, last_shape_);
  } else {
    shape_of_.push_back(shape_of_.back());
  }
}

void block_builder::put_attribute(const attribute_values& from, store::encoder& to) const {
  switch (from.kind) {
  case wire::ValueKind::number:
    return put_numbers(to, from.numbers);
  case wire::ValueKind::flag:
    return put_codes(to, from.codes);
  case wire::ValueKind::list:
    put_codes(to, from.codes);
    return put_texts(to, from.texts);
  default:
    return put_texts(to, from.texts);
  }
}

std::string block_builder::finish(std::uint32_t partition, std::uint64_t base_offset) {
  section_writer out;
  out.add(block_field::kind, sparse_column(put_codes, kinds_));
  out.add(block_field::id, column(put_texts, ids_));
  out.add(block_field::type, sparse_column(put_texts, types_));
  out.add(block_field::user, sparse_column(put_texts, users_));
  out.add(block_field::item, sparse_column(put_texts, items_));
  out.add(block_field::event_time, column(put_times, event_times_));
  out.add(block_field::ingest_time, column(put_times, ingest_times_));
  out.add(block_field::has_value, sparse_column(put_codes, has_value_));
  out.add(block_field::value, column(put_numbers, values_));
  out.add(block_field::request_id, sparse_column(put_texts, requests_));
  out.add(block_field::untimed, sparse_column(put_codes, untimed_));
  if (!columns_.empty()) {
    store::encoder table;
    table.whole(columns_.size());
    for (auto& each : columns_)
      table.octet(static_cast<std::uint8_t>(each.kind)).text(each.name);
    std::vector<const std::vector<std::uint32_t>*> shapes(shapes_.size());
    for (auto& [shape, number] : shapes_)
      shapes[number] = &shape;
    table.whole(shapes.size());
    for (auto* each : shapes) {
      table.whole(each->size());
      for (auto column : *each)
        table.whole(column);
    }
    put_codes(table, shape_of_);
    out.add(block_field::attributes, table.bytes());
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      store::encoder values;
      put_attribute(columns_[i], values);
      out.add(number_of(block_field::first_attribute) + static_cast<std::uint32_t>(i), values.bytes());
    }
  }
  if (!shown_items_.empty()) {
    out.add(block_field::shown_counts, column(put_codes, shown_counts_));
    out.add(block_field::shown_items, column(put_texts, shown_items_));
    out.add(block_field::shown_positions, column(put_times, shown_positions_));
    out.add(block_field::shown_propensities, column(put_numbers, shown_propensities_));
  }
  auto bytes = out.finish(partition, base_offset, kinds_.size());
  *this = {};
  return bytes;
}

bool column_block::is_one(std::string_view bytes) noexcept {
  return bytes.starts_with(magic);
}

unexpected<error> column_block::damaged(std::string_view what) const {
  return fail(ec::corrupt, "the block of partition {} at offset {} is damaged: its {} cannot be read",
              partition_, base_, what);
}

expected<column_block> column_block::open(std::string_view bytes) {
  column_block to;
  if (!is_one(bytes))
    return fail(ec::corrupt, "{} bytes are not a block of columns", bytes.size());
  store::decoder in{bytes.substr(magic.size())};
  to.partition_ = static_cast<std::uint32_t>(in.whole());
  to.base_ = in.whole();
  to.count_ = in.whole();
  std::vector<std::pair<std::uint32_t, section>> table(in.count_of(3));
  std::vector<std::uint64_t> stored;
  for (auto& [field, each] : table) {
    field = static_cast<std::uint32_t>(in.whole());
    each.size = in.whole();
    stored.push_back(in.whole());
  }
  for (std::size_t i = 0; i < table.size(); ++i) {
    auto& [field, each] = table[i];
    each.stored = in.raw(stored[i]);
    if (each.size > most_section_bytes || each.stored.size() > each.size)
      in.give_up();
    to.sections_.emplace(field, each);
  }
  if (!in.ok() || !in.done() || to.count_ > most_records)
    return to.damaged("table");
  return to;
}

expected<std::shared_ptr<const std::string>> column_block::open_section(std::uint32_t field) const {
  auto found = sections_.find(field);
  if (found == sections_.end())
    return nullptr;
  auto& from = found->second;
  if (from.stored.size() == from.size)
    return std::make_shared<const std::string>(from.stored);
  // What the compressor says itself, before so much is allocated.
  if (ZSTD_getFrameContentSize(from.stored.data(), from.stored.size()) != from.size)
    return damaged(fmt::format("field {}", field));
  std::string opened(from.size, '\0');
  thread_local std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context{ZSTD_createDCtx(),
                                                                            &ZSTD_freeDCtx};
  if (ZSTD_decompressDCtx(context.get(), opened.data(), opened.size(), from.stored.data(),
                          from.stored.size()) != opened.size())
    return damaged(fmt::format("field {}", field));
  return std::make_shared<const std::string>(std::move(opened));
}

namespace {

/// Nothing where the bytes are no such column.
template <class Take>
auto taken(const std::string& bytes, Take take)
    -> std::optional<decltype(take(std::declval<store::decoder&>()))> {
  store::decoder in{bytes};
  auto values = take(in);
  if (!in.ok() || !in.done())
    return std::nullopt;
  return values;
}

text_column no_texts(std::size_t count) {
  return {{std::string_view{}}, std::vector<std::uint32_t>(count), {}, nullptr};
}

} // namespace

expected<text_column> column_block::texts(block_field field) const {
  TROUPE_TRY(bytes, open_section(number_of(field)));
  if (!bytes)
    return no_texts(count_);
  auto values = taken(*bytes, [&](auto& in) { return take_texts(in, count_); });
  if (!values)
    return damaged("texts");
  values->opened = std::move(bytes);
  return std::move(*values);
}

expected<std::vector<std::uint32_t>> column_block::codes(block_field field) const {
  TROUPE_TRY(bytes, open_section(number_of(field)));
  if (!bytes)
    return std::vector<std::uint32_t>(count_);
  auto values = taken(*bytes, [&](auto& in) { return take_codes(in, count_); });
  if (!values)
    return damaged("flags");
  return std::move(*values);
}

expected<std::vector<std::int64_t>> column_block::times(block_field field) const {
  TROUPE_TRY(bytes, open_section(number_of(field)));
  if (!bytes)
    return std::vector<std::int64_t>(count_);
  auto values = taken(*bytes, [&](auto& in) { return take_times(in, count_); });
  if (!values)
    return damaged("times");
  return std::move(*values);
}

expected<std::vector<double>> column_block::values() const {
  TROUPE_TRY(there, codes(block_field::has_value));
  auto count = static_cast<std::size_t>(std::ranges::count(there, 1u));
  TROUPE_TRY(bytes, open_section(number_of(block_field::value)));
  if (!bytes && count == 0)
    return std::vector<double>{};
  auto values = taken(bytes ? *bytes : std::string{}, [&](auto& in) { return take_numbers(in, count); });
  if (!values)
    return damaged("values");
  return std::move(*values);
}

struct column_block::attribute_table {
  struct attribute_column {
    wire::ValueKind kind{};
    std::string name;
    std::size_t count = 0; ///< How many records have it.
  };
  std::vector<attribute_column> columns;
  std::vector<std::vector<std::uint32_t>> shapes;
  std::vector<std::uint32_t> shape_of; ///< By record.
};

expected<column_block::attribute_table> column_block::attributes() const {
  attribute_table to;
  TROUPE_TRY(bytes, open_section(number_of(block_field::attributes)));
  if (!bytes) {
    to.shapes.resize(1);
    to.shape_of.resize(count_);
    return to;
  }
  store::decoder in{*bytes};
  to.columns.resize(in.count_of(2));
  for (auto& each : to.columns) {
    auto kind = in.octet();
    each.name = in.text();
    if (kind > static_cast<std::uint8_t>(wire::ValueKind::list))
      in.give_up();
    each.kind = static_cast<wire::ValueKind>(kind);
  }
  to.shapes.resize(in.count_of(1));
  for (auto& shape : to.shapes) {
    shape.resize(in.count_of(1));
    for (auto& column : shape) {
      column = static_cast<std::uint32_t>(in.whole());
      if (column >= to.columns.size())
        in.give_up(), column = 0;
    }
  }
  to.shape_of = take_codes(in, count_);
  for (auto shape : to.shape_of) {
    if (shape >= to.shapes.size() || !in.ok())
      return damaged("attributes");
    for (auto column : to.shapes[shape])
      ++to.columns[column].count;
  }
  if (!in.ok() || !in.done())
    return damaged("attributes");
  return to;
}

expected<text_column> column_block::text_attribute(std::string_view name) const {
  TROUPE_TRY(table, attributes());
  for (std::uint32_t column = 0; column < table.columns.size(); ++column) {
    auto& wanted = table.columns[column];
    if (wanted.name != name || wanted.kind != wire::ValueKind::text)
      continue;
    TROUPE_TRY(bytes, open_section(number_of(block_field::first_attribute) + column));
    auto values =
        bytes ? taken(*bytes, [&](auto& in) { return take_texts(in, wanted.count); }) : std::nullopt;
    if (!values)
      return damaged("attributes");
    auto none = static_cast<std::uint32_t>(values->entries.size());
    values->entries.emplace_back();
    std::vector<std::uint32_t> at(count_, none);
    std::size_t next = 0;
    for (std::size_t i = 0; i < count_; ++i)
      if (auto& shape = table.shapes[table.shape_of[i]]; std::ranges::find(shape, column) != shape.end())
        at[i] = values->at[next++];
    values->at = std::move(at);
    values->opened = std::move(bytes);
    return std::move(*values);
  }
  return no_texts(count_);
}

/// Writes records as rows. What is the same in many of them - a text, an attribute - is written once and
/// pointed to.
class column_block::row_writer {
public:
  using builder = flatbuffers::FlatBufferBuilder;
  using string_offset = flatbuffers::Offset<flatbuffers::String>;
  using attribute_offset = flatbuffers::Offset<wire::Attribute>;

  expected<void> load(const column_block& from);

  /// The records from index `first` on, until there are about `max_bytes`.
  chunk write(const column_block& from, std::size_t first, std::size_t max_bytes);

private:
  struct texts {
    text_column values;
    std::vector<string_offset> written{};

    explicit texts(text_column from = {}) : values{std::move(from)}, written(values.entries.size()) {}
  };
  struct attribute_values {
    texts words;
    std::vector<double> numbers;
    std::vector<std::uint32_t> codes;
    std::size_t next = 0, next_word = 0;
    string_offset name;
    std::vector<attribute_offset> by_text; ///< By entry of `words`.
    std::array<attribute_offset, 2> by_flag;
    std::array<std::pair<std::uint64_t, attribute_offset>, 64> by_number{}; ///< The last ones, by their hash.
  };

  /// A text of a record; nothing where it is empty.
  string_offset optional_text(texts& from, std::size_t index);
  string_offset entry(texts& from, std::size_t index);
  attribute_offset attribute(attribute_values& from, const attribute_table::attribute_column& column);
  void pass(attribute_values& by, wire::ValueKind kind);
  flatbuffers::Offset<wire::Record> record(std::size_t index);

  builder out_{1024};
  std::vector<std::uint32_t> kinds_, has_value_, untimed_, shown_counts_;
  texts ids_, types_, users_, items_, requests_, shown_items_;
  std::vector<std::int64_t> event_times_, ingest_times_, shown_positions_;
  std::vector<double> values_, shown_propensities_;
  attribute_table table_;
  std::vector<attribute_values> attributes_;
  std::size_t next_value_ = 0, next_shown_ = 0;
};

expected<void> column_block::row_writer::load(const column_block& from) {
  TROUPE_TRY(kinds, from.codes(block_field::kind));
  TROUPE_TRY(has_value, from.codes(block_field::has_value));
  TROUPE_TRY(untimed, from.codes(block_field::untimed));
  TROUPE_TRY(values, from.values());
  TROUPE_TRY(event_times, from.times(block_field::event_time));
  TROUPE_TRY(ingest_times, from.times(block_field::ingest_time));
  TROUPE_TRY(table, from.attributes());
  kinds_ = std::move(kinds), has_value_ = std::move(has_value), untimed_ = std::move(untimed);
  values_ = std::move(values), event_times_ = std::move(event_times), ingest_times_ = std::move(ingest_times);
  table_ = std::move(table);
  for (auto [field, to] : {std::pair{block_field::id, &ids_}, std::pair{block_field::type, &types_},
                           std::pair{block_field::user, &users_}, std::pair{block_field::item, &items_},
                           std::pair{block_field::request_id, &requests_}}) {
    TROUPE_TRY(read, from.texts(field));
    *to = texts{std::move(read)};
  }
  TROUPE_TRY(shown_counts, from.codes(block_field::shown_counts));
  shown_counts_ = std::move(shown_counts);
  auto shown = std::accumulate(shown_counts_.begin(), shown_counts_.end(), std::size_t{0});
  if (shown > 0) {
    TROUPE_TRY(items, from.open_section(number_of(block_field::shown_items)));
    TROUPE_TRY(positions, from.open_section(number_of(block_field::shown_positions)));
    TROUPE_TRY(propensities, from.open_section(number_of(block_field::shown_propensities)));
    if (!items || !positions || !propensities)
      return from.damaged("shown items");
    auto read_items = taken(*items, [&](auto& in) { return take_texts(in, shown); });
    auto read_positions = taken(*positions, [&](auto& in) { return take_times(in, shown); });
    auto read_propensities = taken(*propensities, [&](auto& in) { return take_numbers(in, shown); });
    if (!read_items || !read_positions || !read_propensities)
      return from.damaged("shown items");
    read_items->opened = std::move(items);
    shown_items_ = texts{std::move(*read_items)};
    shown_positions_ = std::move(*read_positions);
    shown_propensities_ = std::move(*read_propensities);
  }
  attributes_.resize(table_.columns.size());
  for (std::uint32_t i = 0; i < attributes_.size(); ++i) {
    auto& to = attributes_[i];
    auto count = table_.columns[i].count;
    TROUPE_TRY(bytes, from.open_section(number_of(block_field::first_attribute) + i));
    if (!bytes && count > 0)
      return from.damaged("attributes");
    if (!bytes)
      continue;
    store::decoder in{*bytes};
    switch (table_.columns[i].kind) {
    case wire::ValueKind::number:
      to.numbers = take_numbers(in, count);
      break;
    case wire::ValueKind::flag:
      to.codes = take_codes(in, count);
      break;
    case wire::ValueKind::list:
      to.codes = take_codes(in, count);
      to.words = texts{take_texts(in, std::accumulate(to.codes.begin(), to.codes.end(), std::size_t{0}))};
      break;
    default:
      to.words = texts{take_texts(in, count)};
    }
    if (!in.ok() || !in.done())
      return from.damaged("attributes");
    to.words.values.opened = std::move(bytes);
    to.by_text.resize(to.words.values.entries.size());
  }
  return {};
}

auto column_block::row_writer::entry(texts& from, std::size_t index) -> string_offset {
  auto at = from.values.at[index];
  auto& written = from.written[at];
  if (written.IsNull()) {
    auto text = from.values.entries[at];
    written = out_.CreateString(text.data(), text.size());
  }
  return written;
}

auto column_block::row_writer::optional_text(texts& from, std::size_t index) -> string_offset {
  return from.values[index].empty() ? string_offset{} : entry(from, index);
}

auto column_block::row_writer::attribute(attribute_values& from,
                                         const attribute_table::attribute_column& column)
    -> attribute_offset {
  if (from.name.IsNull())
    from.name = out_.CreateString(column.name);
  auto index = from.next++;
  switch (column.kind) {
  case wire::ValueKind::number: {
    auto number = from.numbers[index];
    auto bits = std::bit_cast<std::uint64_t>(number);
    auto& [known, written] = from.by_number[bits * 0x9e37'79b9'7f4a'7c15 >> 58];
    if (written.IsNull() || known != bits) {
      known = bits;
      written = wire::CreateAttribute(out_, from.name, wire::ValueKind::number, number);
    }
    return written;
  }
  case wire::ValueKind::flag: {
    auto& written = from.by_flag[from.codes[index] & 1];
    if (written.IsNull())
      written = wire::CreateAttribute(out_, from.name, wire::ValueKind::flag, from.codes[index] & 1);
    return written;
  }
  case wire::ValueKind::list: {
    std::vector<string_offset> words(from.codes[index]);
    for (auto& each : words)
      each = entry(from.words, from.next_word++);
    auto list = out_.CreateVector(words);
    return wire::CreateAttribute(out_, from.name, wire::ValueKind::list, 0, 0, list);
  }
  default: {
    auto& written = from.by_text[from.words.values.at[index]];
    if (written.IsNull()) {
      auto text = entry(from.words, index);
      written = wire::CreateAttribute(out_, from.name, wire::ValueKind::text, 0, text);
    }
    return written;
  }
  }
}

/// As `attribute`, of a record that is not wanted.
void column_block::row_writer::pass(attribute_values& by, wire::ValueKind kind) {
  auto index = by.next++;
  if (kind == wire::ValueKind::list)
    by.next_word += by.codes[index];
}

flatbuffers::Offset<wire::Record> column_block::row_writer::record(std::size_t i) {
  flatbuffers::Offset<flatbuffers::Vector<attribute_offset>> attributes;
  if (auto& shape = table_.shapes[table_.shape_of[i]]; !shape.empty()) {
    thread_local std::vector<attribute_offset> list;
    list.clear();
    for (auto column : shape)
      list.push_back(attribute(attributes_[column], table_.columns[column]));
    attributes = out_.CreateVector(list);
  }
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::ShownItem>>> shown;
  if (shown_counts_[i] > 0) {
    std::vector<flatbuffers::Offset<wire::ShownItem>> list;
    for (std::uint32_t k = 0; k < shown_counts_[i]; ++k, ++next_shown_)
      list.push_back(wire::CreateShownItem(out_, entry(shown_items_, next_shown_),
                                           static_cast<std::uint32_t>(shown_positions_[next_shown_]),
                                           shown_propensities_[next_shown_]));
    shown = out_.CreateVector(list);
  }
  auto id = entry(ids_, i);
  auto type = optional_text(types_, i);
  auto user = optional_text(users_, i);
  auto item = optional_text(items_, i);
  auto request = optional_text(requests_, i);
  wire::RecordBuilder rec{out_};
  rec.add_kind(static_cast<wire::RecordKind>(kinds_[i]));
  rec.add_id(id);
  rec.add_type(type);
  rec.add_user(user);
  rec.add_item(item);
  rec.add_event_time(event_times_[i]);
  rec.add_ingest_time(ingest_times_[i]);
  if (has_value_[i] != 0)
    rec.add_value(values_[next_value_++]);
  rec.add_request_id(request);
  rec.add_attributes(attributes);
  rec.add_untimed(untimed_[i] != 0);
  rec.add_shown(shown);
  return rec.Finish();
}

chunk column_block::row_writer::write(const column_block& from, std::size_t first, std::size_t max_bytes) {
  for (std::size_t i = 0; i < first; ++i) {
    for (auto column : table_.shapes[table_.shape_of[i]])
      pass(attributes_[column], table_.columns[column].kind);
    next_value_ += has_value_[i];
    next_shown_ += shown_counts_[i];
  }
  std::vector<flatbuffers::Offset<wire::Record>> records;
  std::size_t largest = 64;
  for (auto i = first; i < from.size(); ++i) {
    auto before = out_.GetSize();
    if (!records.empty() && before + largest + 4 * records.size() > max_bytes)
      break;
    records.push_back(record(i));
    largest = std::max<std::size_t>(largest, out_.GetSize() - before);
  }
  auto list = out_.CreateVector(records);
  out_.Finish(wire::CreateBatch(out_, from.partition(), from.base_offset() + first, list),
              wire::BatchIdentifier());
  auto bytes = std::make_shared<flatbuffers::DetachedBuffer>(out_.Release());
  byte_view view{reinterpret_cast<const std::byte*>(bytes->data()), bytes->size()};
  return {std::move(bytes), view};
}

expected<chunk> column_block::rows(std::uint64_t offset, std::size_t max_bytes) const {
  if (offset < base_ || offset - base_ >= count_)
    return fail(ec::corrupt, "the block of partition {} at offset {} has {} records, not one at {}",
                partition_, base_, count_, offset);
  row_writer writer;
  TROUPE_CHECK(writer.load(*this));
  return writer.write(*this, offset - base_, max_bytes);
}

} // namespace troupe::ingest
