#include "common/core/hash.hpp"
#include "common/event/slate.hpp"
#include "common/ingest_format/mapping/bound.hpp"
#include "common/ingest_format/mapping/mapping.hpp"
#include "common/ingest_format/mapping/row_values.hpp"
#include "common/ingest_format/readers/row_text.hpp"

#include <algorithm>

namespace troupe::ingest_format {

using namespace rules;

struct row_mapper::state : row_values {
  bound_file file;
  row_decoder decoder;
  exact_document document, inner_document;
  row_reader native_rows;
  std::optional<open_slate> open;
  std::vector<std::pair<std::string_view, std::string_view>> cells;

  explicit state(bound_file from) : file{std::move(from)}, decoder{file.options.csv, file.options.encoding} {
    format = file.format;
    null_tokens = file.null_tokens;
    only_empty_is_null =
        std::all_of(null_tokens.begin(), null_tokens.end(), [](auto& each) { return each.empty(); });
  }

  void add_attribute(const bound_source& from, record& to) {
    std::optional<attribute_value> value;
    auto take = [&](auto&& found) {
      if (found)
        value = std::move(*found);
    };
    switch (from.rule.type) {
    case value_type::number:
      take(number_of(from));
      break;
    case value_type::flag:
      take(flag_of(from));
      break;
    case value_type::list:
      take(list_of(from));
      break;
    case value_type::time:
      if (auto at = time_of(from))
        value = static_cast<double>(micros_of(*at)) / 1e6;
      break;
    case value_type::natural:
      if (format != file_format::csv && from.parts.size() == 1 && from.parts[0].of == part::from::column)
        if (auto found = look(from.parts[0].column, from.rule.trim); found.is == cell::state::json) {
          value = natural(from.name, *found.json);
          break;
        }
      [[fallthrough]];
    case value_type::text:
      if (std::string text; text_of(from, text))
        value = std::move(text);
      break;
    }
    if (value)
      to.attributes.push_back({from.name, std::move(*value)});
  }

  void add_attributes(const bound_column& from, record& to) {
    auto found = look(from, true);
    if (found.is == cell::state::missing)
      return;
    auto members = found.json;
    if (found.is == cell::state::text)
      if (auto inner = inner_document.read(found.text))
        members = *inner;
    if (!members || !members->is(exact_value::kind::object))
      return refuse("parse", from.name, fmt::format("{} is not a JSON object", from.name));
    for (auto each : *members)
      if (auto value = natural(each.key(), each))
        to.attributes.push_back({std::string{each.key()}, std::move(*value)});
  }

  bool holds(const bound_condition& each) {
    auto found = look(each.column, file.trim);
    bool there = found.is != cell::state::missing;
    scratch.clear();
    if (there)
      append(found, scratch);
    auto& words = each.rule.words;
    bool among = there && std::find(words.begin(), words.end(), scratch) != words.end();
    switch (each.rule.is) {
    case condition::test::equals:
    case condition::test::one_of:
      return among;
    case condition::test::not_equals:
      return !among;
    case condition::test::not_empty:
      return there;
    case condition::test::empty:
      return !there;
    }
    return false;
  }

  void append_position(std::string& to) const {
    auto content = file.content ? *file.content : hash_wide(row->bytes);
    std::uint64_t parts[] = {file.name_hash, row->number, content.high, content.low};
    auto hash = hash_wide(byte_view{reinterpret_cast<const std::byte*>(parts), sizeof parts});
    constexpr char digits[] = "0123456789abcdef";
    for (auto half : {hash.high, hash.low})
      for (int shift = 60; shift >= 0; shift -= 4)
        to += digits[(half >> shift) & 15];
  }

  void make_id(const bound_record& rule, std::size_t index, record& to) {
    if (rule.id && text_of(*rule.id, to.id))
      return;
    to.id.clear();
    if (rule.id_parts.empty()) {
      append_position(to.id);
    } else {
      to.id = to_string(to.kind);
      if (rule.position) {
        to.id += ':';
        append_position(to.id);
      }
      for (auto& each : rule.id_parts) {
        if (!text_of(each, scratch))
          return refuse("required", "id", fmt::format("id is missing: {} is empty", described(each)));
        to.id += ':';
        for (char letter : scratch) { // So that a:b, c and a, b:c stay two.
          if (letter == ':' || letter == '\\')
            to.id += '\\';
          to.id += letter;
        }
      }
    }
    if (rule.position || index > 0)
      fmt::format_to(std::back_inserter(to.id), "-{}", index);
    if (to.id.size() > 256)
      to.id = to_hex(hash_wide(to.id));
  }

