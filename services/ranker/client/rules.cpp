#include "services/ranker/client/rules.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <set>
#include <type_traits>

namespace troupe::ranker {

namespace {

constexpr std::array<std::string_view, candidate_source_count> source_names{
    "nearest", "item-to-item", "trending", "recent", "popular", "request", "attributes", "pinned"};
constexpr std::size_t sources_of_rules = 5; // The first so many can be asked for.

/// The keys of one table; what is read is ticked off, so that what is left is unknown.
class section {
public:
  section(const toml::table& from, std::string where, std::string_view origin)
      : from_{from}, where_{std::move(where)}, origin_{origin} {}

  template <class T>
  expected<std::optional<T>> take(std::string_view key, std::string_view type) {
    known_.emplace(key);
    auto* node = from_.get(key);
    if (!node)
      return std::optional<T>{};
    // Exactly: a number is no flag. A whole number is a number, though.
    auto value = std::is_same_v<T, double> ? node->value<T>() : node->value_exact<T>();
    if (!value)
      return wrong(key, fmt::format("must be a {}", type));
    return std::optional<T>{*value};
  }

  expected<double> number(std::string_view key, double standard, double least, double most) {
    TROUPE_TRY(got, take<double>(key, "number"));
    auto value = got.value_or(standard);
    if (!(value >= least && value <= most))
      return wrong(key, fmt::format("is {}, allowed is {} to {}", value, least, most));
    return value;
  }

  expected<std::string> text(std::string_view key, bool required) {
    TROUPE_TRY(got, take<std::string>(key, "text"));
    if (required && (!got || got->empty()))
      return wrong(key, "is missing");
    return got.value_or("");
  }

  const toml::node* node(std::string_view key) {
    known_.emplace(key);
    return from_.get(key);
  }

  expected<void> done() const {
    for (auto& [key, value] : from_)
      if (!known_.contains(key.str()))
        return wrong(key.str(), "is unknown");
    return {};
  }

