#pragma once

#include "services/registry/blob_store.hpp"
#include "services/registry/gate.hpp"
#include "services/registry/metrics.hpp"
#include "services/registry/stored.hpp"

#include <boost/json/object.hpp>

#include <filesystem>

namespace troupe::registry {

/// Model versions and releases: what may be served, by hash. Every function that changes something is durable
/// when it returns, all of it or nothing. One thread.
///
/// The manifest of a version is a JSON object with `kind` (text), `metrics` (name -> number) and `files`
/// (path -> {sha256, bytes}); that of a release has `models` (a list of {name, version, manifest_sha256,
/// path, weight, role}) and `files`. Every file must be a whole blob of that size. Manifests are kept and
/// hashed as canonical JSON.
class model_ledger {
public:
  model_ledger(std::shared_ptr<store::database> db, const blob_store& blobs, std::filesystem::path gate_file,
               const service_metrics& seen = {})
      : db_{std::move(db)}, blobs_{blobs}, gate_file_{std::move(gate_file)}, seen_{seen} {}

  /// A new version, or the one with this manifest. What the quality gate stops is ec::conflict, which says
  /// metric, value and bound; with skip_gate it is registered and tagged `gate = skipped`.
  expected<wire::ModelVersionT> add_version(const wire::ModelRegister& ask);

  /// By number, alias or SHA-256 of the manifest; empty: the newest.
  expected<wire::ModelVersionT> version(std::string_view name, std::string_view which) const;

  /// Of one model, or of all: by name, then number, after `name:number`.
  expected<wire::ModelPageT> versions(std::string_view name, std::string_view after,
                                      std::uint32_t limit) const;

  /// An alias stands at one version of a model: setting it takes it from another.
  expected<wire::ModelVersionT> change(const wire::ModelChange& ask);

  /// A new release, or the one with this manifest. Its models must be registered as the manifest says, and
  /// have passed the gate unless skip_gate.
  expected<wire::ReleaseT> add_release(const wire::ReleaseRegister& ask);

  /// By id, at least 8 first digits of one, or a name (the newest of it).
  expected<wire::ReleaseT> release(std::string_view id) const;
  expected<wire::ReleasePageT> releases(std::string_view before, std::uint32_t limit) const;

private:
  expected<wire::ModelVersionT> at(std::string_view name, std::uint64_t number) const;
  expected<std::uint64_t> newest(std::string_view name) const;
  expected<void> check_files(const boost::json::object& manifest) const;
  expected<void> check_models(const boost::json::object& manifest, wire::ReleaseT& release) const;

  std::shared_ptr<store::database> db_;
  const blob_store& blobs_;
  std::filesystem::path gate_file_;
  service_metrics seen_;
};

} // namespace troupe::registry
