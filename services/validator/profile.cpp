#include "services/validator/profile.hpp"

#include "services/validator/cell.hpp"

#include "common/core/hash.hpp"
#include "common/core/time.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::validator {

namespace {

constexpr std::string_view magic = "TRPP";
constexpr std::uint8_t format_version = 1;

enum core_column : std::size_t { id, user, item, event_time, value, request_id };

void add_to(std::unique_ptr<number_summary>& summary, double number) {
  if (!summary)
    summary = std::make_unique<number_summary>();
  summary->add(number);
}

bool has_top(std::string_view name) noexcept {
  return name != "id" && name != "request_id" && name != "event_time";
}

// A kept value starts with its kind: t(ext), n(umber), f(lag).
void add_text_value(column_profile& to, std::string_view text, bool top) {
  auto hash = hash64(text);
  to.distinct.add(hash);
  if (top) {
    std::array<char, sketch::top_values::longest> kept;
    kept[0] = 't';
    auto size = std::min(text.size(), kept.size() - 1);
    std::copy_n(text.data(), size, kept.data() + 1);
    to.top.add(hash, {kept.data(), size + 1});
  }
}

std::uint64_t hash_of(double number) noexcept {
  number = number == 0 ? 0 : number; // -0 and 0 are one value.
  return hash64(byte_view{reinterpret_cast<const std::byte*>(&number), sizeof number}, 1);
}

void add_number(column_profile& to, double number, bool top = true) {
  ++to.present;
  ++to.numbers;
  to.integers += number == std::trunc(number) ? 1 : 0;
  auto hash = hash_of(number);
  to.distinct.add(hash);
  if (top) {
    std::array<char, 9> kept{'n'};
    std::copy_n(reinterpret_cast<const char*>(&number), sizeof number, kept.data() + 1);
    to.top.add(hash, {kept.data(), kept.size()});
  }
  add_to(to.values, number);
}

bool may_be_time(std::string_view text) noexcept {
  return text.size() >= 10 && text.size() <= 40 && text[4] == '-' && text[7] == '-';
}

void add_text(column_profile& to, std::string_view text, bool top, bool may_hold_time) {
  ++to.present;
  ++to.texts;
  add_text_value(to, text, top);
  add_to(to.lengths, static_cast<double>(characters(text)));
  if (may_hold_time && may_be_time(text))
    if (auto at = parse_rfc3339(text)) {
      ++to.times;
      add_to(to.values, static_cast<double>(micros_of(*at)));
    }
}

void add_time(column_profile& to, std::int64_t micros) {
  ++to.present;
  ++to.times;
  to.distinct.add(hash64(byte_view{reinterpret_cast<const std::byte*>(&micros), sizeof micros}, 2));
  add_to(to.values, static_cast<double>(micros));
}

void add_attribute(column_profile& to, const wire::Attribute& from) {
  switch (from.kind()) {
  case wire::ValueKind::number:
    if (std::isfinite(from.number()))
      add_number(to, from.number());
    return;
  case wire::ValueKind::flag: {
    ++to.present;
    ++to.flags;
    bool set = from.number() != 0;
    to.distinct.add(hash_of(set ? 1 : 0));
    to.top.add(hash_of(set ? 1 : 0), set ? "f1" : "f0");
    return;
  }
  case wire::ValueKind::list:
    ++to.present;
    ++to.lists;
    if (from.list())
      for (auto* word : *from.list())
        add_text_value(to, text_of(word), true);
    add_to(to.lengths, from.list() ? from.list()->size() : 0);
    return;
  default:
    add_text(to, text_of(from.text()), true, true);
  }
}

void save_summary(store::encoder& out, const std::unique_ptr<number_summary>& from) {
  out.octet(from ? 1 : 0);
  if (!from)
    return;
  out.whole(from->count);
  for (auto each : {from->least, from->greatest, from->mean, from->squares})
    out.real(each);
  from->quantiles.save(out);
  from->bins.save(out);
}

std::unique_ptr<number_summary> load_summary(store::decoder& in) {
  if (in.octet() == 0)
    return nullptr;
  auto to = std::make_unique<number_summary>();
  to->count = in.whole();
  for (auto* each : {&to->least, &to->greatest, &to->mean, &to->squares})
    *each = in.real();
  if (!std::isfinite(to->least) || !std::isfinite(to->greatest)) // Moments may have overflowed.
    in.give_up();
  to->quantiles = sketch::quantiles::load(in);
  to->bins = sketch::histogram::load(in);
  return to;
}

void save_column(store::encoder& out, const column_profile& from) {
  out.text(from.name);
  for (auto each :
       {from.present, from.texts, from.numbers, from.flags, from.lists, from.times, from.integers})
    out.whole(each);
  from.distinct.save(out);
  from.top.save(out);
  save_summary(out, from.values);
  save_summary(out, from.lengths);
}

column_profile load_column(store::decoder& in) {
  column_profile to;
  to.name = in.text();
  for (auto* each : {&to.present, &to.texts, &to.numbers, &to.flags, &to.lists, &to.times, &to.integers})
    *each = in.whole();
  to.distinct = sketch::distinct::load(in);
  to.top = sketch::top_values::load(in);
  to.values = load_summary(in);
  to.lengths = load_summary(in);
  return to;
}

} // namespace

