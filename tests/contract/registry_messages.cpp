#include "tests/contract/message_table.hpp"
#include "tests/contract/service_messages.hpp"

#include "schemas/registry_generated.h"

namespace troupe::contract {

namespace {

/// A message of the registry.
template <class Table, class Fill>
message registry_table(std::string name, Fill fill) {
  return value_table<Table>(std::move(name), fill, "TRPR");
}

std::vector<std::unique_ptr<wire::NamedTextT>> named_texts(std::string name, std::string text) {
  std::vector<std::unique_ptr<wire::NamedTextT>> made;
  made.push_back(std::make_unique<wire::NamedTextT>());
  made[0]->name = std::move(name);
  made[0]->text = std::move(text);
  return made;
}

std::unique_ptr<wire::MetricPointT> sample_point() {
  auto point = std::make_unique<wire::MetricPointT>();
  point->name = "loss";
  point->step = 7;
  point->value = 0.25;
  point->at = at;
  return point;
}

std::unique_ptr<wire::RunT> sample_run() {
  auto run = std::make_unique<wire::RunT>();
  run->run_id = "run-1";
  run->experiment = "ml-1m";
  run->name = "ease";
  run->state = wire::RunState::failed;
  run->error = "out of memory";
  run->created = at;
  run->ended = at + 1;
  run->last_update = 3;
  run->parameters = named_texts("regularization", "500");
  run->tags = named_texts("owner", "us");
  run->artefacts = named_texts("weights", std::string(64, 'a'));
  auto summary = std::make_unique<wire::MetricSummaryT>();
  summary->name = "loss";
  summary->points = 2;
  summary->last_step = 7;
  summary->last = 0.25;
  summary->least = 0.125;
  summary->most = 0.5;
  run->metrics.push_back(std::move(summary));
  return run;
}

std::vector<std::unique_ptr<wire::GateCheckT>> sample_gate() {
  std::vector<std::unique_ptr<wire::GateCheckT>> gate;
  gate.push_back(std::make_unique<wire::GateCheckT>());
  gate[0]->metric = "ndcg_at_10";
  gate[0]->value = 0.5;
  gate[0]->bound = 0.25;
  gate[0]->against = "production";
  gate[0]->passed = true;
  gate[0]->reason = "ndcg_at_10 is 0.5, at least 0.25";
  return gate;
}

void fill_version(wire::ModelVersionT& to) {
  to.name = "ease";
  to.version = 2;
  to.manifest = "{}";
  to.manifest_sha256 = std::string(64, 'b');
  to.created = at;
  to.aliases = {"production"};
  to.tags = named_texts("gate", "skipped");
  to.gate = sample_gate();
}

void fill_release(wire::ReleaseT& to) {
  to.id = std::string(64, 'c');
  to.name = "first";
  to.manifest = "{}";
  to.created = at;
  to.gate = sample_gate();
}

} // namespace

void add_registry_runs(std::vector<message>& all) {
  all.push_back(registry_table<wire::RunCreate>("run_create", [](auto& to) {
    to.run_id = "run-1";
    to.experiment = "ml-1m";
    to.name = "ease";
    to.parameters = named_texts("regularization", "500");
    to.tags = named_texts("owner", "us");
  }));
  all.push_back(registry_table<wire::RunUpdate>("run_update", [](auto& to) {
    to.run_id = "run-1";
    to.number = 3;
    to.state = wire::RunState::failed;
    to.error = "out of memory";
    to.parameters = named_texts("regularization", "500");
    to.tags = named_texts("owner", "us");
    to.metrics.push_back(sample_point());
    to.artefacts = named_texts("weights", std::string(64, 'a'));
  }));
  all.push_back(registry_table<wire::RunQuery>("run_query", [](auto& to) { to.run_id = "run-1"; }));
  all.push_back(registry_table<wire::RunReply>("run_reply", [](auto& to) { to.run = sample_run(); }));
  all.push_back(registry_table<wire::RunList>("run_list", [](auto& to) {
    to.experiment = "ml-1m";
    to.before = "run-9";
    to.limit = 10;
  }));
  all.push_back(registry_table<wire::RunPage>("run_page", [](auto& to) {
    to.runs.push_back(sample_run());
    to.last = true;
  }));
  all.push_back(registry_table<wire::MetricQuery>("metric_query", [](auto& to) {
    to.run_id = "run-1";
    to.name = "loss";
    to.from_step = 5;
    to.limit = 100;
    to.every = 10;
  }));
  all.push_back(registry_table<wire::MetricPage>("metric_page", [](auto& to) {
    to.points.push_back(sample_point());
    to.last = true;
  }));
}

void add_registry_models(std::vector<message>& all) {
  all.push_back(registry_table<wire::BlobPut>("blob_put", [](auto& to) {
    to.sha256 = std::string(64, 'a');
    to.size = 9;
    to.offset = 4;
    to.bytes = {1, 2, 3};
  }));
  all.push_back(registry_table<wire::BlobStatus>("blob_status", [](auto& to) {
    to.sha256 = std::string(64, 'a');
    to.size = 9;
    to.next_offset = 7;
    to.complete = true;
  }));
  all.push_back(registry_table<wire::BlobGet>("blob_get", [](auto& to) {
    to.sha256 = std::string(64, 'a');
    to.offset = 4;
    to.limit = 100;
  }));
  all.push_back(registry_table<wire::BlobPart>("blob_part", [](auto& to) {
    to.size = 9;
    to.offset = 4;
    to.bytes = {1, 2, 3};
  }));
  all.push_back(registry_table<wire::ModelRegister>("model_register", [](auto& to) {
    to.name = "ease";
    to.manifest = "{}";
    to.tags = named_texts("owner", "us");
    to.skip_gate = true;
  }));
  all.push_back(registry_table<wire::ModelVersion>("model_version", fill_version));
  all.push_back(registry_table<wire::ModelList>("model_list", [](auto& to) {
    to.name = "ease";
    to.after = "ease:1";
    to.limit = 10;
  }));
  all.push_back(registry_table<wire::ModelPage>("model_page", [](auto& to) {
    to.versions.push_back(std::make_unique<wire::ModelVersionT>());
    fill_version(*to.versions[0]);
    to.last = true;
  }));
  all.push_back(registry_table<wire::ModelQuery>("model_query", [](auto& to) {
    to.name = "ease";
    to.version = "production";
  }));
  all.push_back(registry_table<wire::ModelChange>("model_change", [](auto& to) {
    to.name = "ease";
    to.version = 2;
    to.set_aliases = {"production"};
    to.remove_aliases = {"candidate"};
    to.set_tags = named_texts("owner", "us");
    to.remove_tags = {"old"};
  }));
  all.push_back(registry_table<wire::ReleaseRegister>("release_register", [](auto& to) {
    to.name = "first";
    to.manifest = "{}";
    to.skip_gate = true;
  }));
  all.push_back(registry_table<wire::Release>("release", fill_release));
  all.push_back(registry_table<wire::ReleaseList>("release_list", [](auto& to) {
    to.before = std::string(64, 'd');
    to.limit = 10;
  }));
  all.push_back(registry_table<wire::ReleasePage>("release_page", [](auto& to) {
    to.releases.push_back(std::make_unique<wire::ReleaseT>());
    fill_release(*to.releases[0]);
    to.last = true;
  }));
  all.push_back(registry_table<wire::ReleaseQuery>("release_query", [](auto& to) { to.id = "first"; }));
}

} // namespace troupe::contract
