#include "services/registry/gate.hpp"

#include "common/core/file.hpp"

#include <fnmatch.h>
#include <toml++/toml.h>

#include <algorithm>

namespace troupe::registry {

namespace json = boost::json;

namespace {

unexpected<error> wrong(std::string_view name, const toml::node& at, std::string_view what) {
  return fail(ec::invalid_argument, "{}:{}: {}", name, at.source().begin.line, what);
}

expected<void> read_key(gate::check& to, std::string_view key, const toml::node& node,
                        std::string_view name) {
  auto text = [&](std::string& target) -> expected<void> {
    if (auto value = node.value<std::string>(); value && !value->empty()) {
      target = *value;
      return {};
    }
    return wrong(name, node, fmt::format("{} must be a text", key));
  };
  if (key == "model")
    return text(to.model);
  if (key == "metric")
    return text(to.metric);
  if (key == "against")
    return text(to.against);
  if (key == "better") {
    std::string better;
    TROUPE_CHECK(text(better));
    if (better != "higher" && better != "lower")
      return wrong(name, node, "better must be \"higher\" or \"lower\"");
    to.lower_is_better = better == "lower";
    return {};
  }
  auto number = node.value<double>();
  if (key != "at_least" && key != "at_most" && key != "within")
    return wrong(
        name, node,
        fmt::format("unknown key '{}': a check has model, metric, at_least, at_most, against, within, better",
                    key));
  if (!number)
    return wrong(name, node, fmt::format("{} must be a number", key));
  if (key == "at_least")
    to.at_least = *number;
  else if (key == "at_most")
    to.at_most = *number;
  else if (*number < 0 || *number > 1)
    return wrong(name, node, "within is a share, 0 to 1");
  else
    to.within = *number;
  return {};
}

std::optional<double> metric_of(const json::object& manifest, const std::string& metric) {
  auto* metrics = manifest.if_contains("metrics");
  if (metrics == nullptr || !metrics->is_object())
    return std::nullopt;
  auto* value = metrics->get_object().if_contains(metric);
  if (value == nullptr || !value->is_number())
    return std::nullopt;
  return value->to_number<double>();
}

/// Why the run could measure nothing, or not all; empty where the manifest does not say so.
std::string unmeasured_because(const json::object& manifest) {
  auto* why = manifest.if_contains("not_measured");
  return why != nullptr && why->is_string() ? std::string{why->get_string()} : std::string{};
}

/// A text of the manifest's `data`; empty where there is none.
std::string data_text(const json::object& manifest, std::string_view key) {
  auto* data = manifest.if_contains("data");
  auto* value = data != nullptr && data->is_object() ? data->get_object().if_contains(key) : nullptr;
  return value != nullptr && value->is_string() ? std::string{value->get_string()} : std::string{};
}

/// Why two versions cannot be compared by what each was measured at; empty where they can.
std::string apart(const json::object& ours, const json::object& theirs, const std::string& alias) {
  auto split = data_text(ours, "split"), other_split = data_text(theirs, "split");
  if (split != other_split)
    return fmt::format("it was measured on the split '{}', that of '{}' on '{}'", split, alias, other_split);
  auto hash = data_text(ours, "sha256"), other_hash = data_text(theirs, "sha256");
  if (!hash.empty() && !other_hash.empty() && hash != other_hash)
    return fmt::format("it was measured on the data {}, that of '{}' on {}", hash.substr(0, 12), alias,
                       other_hash.substr(0, 12));
  return {};
}

std::unique_ptr<wire::GateCheckT> line(const gate::check& from, double value, double bound) {
  auto made = std::make_unique<wire::GateCheckT>();
  made->metric = from.metric;
  made->value = value;
  made->bound = bound;
  made->against = from.against;
  return made;
}

void bound_by(wire::GateCheckT& to, bool is_least) {
  to.passed = is_least ? to.value >= to.bound : to.value <= to.bound;
  to.reason =
      fmt::format("{} is {}, {} {}", to.metric, to.value,
                  to.passed ? (is_least ? "at least" : "at most") : (is_least ? "below" : "above"), to.bound);
}

/// What the run says of what it measured beside itself: `beside.<alias>.<key>`; empty where it says nothing.
std::string beside_text(const json::object& manifest, const std::string& alias, std::string_view key) {
  const json::value* at = manifest.if_contains("beside");
  for (auto part : {std::string_view{alias}, key})
    at = at != nullptr && at->is_object() ? at->get_object().if_contains(part) : nullptr;
  return at != nullptr && at->is_string() ? std::string{at->get_string()} : std::string{};
}

/// Why there is nothing to compare with; empty where `other` has a metric that can be compared.
std::string not_comparable(const gate::check& from, const json::object& manifest, const json::object* other) {
  auto why = other == nullptr ? fmt::format("no version of this model has the alias '{}'", from.against)
             : !metric_of(*other, from.metric)
                 ? fmt::format("the version with the alias '{}' has no {}", from.against, from.metric)
                 : apart(manifest, *other, from.against);
  auto reason = beside_text(manifest, from.against, "reason");
  if (!why.empty() && !reason.empty())
    why += ", and the run could not measure it: " + reason;
  return why;
}

std::unique_ptr<wire::GateCheckT> judge_against(const gate::check& from, const json::object& manifest,
                                                double value, const json::object* other) {
  auto made = line(from, value, 0);
  // Best is what the run itself measured of the other's configuration, on the same questions.
  auto base = metric_of(manifest, from.against + "_" + from.metric);
  auto model = beside_text(manifest, from.against, "model");
  auto origin = model.empty() ? std::string{"configuration has"}
                              : fmt::format("model {}, on the same questions, has", model);
  if (!base) {
    if (auto why = not_comparable(from, manifest, other); !why.empty()) {
      made->passed = true;
      made->reason = fmt::format("{} is {}; nothing was compared: {}", from.metric, value, why);
      return made;
    }
    origin = "version has";
    base = metric_of(*other, from.metric);
  }
  made->bound = *base + (from.lower_is_better ? 1 : -1) * from.within * std::abs(*base);
  bound_by(*made, !from.lower_is_better);
  made->reason += fmt::format(" (the '{}' {} {})", from.against, origin, *base);
  return made;
}

} // namespace

expected<gate> gate::parse(std::string_view text, std::string_view name) {
  gate made;
  try {
    auto root = toml::parse(text, std::string{name});
    for (auto&& [key, node] : root) {
      auto* list = node.as_array();
      if (std::string_view{key} != "check" || list == nullptr)
        return wrong(name, node,
                     fmt::format("unknown key '{}': a gate is a list of [[check]]", std::string_view{key}));
      for (auto& each : *list) {
        auto* table = each.as_table();
        if (table == nullptr)
          return wrong(name, each, "a check is a table: [[check]]");
        check one;
        for (auto&& [field, value] : *table)
          TROUPE_CHECK(read_key(one, std::string_view{field}, value, name));
        if (one.metric.empty())
          return wrong(name, each, "a check needs a metric");
        if (!one.at_least && !one.at_most && one.against.empty())
          return wrong(name, each, "a check needs a bound: at_least, at_most or against");
        made.checks_.push_back(std::move(one));
      }
    }
  } catch (const toml::parse_error& err) {
    return fail(ec::invalid_argument, "{}:{}: {}", name, err.source().begin.line, err.description());
  }
  return made;
}

expected<gate> gate::read(const std::filesystem::path& file) {
  auto text = read_file(file);
  if (!text && text.error().code == ec::not_found)
    return gate{};
  if (!text)
    return with_context("reading the quality gate", std::move(text).error());
  return parse(*text, file.string());
}

expected<std::vector<std::unique_ptr<wire::GateCheckT>>>
gate::judge(const std::string& model, const json::object& manifest, const version_with& other) const {
  std::vector<std::unique_ptr<wire::GateCheckT>> lines;
  for (auto& each : checks_) {
    if (::fnmatch(each.model.c_str(), model.c_str(), 0) != 0)
      continue;
    auto value = metric_of(manifest, each.metric);
    if (!value) {
      lines.push_back(line(each, 0, each.at_least.value_or(each.at_most.value_or(0))));
      auto why = unmeasured_because(manifest);
      lines.back()->reason = why.empty()
                                 ? fmt::format("{} is not among the metrics of the manifest", each.metric)
                                 : fmt::format("{} was not measured: {}", each.metric, why);
      continue;
    }
    if (each.at_least) {
      lines.push_back(line(each, *value, *each.at_least));
      bound_by(*lines.back(), true);
    }
    if (each.at_most) {
      lines.push_back(line(each, *value, *each.at_most));
      bound_by(*lines.back(), false);
    }
    if (!each.against.empty()) {
      TROUPE_TRY(theirs, other(each.against));
      lines.push_back(judge_against(each, manifest, *value, theirs));
    }
  }
  return lines;
}

bool passed(const std::vector<std::unique_ptr<wire::GateCheckT>>& lines) noexcept {
  return std::ranges::all_of(lines, [](auto& each) { return each->passed; });
}

std::string what_failed(const std::vector<std::unique_ptr<wire::GateCheckT>>& lines) {
  std::string text;
  for (auto& each : lines)
    if (!each->passed)
      text += (text.empty() ? "" : "; ") + each->reason;
  return text;
}

} // namespace troupe::registry
