#include "services/validator/rule_book.hpp"

#include "services/validator/compiled_schema.hpp"
#include "services/validator/unique_claims.hpp"

#include "common/event/slate.hpp"

#include <re2/re2.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace troupe::validator {

namespace {

constexpr std::size_t max_id = 256;
constexpr std::size_t max_name = 1024;
constexpr std::int64_t year_1 = -62135596800000000;
constexpr std::int64_t year_10000 = 253402300800000000;
constexpr std::size_t shown_choices = 8;

bool all_ascii(std::string_view text) noexcept {
  std::uint64_t seen = 0;
  std::size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    std::uint64_t part;
    std::memcpy(&part, text.data() + i, 8);
    seen |= part;
  }
  for (; i < text.size(); ++i)
    seen |= static_cast<std::uint64_t>(static_cast<unsigned char>(text[i]));
  return (seen & 0x8080808080808080u) == 0;
}

bool valid_text(std::string_view text) noexcept {
  return all_ascii(text) || simdjson::validate_utf8(text.data(), text.size());
}

template <class List, class Show>
std::string choices(const List& all, Show&& show) {
  std::string out;
  for (std::size_t i = 0; i < all.size() && i < shown_choices; ++i)
    out += (i == 0 ? "" : ", ") + show(all[i]);
  return all.size() > shown_choices ? fmt::format("{} and {} more", out, all.size() - shown_choices) : out;
}

/// One batch being judged.
class judging {
public:
  judging(validation& out, batch_place place)
      : out_{out}, place_{place}, claims_{place.source, place.first_row} {}

  void refuse(std::string_view rule, std::string_view field, std::string reason) {
    out_.lines.push_back({row_, std::string{rule}, std::string{field}, std::move(reason)});
    good_ = false;
  }

  // What the log can take; see check() of common/event/record.hpp, which does the same for records outside a
  // batch.
  void hold_against_log(const wire::Record& rec) {
    auto kind = rec.kind();
    bool event = kind == wire::RecordKind::event, slate = kind == wire::RecordKind::slate;
    if (kind > wire::RecordKind::slate)
      return refuse("record", "kind",
                    fmt::format("kind {} is none of event, slate, user and item", static_cast<int>(kind)));
    hold_text("id", rec.id(), max_id, true);
    hold_text("type", rec.type(), max_name, event || slate);
    hold_text("user", rec.user(), max_name, kind != wire::RecordKind::item);
    hold_text("item", rec.item(), max_name, event || kind == wire::RecordKind::item);
    if (slate)
      hold_slate(rec);
    else if (rec.shown() && rec.shown()->size() > 0)
      refuse("record", "shown", "shown belongs to slates");
    hold_text("request_id", rec.request_id(), max_name, false);
    if (auto value = rec.value(); value && !std::isfinite(*value))
      refuse("record", "value", "value is not a finite number");
    if (auto at = rec.event_time(); at < year_1 || at >= year_10000)
      refuse("record", "event_time", fmt::format("event_time {} us lies outside the years 1 to 9999", at));
    if (rec.attributes())
      hold_attributes(*rec.attributes());
  }

  void hold_against_clock(const compiled_schema* by, const wire::Record& rec) {
    if (!place_.accepted)
      return;
    auto most = by ? by->from.max_ahead : std::nullopt;
    if (place_.max_ahead)
      most = std::min(most.value_or(*place_.max_ahead), *place_.max_ahead);
    auto why =
        too_far_ahead(from_micros(rec.event_time()), *place_.accepted, most.value_or(default_max_ahead));
    if (why)
      refuse("max_ahead", "event_time", std::move(*why));
  }

  void hold_against(const compiled_schema& by, const wire::Record& rec, std::span<cell> cells,
                    std::span<std::uint64_t> nulls) {
    collect(by, rec, cells);
    for (auto& field : by.fields)
      if (field->declared && !field->shown)
        hold_field(*field, cells[field->slot], nulls);
    for (auto& each : by.compares)
      if (!each.shown)
        hold_compare(by, each, cells);
    if (by.holds_shown && rec.shown())
      for (auto* each : *rec.shown())
        hold_shown(by, *each, cells, nulls);
  }