  void text_field(const std::optional<bound_source>& from, std::string& to, std::string_view field,
                  bool needed) {
    if ((!from || !text_of(*from, to)) && needed)
      refuse("required", field,
             fmt::format("{} is missing: {}", field,
                         from ? described(*from) + " is empty" : "no column gives it"));
  }

  /// The row at hand as an object, where it has columns.
  exact_value columns_as_object() {
    cells.clear();
    for (std::size_t i = 0; i < file.columns.size() && i < row->fields.size(); ++i) {
      auto text = file.trim ? trimmed(row->fields[i]) : row->fields[i];
      cells.emplace_back(file.columns[i], is_null(text) ? std::string_view{} : text);
    }
    return document.of_texts(cells);
  }

  /// Reads what is of Troupe's own layout.
  void read_native(exact_value from, record& to) {
    bool timed = false;
    wrong = native_rows.read(from, std::nullopt, to, timed);
    if (!wrong && !timed && !is_entity(to.kind))
      refuse("required", "event_time", "event_time is missing");
  }

  void make_native(const bound_record& rule, std::size_t index, record& to) {
    read_native(object ? *object : columns_as_object(), to);
    if (!wrong && to.id.empty())
      make_id(rule, index, to);
  }

  /// Fills a record from the row at hand; what is wrong is in `wrong`.
  void make(const bound_record& rule, std::size_t index, record& to) {
    if (rule.kind) {
      to.kind = *rule.kind;
    } else {
      if (!text_of(*rule.kind_from, scratch))
        return refuse("required", "kind",
                      fmt::format("kind is missing: {} is empty", described(*rule.kind_from)));
      if (scratch == "event")
        to.kind = record_kind::event;
      else if (scratch == "user")
        to.kind = record_kind::user;
      else if (scratch == "item")
        to.kind = record_kind::item;
      else if (scratch == "slate")
        to.kind = record_kind::slate;
      else
        return refuse("parse", "kind", fmt::format("{} is not event, slate, user or item", shown(scratch)));
    }
    bool event = to.kind == record_kind::event, slate = to.kind == record_kind::slate;
    text_field(rule.type, to.type, "type", event);
    text_field(rule.user, to.user, "user", to.kind != record_kind::item);
    text_field(rule.item, to.item, "item", to.kind != record_kind::user);
    if (event || slate)
      text_field(rule.request_id, to.request_id, "request_id", false);
    if (slate)
      show_item(rule, to);
    else if (!event)
      to.type.clear();
    if (to.kind == record_kind::user)
      to.item.clear();
    if (to.kind == record_kind::item)
      to.user.clear();
    std::optional<timestamp> at;
    if (rule.event_time)
      at = time_of(*rule.event_time);
    if (at)
      to.event_time = *at;
    else if (event || slate)
      refuse("required", "event_time",
             fmt::format("event_time is missing: {}",
                         rule.event_time ? described(*rule.event_time) + " is empty" : "no column gives it"));
    else
      to.untimed = true;
    if (rule.value && event)
      to.value = number_of(*rule.value);
    if (event) // Of a column that says the kind: an event has them as other systems' clicks do.
      for (auto [name, from] : {std::pair{shown_attribute::position, &rule.place},
                                {shown_attribute::propensity, &rule.propensity}})
        if (auto number = *from ? number_of(**from) : std::nullopt)
          to.attributes.push_back({std::string{name}, *number});
    for (auto& each : rule.attributes)
      add_attribute(each, to);
    for (auto& each : rule.attribute_maps)
      add_attributes(each, to);
    normalise(to);
    make_id(rule, index, to);
    if (slate && rule.slate_by && !wrong && text_of(*rule.slate_by, scratch))
      open = open_slate{0, scratch};
  }