void number_summary::add(double number) {
  least = count == 0 ? number : std::min(least, number);
  greatest = count == 0 ? number : std::max(greatest, number);
  ++count;
  auto distance = number - mean;
  mean += distance / static_cast<double>(count);
  squares += distance * (number - mean);
  quantiles.add(number);
  bins.add(number);
}

void number_summary::merge(const number_summary& other) {
  if (other.count == 0)
    return;
  if (count == 0) {
    *this = other;
    return;
  }
  least = std::min(least, other.least);
  greatest = std::max(greatest, other.greatest);
  auto ours = static_cast<double>(count), theirs = static_cast<double>(other.count), both = ours + theirs;
  auto distance = other.mean - mean;
  mean += distance * theirs / both;
  squares += other.squares + distance * distance * ours * theirs / both;
  count += other.count;
  quantiles.merge(other.quantiles);
  bins.merge(other.bins);
}

double number_summary::deviation() const noexcept {
  return count == 0 ? 0 : std::sqrt(std::max(0.0, squares) / static_cast<double>(count));
}

void column_profile::merge(const column_profile& other) {
  present += other.present;
  texts += other.texts;
  numbers += other.numbers;
  flags += other.flags;
  lists += other.lists;
  times += other.times;
  integers += other.integers;
  distinct.merge(other.distinct);
  top.merge(other.top);
  auto merge_summary = [](auto& to, auto& from) {
    if (!from)
      return;
    if (!to)
      to = std::make_unique<number_summary>();
    to->merge(*from);
  };
  merge_summary(values, other.values);
  merge_summary(lengths, other.lengths);
}

profile::group* profile::group_of(record_kind kind, std::string_view type) {
  if (last_ && last_->kind == kind && last_->type == type)
    return last_;
  auto at =
      std::lower_bound(groups_.begin(), groups_.end(), std::pair{kind, type}, [](auto& each, auto& key) {
        return each->kind != key.first ? each->kind < key.first : each->type < key.second;
      });
  if (at == groups_.end() || (*at)->kind != kind || (*at)->type != type) {
    if (groups_.size() == most_groups)
      return nullptr;
    auto made = std::make_unique<group>();
    made->kind = kind;
    made->type = type;
    for (std::size_t i = 0; i < core_names.size(); ++i)
      made->core[i].name = core_names[i];
    made->shown[0].name = "position";
    made->shown[1].name = "propensity";
    at = groups_.insert(at, std::move(made));
  }
  return last_ = at->get();
}

// Records of one type mostly hold the same attributes, so the column after the last one is the first guess.
column_profile* profile::other_of(group& in, std::string_view name, std::size_t hint) {
  auto& all = in.others;
  if (hint < all.size() && all[hint].name == name)
    return &all[hint];
  auto at =
      std::lower_bound(all.begin(), all.end(), name, [](auto& each, auto& key) { return each.name < key; });
  if (at == all.end() || at->name != name) {
    if (all.size() == most_columns)
      return nullptr;
    at = all.emplace(at);
    at->name = name;
  }
  return &*at;
}