  void begin(std::uint32_t row) noexcept {
    row_ = row;
    good_ = true;
  }
  bool good() const noexcept { return good_; }

  void claim(const compiled_schema& by, const wire::Record& rec, std::span<const cell> cells) {
    claims_.add(by, row_, rec, cells);
  }

  expected<void> settle(unique_index& index) {
    return claims_.settle(index, [this](std::uint32_t row, std::string_view field, std::string reason) {
      row_ = row;
      refuse("unique", field, std::move(reason));
    });
  }

private:
  void hold_text(std::string_view field, const flatbuffers::String* text, std::size_t limit, bool required) {
    auto view = text_of(text);
    if (view.empty()) {
      if (required)
        refuse("record", field, fmt::format("{} is missing", field));
    } else if (view.size() > limit) {
      refuse("record", field,
             fmt::format("{} has {} bytes, at most {} are allowed", field, view.size(), limit));
    } else if (!valid_text(view)) {
      refuse("record", field, fmt::format("{} is not valid UTF-8", field));
    } else if (holds_control(view)) {
      refuse("record", field, fmt::format("{} holds a control character (a line end, a tab...)", field));
    }
  }

  void hold_slate(const wire::Record& rec) {
    if (text_of(rec.type()) != impression_type || (rec.item() && rec.item()->size() > 0) || rec.value())
      refuse("record", "type", "a slate has the type impression, and neither item nor value");
    auto count = rec.shown() ? rec.shown()->size() : 0;
    if (count == 0 || count > max_shown)
      return refuse("record", "shown", fmt::format("shown has {} items, not 1 to {}", count, max_shown));
    places_.clear();
    for (auto* each : *rec.shown()) {
      hold_text("shown.item", each->item(), max_name, true);
      if (auto good = check_propensity(each->propensity()); !good)
        refuse("record", "shown.propensity", "shown." + good.error().text);
      if (each->position() != 0)
        places_.push_back(each->position());
    }
    if (auto good = check_positions(places_); !good)
      refuse("record", "shown.position", std::move(good.error().text));
  }

  /// Rules about what a slate shows hold for each of its items.
  void hold_shown(const compiled_schema& by, const wire::ShownItem& from, std::span<cell> cells,
                  std::span<std::uint64_t> nulls) {
    for (auto& field : by.fields) {
      if (!field->shown)
        continue;
      auto& to = cells[field->slot] = cell{};
      if (field->rule.name == "item")
        set_text(to, from.item());
      else if (field->rule.name == "propensity" || from.position() != 0) {
        to.kind = cell::holds::number;
        to.number = field->rule.name == "position" ? from.position() : from.propensity();
      }
      if (field->declared)
        hold_field(*field, to, nulls);
    }
    for (auto& each : by.compares)
      if (each.shown)
        hold_compare(by, each, cells);
  }

  template <class Attributes>
  void hold_attributes(const Attributes& all) {
    std::string_view before;
    for (auto* each : all) {
      auto name = text_of(each->name());
      if (name.empty() || name.size() > max_name || !valid_text(name))
        return refuse("record", "attributes",
                      "the name of an attribute is empty, too long or not valid UTF-8");
      if (name <= before)
        return refuse("record", name,
                      fmt::format("attribute {} stands after {}: attributes are sorted by name, each once",
                                  name, before));
      before = name;
      if (each->kind() == wire::ValueKind::number && !std::isfinite(each->number()))
        refuse("record", name, fmt::format("{} is not a finite number", name));
      else if (each->kind() > wire::ValueKind::list)
        refuse("record", name, fmt::format("{} has a kind of value that this version does not know", name));
      else if (each->text() && !valid_text(text_of(each->text())))
        refuse("record", name, fmt::format("{} is not valid UTF-8", name));
      if (each->list())
        for (auto* word : *each->list())
          if (!valid_text(text_of(word)))
            refuse("record", name, fmt::format("a word of {} is not valid UTF-8", name));
    }
  }