  /// What a row says of a page: one item of it.
  void show_item(const bound_record& rule, record& to) {
    to.type = impression_type;
    shown_item one{std::move(to.item), 0, 1};
    to.item.clear();
    if (auto number = rule.place ? number_of(*rule.place) : std::nullopt) {
      if (auto place = position_of(*number))
        one.position = *place;
      else
        refuse("parse", "position", std::move(place.error().text));
    }
    if (auto chance = rule.propensity ? number_of(*rule.propensity) : std::nullopt)
      one.propensity = *chance;
    if (auto good = check_propensity(one.propensity); !good) // Of the slate it would be refused with.
      refuse("parse", "propensity", std::move(good.error().text));
    to.shown.push_back(std::move(one));
  }

  outcome apply(const raw_row& from, std::vector<record>& out, std::vector<refused_row>& refusals) {
    row = &from;
    wrong = from.refused;
    auto before = out.size();
    object.reset();
    open.reset();
    if (from.object) {
      object = from.object;
    } else if (!wrong && format != file_format::csv) {
      auto read = document.read(from.text);
      if (!read)
        refuse("parse", "", std::move(read.error().text));
      else if (!read->is(exact_value::kind::object))
        refuse("parse", "", fmt::format("a row is {}, not an object", kind_name(*read)));
      else
        object = *read;
    }
    for (std::size_t i = 0; !wrong && i < file.records.size(); ++i) {
      auto& rule = file.records[i];
      if (std::all_of(rule.when.begin(), rule.when.end(), [&](auto& each) { return holds(each); }))
        rule.native ? make_native(rule, i, out.emplace_back()) : make(rule, i, out.emplace_back());
      if (open && rule.slate_by)
        open->record = out.size() - 1 - before;
    }
    if (wrong) {
      out.resize(before);
      open.reset(); // A rule that comes after that of the slate may have refused the row.
      refusals.push_back({from.number, from.offset, std::move(*wrong), bytes_of(from)});
      return outcome::refused;
    }
    return out.size() > before ? outcome::mapped : outcome::skipped;
  }

  /// A record as the quarantine keeps it.
  outcome apply_own(const raw_row& from, std::vector<record>& out, std::vector<refused_row>& refusals) {
    row = &from;
    wrong.reset();
    auto& to = out.emplace_back();
    if (auto read = document.read(from.bytes); !read)
      refuse("parse", "", std::move(read.error().text));
    else
      read_native(*read, to);
    if (!wrong)
      return outcome::mapped;
    out.pop_back();
    refusals.push_back({from.number, from.offset, std::move(*wrong), std::string{from.bytes}});
    return outcome::refused;
  }
};

row_mapper::row_mapper(rules::bound_file from) : state_{std::make_unique<state>(std::move(from))} {}
row_mapper::row_mapper(row_mapper&&) noexcept = default;
row_mapper& row_mapper::operator=(row_mapper&&) noexcept = default;
row_mapper::~row_mapper() = default;

row_mapper::outcome row_mapper::apply(const raw_row& row, std::vector<record>& records,
                                      std::vector<refused_row>& refusals) {
  return state_->apply(row, records, refusals);
}

bool row_mapper::joins_rows() const noexcept {
  return std::ranges::any_of(state_->file.records, [](auto& each) { return each.slate_by.has_value(); });
}

std::optional<row_mapper::open_slate> row_mapper::open() const {
  return state_->open;
}

row_mapper::outcome row_mapper::replay(std::string_view bytes, std::uint64_t number,
                                       std::vector<record>& records, std::vector<refused_row>& refusals) {
  raw_row row;
  row.bytes = bytes;
  row.number = number;
  std::vector<std::string_view> fields;
  std::deque<std::string> made;
  if (state_->format == file_format::csv && bytes.ends_with('\n')) // As the reader keeps what is too long.
    row.refused = refusal{"parse", "", "the beginning of the row alone was kept: import its file again"};
  else if (state_->format == file_format::csv)
    row.refused = state_->decoder.split(bytes, state_->file.columns, fields, made);
  else if (state_->format == file_format::parquet)
    row.text = bytes; // Ours, whatever the encoding of the mapping's other files.
  else
    row.refused = state_->decoder.to_utf8(bytes, row.text, made);
  row.fields = fields;
  return state_->apply(row, records, refusals);
}

row_mapper::outcome row_mapper::replay_record(std::string_view bytes, std::uint64_t number,
                                              std::vector<record>& records,
                                              std::vector<refused_row>& refusals) {
  return state_->apply_own({.bytes = bytes, .number = number}, records, refusals);
}

} // namespace troupe::ingest_format