void profile::add(const wire::Record& rec) {
  ++rows_;
  auto kind = static_cast<record_kind>(rec.kind());
  auto* to = group_of(kind, kind == record_kind::event ? text_of(rec.type()) : std::string_view{});
  if (!to) {
    ++left_out_;
    return;
  }
  ++to->rows;
  for (auto [column, text] :
       {std::pair{id, rec.id()}, {user, rec.user()}, {item, rec.item()}, {request_id, rec.request_id()}})
    if (text && text->size() > 0)
      add_text(to->core[column], text_of(text), has_top(core_names[column]), false);
  add_time(to->core[event_time], rec.event_time());
  if (auto number = rec.value(); number && std::isfinite(*number))
    add_number(to->core[value], *number);
  if (rec.shown())
    for (auto* each : *rec.shown()) {
      add_text(to->core[item], text_of(each->item()), true, false);
      if (each->position() != 0)
        add_number(to->shown[0], each->position());
      add_number(to->shown[1], each->propensity());
    }
  if (!rec.attributes())
    return;
  std::size_t hint = 0;
  for (auto* each : *rec.attributes()) {
    auto* column = other_of(*to, text_of(each->name()), hint);
    if (column) {
      add_attribute(*column, *each);
      hint = static_cast<std::size_t>(column - to->others.data()) + 1;
    } else {
      ++left_out_;
    }
  }
}

void profile::add_refused(std::string_view rule, std::uint64_t times) {
  auto at = refused_.find(rule);
  if (at == refused_.end())
    at = refused_.emplace(rule, 0).first;
  at->second += times;
}

void profile::merge(const profile& other) {
  rows_ += other.rows_;
  left_out_ += other.left_out_;
  for (auto& [rule, times] : other.refused_)
    add_refused(rule, times);
  for (auto& from : other.groups_) {
    auto* to = group_of(from->kind, from->type);
    if (!to) {
      left_out_ += from->rows;
      continue;
    }
    to->rows += from->rows;
    for (std::size_t i = 0; i < core_names.size(); ++i)
      to->core[i].merge(from->core[i]);
    for (std::size_t i = 0; i < to->shown.size(); ++i)
      to->shown[i].merge(from->shown[i]);
    for (auto& each : from->others)
      if (auto* column = other_of(*to, each.name, 0))
        column->merge(each);
      else
        left_out_ += each.present;
  }
}

std::string profile::save() const {
  store::encoder out;
  out.raw(magic);
  out.octet(format_version);
  out.whole(rows_);
  out.whole(left_out_);
  out.whole(refused_.size());
  for (auto& [rule, times] : refused_) {
    out.text(rule);
    out.whole(times);
  }
  out.whole(groups_.size());
  for (auto& each : groups_) {
    out.octet(static_cast<std::uint8_t>(each->kind));
    out.text(each->type);
    out.whole(each->rows);
    for (auto& column : each->core)
      save_column(out, column);
    if (each->kind == record_kind::slate)
      for (auto& column : each->shown)
        save_column(out, column);
    out.whole(each->others.size());
    for (auto& column : each->others)
      save_column(out, column);
  }
  out.fixed(hash64(out.bytes()));
  return out.take();
}

bool profile::looks_like(std::string_view bytes) noexcept {
  return bytes.substr(0, magic.size()) == magic;
}

expected<profile> profile::load(std::string_view bytes) {
  if (!looks_like(bytes) || bytes.size() < magic.size() + 9)
    return fail(ec::corrupt, "{} bytes are not a stored profile", bytes.size());
  if (auto version = static_cast<std::uint8_t>(bytes[magic.size()]); version != format_version)
    return fail(ec::unsupported_version, "the profile has format {}, this program reads {}", version,
                format_version);
  auto body = bytes.substr(0, bytes.size() - 8);
  if (hash64(body) != store::decoder{bytes.substr(body.size())}.fixed())
    return fail(ec::corrupt, "the stored profile of {} bytes fails its check sum", bytes.size());
  store::decoder in{body.substr(magic.size() + 1)};
  profile to;
  to.rows_ = in.whole();
  to.left_out_ = in.whole();
  for (auto left = in.count_of(2); left > 0 && in.ok(); --left) {
    auto rule = in.text();
    to.refused_.emplace(rule, in.whole());
  }
  auto groups = in.count_of(3);
  for (std::size_t i = 0; i < groups && in.ok(); ++i) {
    auto kind = in.octet();
    auto type = in.text();
    auto* each = kind <= 3 ? to.group_of(static_cast<record_kind>(kind), type) : nullptr;
    if (!each)
      return fail(ec::corrupt, "the stored profile names record kind {} or too many types", kind);
    each->rows = in.whole();
    for (auto& column : each->core)
      column = load_column(in);
    if (each->kind == record_kind::slate)
      for (auto& column : each->shown)
        column = load_column(in);
    for (auto left = std::min(in.count_of(1), most_columns); left > 0 && in.ok(); --left)
      each->others.push_back(load_column(in));
  }
  if (!in.ok() || !in.done())
    return fail(ec::corrupt, "the stored profile of {} bytes is malformed", bytes.size());
  return to;
}

} // namespace troupe::validator