  void collect(const compiled_schema& by, const wire::Record& rec, std::span<cell> cells) {
    std::fill(cells.begin(), cells.end(), cell{});
    auto slot = [&](std::size_t i) {
      return by.core[i] >= 0 ? &cells[static_cast<std::size_t>(by.core[i])] : nullptr;
    };
    if (auto* to = slot(0))
      set_text(*to, rec.id());
    if (auto* to = slot(1))
      set_text(*to, rec.user());
    if (auto* to = slot(2))
      set_text(*to, rec.item());
    if (auto* to = slot(3)) {
      to->kind = cell::holds::time;
      to->time = rec.event_time();
    }
    if (auto* to = slot(4))
      if (auto value = rec.value()) {
        to->kind = cell::holds::number;
        to->number = *value;
      }
    if (auto* to = slot(5))
      set_text(*to, rec.request_id());
    if (!rec.attributes() || (by.attributes.empty() && !by.from.closed))
      return;
    auto next = by.attributes.begin();
    for (auto* each : *rec.attributes()) {
      auto name = text_of(each->name());
      while (next != by.attributes.end() && (*next)->attribute < name)
        ++next;
      if (next != by.attributes.end() && (*next)->attribute == name) {
        set_attribute(cells[(*next)->slot], *each);
        ++next;
      } else if (by.from.closed) {
        refuse("unknown", name,
               fmt::format("attribute {} is not in the closed schema {}", name, by.from.name));
      }
    }
  }

  // Brings a cell to the type of its field; false and a violation where it is of another.
  bool fits(const compiled_field& field, cell& value) {
    using holds = cell::holds;
    auto wrong = [&](std::string_view wanted) {
      refuse("type", field.rule.name,
             fmt::format("{} {} is {}, {} is expected", field.rule.name, shown(value), kind_name(value.kind),
                         wanted));
      return false;
    };
    switch (field.rule.type) {
    case field_type::any:
      return true;
    case field_type::text:
      return value.kind == holds::text || wrong("a text");
    case field_type::number:
      return value.kind == holds::number || wrong("a number");
    case field_type::integer:
      if (value.kind != holds::number)
        return wrong("a whole number");
      if (value.number == std::trunc(value.number))
        return true;
      refuse("type", field.rule.name,
             fmt::format("{} {} is not a whole number", field.rule.name, value.number));
      return false;
    case field_type::flag:
      return value.kind == holds::flag || wrong("a flag");
    case field_type::list:
      return value.kind == holds::list || wrong("a list");
    case field_type::time: {
      if (value.kind == holds::time)
        return true;
      // These two of an item are numbers by now, whatever they were.
      if (value.kind == holds::number &&
          (field.rule.name == "attributes.expires" || field.rule.name == "attributes.created"))
        if (auto at = epoch_of(value.number)) {
          value.kind = holds::time;
          value.time = micros_of(*at);
          return true;
        }
      if (value.kind != holds::text)
        return wrong("a time");
      auto at = parse_rfc3339(value.text);
      if (!at) {
        refuse("type", field.rule.name,
               fmt::format("{} {} is not a time in RFC 3339", field.rule.name, shown(value.text)));
        return false;
      }
      value.kind = holds::time;
      value.time = micros_of(*at);
      return true;
    }
    }
    return true;
  }

  void hold_field(const compiled_field& field, cell& value, std::span<std::uint64_t> nulls) {
    auto& rule = field.rule;
    if (value.kind == cell::holds::nothing) {
      ++nulls[field.slot];
      if (rule.required)
        refuse("required", rule.name, fmt::format("{} is missing", rule.name));
      return;
    }
    if (!fits(field, value)) {
      value.kind = cell::holds::nothing; // So that no comparison speaks of it again.
      return;
    }
    switch (value.kind) {
    case cell::holds::number:
      return hold_number(rule, value.number);
    case cell::holds::time:
      return hold_time(rule, value.time);
    case cell::holds::text:
      if (rule.min_length || rule.max_length)
        hold_length(rule, characters(value.text), "characters");
      return hold_word(field, value.text);
    case cell::holds::list:
      hold_length(rule, value.list ? value.list->size() : 0, "words");
      if (value.list && (field.pattern || !field.texts.empty()))
        for (auto* word : *value.list)
          hold_word(field, text_of(word));
      return;
    default:
      return;
    }
  }

