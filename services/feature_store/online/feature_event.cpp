#include "services/feature_store/online/feature_event.hpp"

#include "services/feature_store/operators/operator.hpp"

#include "common/core/hash.hpp"
#include "common/event/slate.hpp"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace troupe::feature_store {

namespace {

const wire::Attribute* find(const feature_event& from, std::string_view name) {
  if (!from.attributes)
    return nullptr;
  for (auto* each : *from.attributes)
    if (troupe::text_of(each->name()) == name)
      return each;
  return nullptr;
}

/// What the context of an impression says beside its attributes: the place of its item in the slate.
std::optional<double> shown_number(const feature_event& from, std::string_view name) {
  if (!from.shown)
    return std::nullopt;
  if (name == shown_attribute::propensity)
    return from.shown->propensity();
  if (name == shown_attribute::position && from.shown->position() != 0)
    return from.shown->position();
  return std::nullopt;
}

std::string_view plain_text(const feature_event& from, field::part part) {
  switch (part) {
  case field::part::item:
    return from.item;
  case field::part::user:
    return from.user;
  case field::part::type:
    return from.type;
  default:
    return {};
  }
}

std::string number_text(double number) {
  return fmt::format("{}", number);
}

} // namespace

feature_event feature_event_of(const wire::Record& rec, std::uint32_t partition, std::uint64_t offset) {
  feature_event out;
  bool slate = rec.kind() == wire::RecordKind::slate;
  out.kind = slate ? record_kind::event : static_cast<record_kind>(rec.kind());
  out.type = troupe::text_of(rec.type());
  out.user = troupe::text_of(rec.user());
  out.item = troupe::text_of(rec.item());
  out.event_time = rec.event_time();
  out.ingest_time = rec.ingest_time();
  if (auto value = rec.value())
    out.value = *value;
  out.attributes = rec.attributes();
  out.partition = partition;
  out.offset = offset;
  out.replaces = out.kind != record_kind::event && (rec.untimed() || deletes(out));
  return out;
}

std::string_view entity_of(const feature_view& view, const feature_event& from) noexcept {
  if (from.kind == record_kind::event)
    return view.has_source(from.type) ? from.entity(view.entity) : std::string_view{};
  bool same = (from.kind == record_kind::user) == (view.entity == entity_kind::user);
  if (!same)
    return {};
  for (auto& each : view.features)
    if (each.op->of_entity())
      return from.entity(view.entity);
  return {};
}

std::optional<double> number_of(const feature_event& from, const field& what) {
  if (what.of == field::part::value)
    return from.value;
  std::string_view text;
  if (what.of == field::part::context) {
    if (auto number = shown_number(from, what.name))
      return number;
    auto* each = find(from, what.name);
    if (!each)
      return std::nullopt;
    if (each->kind() == wire::ValueKind::number || each->kind() == wire::ValueKind::flag)
      return each->number();
    text = troupe::text_of(each->text());
  } else {
    text = plain_text(from, what.of);
  }
  double number = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{} || end != text.data() + text.size() || !std::isfinite(number))
    return std::nullopt;
  return number;
}

std::optional<std::string> text_of(const feature_event& from, const field& what) {
  if (what.of == field::part::value) {
    if (from.value)
      return number_text(*from.value);
    return std::nullopt;
  }
  if (what.of != field::part::context) {
    auto text = plain_text(from, what.of);
    if (text.empty())
      return std::nullopt;
    return std::string{text};
  }
  if (auto number = shown_number(from, what.name))
    return number_text(*number);
  auto* each = find(from, what.name);
  if (!each)
    return std::nullopt;
  switch (each->kind()) {
  case wire::ValueKind::number:
    return number_text(each->number());
  case wire::ValueKind::flag:
    return std::string{each->number() != 0 ? "true" : "false"};
  case wire::ValueKind::list: {
    std::string joined;
    if (each->list())
      for (std::uint32_t i = 0; i < each->list()->size(); ++i)
        joined.append(i ? "|" : "").append(troupe::text_of(each->list()->Get(i)));
    return joined;
  }
  default:
    return std::string{troupe::text_of(each->text())};
  }
}

std::optional<text_list> list_of(const feature_event& from, const field& what) {
  if (what.of == field::part::context)
    if (auto* each = find(from, what.name); each && each->kind() == wire::ValueKind::list) {
      text_list words;
      if (each->list())
        for (auto* word : *each->list())
          words.emplace_back(troupe::text_of(word));
      return words;
    }
  auto text = text_of(from, what);
  if (!text)
    return std::nullopt;
  return text_list{std::move(*text)};
}

bool deletes(const feature_event& from) {
  auto* each = find(from, "deleted");
  if (!each)
    return false;
  if (each->kind() == wire::ValueKind::number || each->kind() == wire::ValueKind::flag)
    return each->number() != 0;
  return read_flag(troupe::text_of(each->text())).value_or(false); // In records of before flags were read.
}

std::string attributes_json(const feature_event& from) {
  if (deletes(from))
    return {};
  auto quoted = [](std::string_view text) { return boost::json::serialize(boost::json::string{text}); };
  std::string out = "{";
  for (std::uint32_t i = 0; from.attributes && i < from.attributes->size(); ++i) {
    auto* each = from.attributes->Get(i);
    auto name = troupe::text_of(each->name());
    if (name == "deleted")
      continue;
    out += (out.size() > 1 ? "," : "") + quoted(name) + ":";
    switch (each->kind()) {
    case wire::ValueKind::number:
      out += number_text(each->number());
      break;
    case wire::ValueKind::flag:
      out += each->number() != 0 ? "true" : "false";
      break;
    case wire::ValueKind::list: {
      out += '[';
      for (std::uint32_t w = 0; each->list() && w < each->list()->size(); ++w)
        out += (w ? "," : "") + quoted(troupe::text_of(each->list()->Get(w)));
      out += ']';
      break;
    }
    default:
      out += quoted(troupe::text_of(each->text()));
    }
  }
  return out += '}';
}

bool holds(const feature_event& from, const field_predicate& rule) {
  if (auto text = std::get_if<std::string>(&rule.equals)) {
    if (rule.what.of != field::part::context && rule.what.of != field::part::value)
      return plain_text(from, rule.what.of) == *text;
    if (rule.what.of == field::part::context)
      if (auto* each = find(from, rule.what.name); each && each->kind() == wire::ValueKind::text)
        return troupe::text_of(each->text()) == *text;
    return text_of(from, rule.what) == *text;
  }
  auto number = number_of(from, rule.what);
  if (auto flag = std::get_if<bool>(&rule.equals)) {
    if (!number) {
      auto word = text_of(from, rule.what);
      return word && *word == (*flag ? "true" : "false");
    }
    return (*number != 0) == *flag;
  }
  return number == std::get<double>(rule.equals);
}

void add_hashes(const feature_event& from, const field& what, std::vector<std::uint64_t>& out) {
  if (what.of == field::part::item || what.of == field::part::user || what.of == field::part::type) {
    if (auto text = plain_text(from, what.of); !text.empty())
      out.push_back(hash64(text));
    return;
  }
  if (auto words = list_of(from, what))
    for (auto& word : *words)
      out.push_back(hash64(word));
}

} // namespace troupe::feature_store