  unexpected<error> wrong(std::string_view key, std::string why) const {
    return fail(ec::invalid_argument, "cannot read rules {}: {}{}{} {}", origin_, where_,
                where_.empty() ? "" : ".", key, why);
  }

private:
  const toml::table& from_;
  std::string where_;
  std::string_view origin_;
  std::set<std::string, std::less<>> known_;
};

expected<attribute_predicate> read_predicate(section& in) {
  attribute_predicate out;
  TROUPE_TRY(attribute, in.text("attribute", true));
  TROUPE_TRY(op, in.text("op", false));
  TROUPE_TRY(negated, in.take<bool>("not", "flag"));
  TROUPE_TRY(text, in.text("text", false));
  TROUPE_TRY(number, in.take<double>("number", "number"));
  out.attribute = attribute;
  out.negated = negated.value_or(false);
  out.text = text;
  out.number = number.value_or(0);
  if (auto* node = in.node("list")) {
    auto* list = node->as_array();
    for (std::size_t i = 0; list && i < list->size(); ++i)
      if (auto word = (*list)[i].value<std::string>())
        out.list.push_back(*word);
    if (!list || out.list.size() != list->size())
      return in.wrong("list", "must be a list of texts");
  }
  if (op.empty() || op == "equals")
    out.op = predicate_op::equals;
  else if (op == "contains")
    out.op = predicate_op::contains;
  else if (op == "at_least")
    out.op = predicate_op::at_least;
  else if (op == "at_most")
    out.op = predicate_op::at_most;
  else if (op == "one_of")
    out.op = predicate_op::one_of;
  else
    return in.wrong("op", fmt::format("is {}, allowed are equals, contains, at_least, at_most, one_of", op));
  if ((out.op == predicate_op::at_least || out.op == predicate_op::at_most) && !number)
    return in.wrong("number", "is missing");
  if (out.op == predicate_op::contains && out.text.empty())
    return in.wrong("text", "is missing");
  if (out.op == predicate_op::one_of && out.list.empty())
    return in.wrong("list", "is missing");
  return out;
}

expected<rule> read_rule(const toml::table& table, std::string where, std::string_view origin) {
  section in{table, std::move(where), origin};
  rule out;
  TROUPE_TRY(kind, in.text("kind", true));
  TROUPE_TRY(name, in.text("name", false));
  out.name = name.empty() ? kind : name;
  if (kind == "pin") {
    out.kind = rule_kind::pin;
    TROUPE_TRY(item, in.text("item", true));
    TROUPE_TRY(position, in.number("position", 1, 1, 1000));
    out.item = item;
    out.position = static_cast<std::uint32_t>(position) - 1;
  } else if (kind == "filter" || kind == "boost" || kind == "cap") {
    TROUPE_TRY(when, read_predicate(in));
    out.when = when;
    if (kind == "boost") {
      out.kind = rule_kind::boost;
      TROUPE_TRY(amount, in.number("amount", 1, -100, 100));
      out.amount = amount;
    } else if (kind == "cap") {
      out.kind = rule_kind::cap;
      TROUPE_TRY(most, in.number("most", 1, 0, 1000));
      out.most = static_cast<std::uint32_t>(most);
    }
  } else {
    return in.wrong("kind", fmt::format("is {}, allowed are filter, boost, pin, cap", kind));
  }
  TROUPE_CHECK(in.done());
  return out;
}

bool same(const attribute_value& value, const attribute_predicate& by) {
  if (auto* text = std::get_if<std::string>(&value))
    return *text == by.text;
  if (auto* number = std::get_if<double>(&value))
    return *number == by.number;
  if (auto* flag = std::get_if<bool>(&value))
    return *flag == (by.number != 0);
  auto& list = std::get<text_list>(value);
  return by.list.empty() ? list == text_list{by.text} : list == by.list;
}

bool has(const attribute_value& value, const std::string& word) {
  if (auto* text = std::get_if<std::string>(&value))
    return text->find(word) != std::string::npos;
  if (auto* list = std::get_if<text_list>(&value))
    return std::find(list->begin(), list->end(), word) != list->end();
  return false;
}

} // namespace

std::string_view to_string(candidate_source source) noexcept {
  return source_names.at(static_cast<std::size_t>(source));
}

bool attribute_predicate::holds(const attribute_value* value) const {
  auto met = [&] {
    if (!value)
      return false;
    auto* real = std::get_if<double>(value);
    switch (op) {
    case predicate_op::equals:
      return same(*value, *this);
    case predicate_op::contains:
      return has(*value, text);
    case predicate_op::at_least:
      return real && *real >= number;
    case predicate_op::at_most:
      return real && *real <= number;
    case predicate_op::one_of:
      return std::any_of(list.begin(), list.end(), [&](auto& word) {
        auto* whole = std::get_if<std::string>(value);
        return whole ? *whole == word : has(*value, word);
      });
    }
    return false;
  };
  return met() != negated;
}

const std::vector<std::string>& basic_item_features() {
  static const std::vector<std::string> names{"item_card.title",   "item_card.genres",  "item_card.hidden",
                                              "item_card.expires", "item_card.created", "item_trend.decayed"};
  return names;
}

std::vector<std::string> readable_attributes(const std::vector<std::string>& item_features) {
  std::set<std::string> names;
  for (auto* list : {&basic_item_features(), &item_features})
    for (auto& each : *list)
      names.insert(each.substr(each.find('.') + 1));
  return {names.begin(), names.end()};
}

expected<void> check_readable(const std::string& attribute, const std::vector<std::string>& readable) {
  if (std::find(readable.begin(), readable.end(), attribute) != readable.end())
    return {};
  return fail(ec::invalid_argument,
              "nothing reads attribute '{}' of items; what is read: {} (the ranker's setting item_features "
              "adds to it)",
              attribute, fmt::join(readable, ", "));
}

expected<void> check_readable(const ruleset& rules, const std::vector<std::string>& readable) {
  for (std::size_t i = 0; i < rules.rules.size(); ++i) {
    auto& each = rules.rules[i];
    if (each.kind == rule_kind::pin)
      continue;
    if (auto known = check_readable(each.when.attribute, readable); !known)
      return with_context(fmt::format("checking rule[{}] ({})", i, each.name), known.error());
  }
  if (rules.mmr > 0)
    if (auto known = check_readable(rules.diversity_attribute, readable); !known)
      return with_context("checking diversity.attribute", known.error());
  return {};
}

expected<ruleset> parse_rules(std::string_view text, std::string_view origin) {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& problem) {
    return fail(ec::invalid_argument, "cannot read rules {}: line {}: {}", origin,
                problem.source().begin.line, problem.description());
  }
  ruleset out;
  section top{table, "", origin};
  auto sub = [&](std::string_view key) -> expected<const toml::table*> {
    auto* node = top.node(key);
    if (node && !node->is_table())
      return top.wrong(key, "must be a table");
    return node ? node->as_table() : nullptr;
  };
  TROUPE_TRY(candidates, sub("candidates"));
  if (candidates) {
    section in{*candidates, "candidates", origin};
    if (auto* node = in.node("sources")) {
      auto* list = node->as_array();
      if (!list)
        return in.wrong("sources", "must be a list of tables");
      out.sources.clear();
      for (std::size_t i = 0; i < list->size(); ++i) {
        auto* one = (*list)[i].as_table();
        if (!one)
          return in.wrong("sources", "must be a list of tables");
        section from{*one, fmt::format("candidates.sources[{}]", i), origin};
        TROUPE_TRY(name, from.text("name", true));
        TROUPE_TRY(n, from.number("n", 100, 1, 10'000));
        TROUPE_CHECK(from.done());
        auto* last = source_names.begin() + sources_of_rules;
        auto* found = std::find(source_names.begin(), last, name);
        if (found == last)
          return from.wrong(
              "name",
              fmt::format("is {}, allowed are nearest, item-to-item, trending, recent, popular", name));
        out.sources.push_back(
            {static_cast<candidate_source>(found - source_names.begin()), static_cast<std::uint32_t>(n)});
      }
    }
    TROUPE_TRY(rerank, in.number("rerank", 0, 0, 10'000));
    out.rerank = static_cast<std::uint32_t>(rerank);
    TROUPE_CHECK(in.done());
  }
  TROUPE_TRY(seen, sub("seen"));
  if (seen) {
    section in{*seen, "seen", origin};
    TROUPE_TRY(filter, in.take<bool>("filter", "flag"));
    TROUPE_CHECK(in.done());
    out.filter_seen = filter.value_or(true);
  }
  TROUPE_TRY(diversity, sub("diversity"));
  if (diversity) {
    section in{*diversity, "diversity", origin};
    TROUPE_TRY(mmr, in.number("mmr", 0, 0, 1));
    TROUPE_TRY(attribute, in.text("attribute", false));
    TROUPE_CHECK(in.done());
    out.mmr = mmr;
    if (!attribute.empty())
      out.diversity_attribute = attribute;
  }
  TROUPE_TRY(exploration, sub("exploration"));
  if (exploration) {
    section in{*exploration, "exploration", origin};
    TROUPE_TRY(kind, in.text("kind", false));
    if (!kind.empty() && kind != "epsilon")
      return in.wrong("kind", fmt::format("is {}, allowed is epsilon", kind));
    TROUPE_TRY(share, in.number("share", 0, 0, 1));
    TROUPE_TRY(among, in.number("among", 50, 1, 1000));
    TROUPE_CHECK(in.done());
    out.exploration = share;
    out.explore_among = static_cast<std::uint32_t>(among);
  }
  if (auto* node = top.node("rule")) {
    auto* list = node->as_array();
    if (!list)
      return top.wrong("rule", "must be a list of tables: [[rule]]");
    for (std::size_t i = 0; i < list->size(); ++i) {
      auto* one = (*list)[i].as_table();
      if (!one)
        return top.wrong("rule", "must be a list of tables: [[rule]]");
      TROUPE_TRY(made, read_rule(*one, fmt::format("rule[{}]", i), origin));
      out.rules.push_back(made);
    }
  }
  TROUPE_CHECK(top.done());
  return out;
}

} // namespace troupe::ranker