  void hold_number(const field_rule& rule, double number) {
    if (rule.min && number < *rule.min)
      refuse("range", rule.name, fmt::format("{} {} is below the minimum {}", rule.name, number, *rule.min));
    if (rule.max && number > *rule.max)
      refuse("range", rule.name, fmt::format("{} {} is above the maximum {}", rule.name, number, *rule.max));
    if (auto& set = rule.one_of_numbers;
        !set.empty() && std::find(set.begin(), set.end(), number) == set.end())
      refuse("set", rule.name,
             fmt::format("{} {} is not one of {}", rule.name, number,
                         choices(set, [](double each) { return fmt::format("{}", each); })));
  }

  void hold_time(const field_rule& rule, std::int64_t at) {
    if (rule.min_time && at < micros_of(*rule.min_time))
      refuse("range", rule.name,
             fmt::format("{} {} is before the minimum {}", rule.name, to_rfc3339(from_micros(at)),
                         to_rfc3339(*rule.min_time)));
    if (rule.max_time && at > micros_of(*rule.max_time))
      refuse("range", rule.name,
             fmt::format("{} {} is after the maximum {}", rule.name, to_rfc3339(from_micros(at)),
                         to_rfc3339(*rule.max_time)));
  }

  void hold_length(const field_rule& rule, std::uint64_t length, std::string_view unit) {
    if (rule.min_length && length < *rule.min_length)
      refuse("length", rule.name,
             fmt::format("{} has {} {}, at least {} are needed", rule.name, length, unit, *rule.min_length));
    if (rule.max_length && length > *rule.max_length)
      refuse("length", rule.name,
             fmt::format("{} has {} {}, at most {} are allowed", rule.name, length, unit, *rule.max_length));
  }

  void hold_word(const compiled_field& field, std::string_view word) {
    auto& rule = field.rule;
    if (!field.texts.empty() && !field.texts.contains(word))
      refuse("set", rule.name,
             fmt::format("{} {} is not one of {}", rule.name, shown(word),
                         choices(rule.one_of_texts, [](auto& each) { return shown(each); })));
    if (field.pattern && !RE2::FullMatch({word.data(), word.size()}, *field.pattern))
      refuse("pattern", rule.name,
             fmt::format("{} {} does not match {}", rule.name, shown(word), rule.pattern));
  }

  void hold_compare(const compiled_schema& by, const compiled_compare& each, std::span<const cell> cells) {
    auto& left = cells[each.left];
    auto& right = each.right ? cells[*each.right] : each.constant;
    if (left.kind == cell::holds::nothing || right.kind == cell::holds::nothing)
      return;
    auto right_name = each.right ? by.fields[*each.right]->rule.name + " " : std::string{};
    if (left.kind != right.kind || left.kind == cell::holds::list)
      return refuse("compare", each.rule.left,
                    fmt::format("{} is {} and {}is {}: they cannot be compared", each.rule.left,
                                kind_name(left.kind), right_name, kind_name(right.kind)));
    int order = left.kind == cell::holds::text ? left.text.compare(right.text)
                : left.kind == cell::holds::time
                    ? (left.time < right.time ? -1 : left.time > right.time)
                    : (left.number < right.number ? -1 : left.number > right.number);
    bool holds = false;
    switch (each.rule.op) {
    case compare_op::less:
      holds = order < 0;
      break;
    case compare_op::less_equal:
      holds = order <= 0;
      break;
    case compare_op::equal:
      holds = order == 0;
      break;
    case compare_op::not_equal:
      holds = order != 0;
      break;
    case compare_op::greater_equal:
      holds = order >= 0;
      break;
    case compare_op::greater:
      holds = order > 0;
      break;
    }
    if (!holds)
      refuse("compare", each.rule.left,
             fmt::format("{} {} is not {} {}{}", each.rule.left, shown(left), to_string(each.rule.op),
                         right_name, shown(right)));
  }

  validation& out_;
  batch_place place_;
  unique_claims claims_;
  std::vector<std::uint32_t> places_;
  std::uint32_t row_ = 0;
  bool good_ = true;
};

} // namespace

struct rule_book::state {
  std::vector<schema> schemas;
  std::vector<std::unique_ptr<compiled_schema>> plans;
  std::size_t most_fields = 0;
  bool unique = false;

