#pragma once

#include "common/core/error.hpp"

#include "schemas/registry_generated.h"

#include <boost/json/object.hpp>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::registry {

/// What a model must reach before it is registered. From TOML:
///
///     [[check]]
///     model = "*"                # a name, or a pattern with * and ?; default: every model
///     metric = "ndcg_at_10"      # in `metrics` of the manifest
///     at_least = 0.30            # and/or at_most
///
///     [[check]]
///     metric = "ndcg_at_10"
///     against = "production"     # the version with that alias
///     within = 0.02              # may be worse by this share of its value
///     better = "higher"          # or "lower"
///
/// What `against` compares with: the metric `production_ndcg_at_10` of the manifest itself, where the run has
/// measured what is in production on the same questions, as the trainer does (`beside.production.model` says
/// which model that was: where no version of this name is in production, the best of the production release);
/// else the metric of the version of this name with that alias, provided that both were measured on the same
/// split (`data.split`) of the same data (`data.sha256`). Where there is nothing that can be compared, the
/// check passes and its reason says why nothing was compared: growing data must not stop every model.
class gate {
public:
  struct check {
    std::string model = "*";
    std::string metric;
    std::optional<double> at_least;
    std::optional<double> at_most;
    std::string against;
    double within = 0;
    bool lower_is_better = false;
  };

  static expected<gate> parse(std::string_view toml, std::string_view name);

  /// Of a file that need not exist: then nothing is asked of a model.
  static expected<gate> read(const std::filesystem::path& file);

  /// The version that has an alias, as its manifest; nullptr where there is none.
  using version_with = std::function<expected<const boost::json::object*>(const std::string& alias)>;

  /// One line per bound, in the order of the file. A metric that is missing does not pass, and
  /// the line says why where the manifest does (`not_measured`). Fails as `other`
  /// does: what cannot be read lets nothing pass.
  expected<std::vector<std::unique_ptr<wire::GateCheckT>>>
  judge(const std::string& model, const boost::json::object& manifest, const version_with& other) const;

private:
  std::vector<check> checks_;
};

bool passed(const std::vector<std::unique_ptr<wire::GateCheckT>>& lines) noexcept;

/// `ndcg_at_10 is 0.21, below 0.30; ...`: what did not pass.
std::string what_failed(const std::vector<std::unique_ptr<wire::GateCheckT>>& lines);

} // namespace troupe::registry