  const compiled_schema* find(wire::RecordKind kind, std::string_view type) const noexcept {
    const compiled_schema* any = nullptr;
    for (auto& each : plans)
      if (static_cast<wire::RecordKind>(each->from.kind) == kind) {
        if (!each->from.type)
          any = each.get();
        else if (*each->from.type == type)
          return each.get();
      }
    return any;
  }
};

rule_book::rule_book() : state_{std::make_unique<state>()} {}
rule_book::rule_book(std::unique_ptr<state> made) : state_{std::move(made)} {}
rule_book::~rule_book() = default;
rule_book::rule_book(rule_book&&) noexcept = default;
rule_book& rule_book::operator=(rule_book&&) noexcept = default;

expected<rule_book> rule_book::compile(std::vector<schema> schemas) {
  auto made = std::make_unique<state>();
  for (auto& each : schemas) {
    for (auto& other : made->plans)
      if (other->from.kind == each.kind && other->from.type == each.type)
        return fail(ec::invalid_argument, "schemas {} and {} are for the same records: {}{}{}",
                    other->from.name, each.name, to_string(each.kind), each.type ? " " : "",
                    each.type.value_or(""));
    made->plans.push_back(validator::compile(each));
    made->most_fields = std::max(made->most_fields, made->plans.back()->fields.size());
    made->unique |= !made->plans.back()->unique.empty();
  }
  made->schemas = std::move(schemas);
  return rule_book{std::move(made)};
}

expected<validation> rule_book::validate(const batch& rows, batch_place place, unique_index* index) const {
  validation out;
  out.refused.resize(rows.size());
  judging in{out, place};
  std::vector<cell> cells(state_->most_fields);
  // Per plan: records seen, then nulls by field.
  std::vector<std::vector<std::uint64_t>> nulls(state_->plans.size());
  const compiled_schema* by = nullptr;
  const flatbuffers::String* last_type = nullptr;
  auto last_kind = wire::RecordKind::event;
  std::uint64_t* seen = nullptr;
  std::span<std::uint64_t> plan_nulls;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto& rec = rows[i];
    in.begin(static_cast<std::uint32_t>(i));
    in.hold_against_log(rec);
    // Records of a batch mostly share the bytes of their type.
    if (i == 0 || rec.type() != last_type || rec.kind() != last_kind) {
      last_type = rec.type();
      last_kind = rec.kind();
      by = state_->find(last_kind, text_of(last_type));
      if (by) {
        auto at = std::find_if(state_->plans.begin(), state_->plans.end(),
                               [&](auto& each) { return each.get() == by; });
        auto& counts = nulls[static_cast<std::size_t>(at - state_->plans.begin())];
        if (counts.empty())
          counts.resize(by->fields.size() + 1);
        seen = counts.data();
        plan_nulls = std::span{counts}.subspan(1);
      }
    }
    if (in.good())
      in.hold_against_clock(by, rec);
    if (!by || !in.good()) // A record the log cannot take is not worth more words.
      continue;
    ++*seen;
    std::span<cell> used{cells.data(), by->fields.size()};
    in.hold_against(*by, rec, used, plan_nulls);
    if (in.good() && index && !by->unique.empty())
      in.claim(*by, rec, used);
  }
  if (index) {
    TROUPE_CHECK(in.settle(*index));
    std::stable_sort(out.lines.begin(), out.lines.end(),
                     [](auto& a, auto& b) { return a.record < b.record; });
  }
  for (auto& each : out.lines)
    if (!out.refused[each.record]) {
      out.refused[each.record] = true;
      ++out.refused_records;
    }
  for (std::size_t i = 0; i < nulls.size(); ++i)
    if (auto& made = *state_->plans[i]; made.counts_nulls && !nulls[i].empty())
      for (auto& field : made.fields)
        if (auto rate = static_cast<double>(nulls[i][field->slot + 1]) /
                        static_cast<double>(std::max<std::uint64_t>(1, nulls[i][0]));
            field->rule.max_null_rate && rate > *field->rule.max_null_rate)
          out.nulls.push_back({made.from.name, field->rule.name, rate, *field->rule.max_null_rate});
  return out;
}

bool rule_book::has_unique() const noexcept {
  return state_->unique;
}

const std::vector<schema>& rule_book::schemas() const noexcept {
  return state_->schemas;
}

} // namespace troupe::validator
