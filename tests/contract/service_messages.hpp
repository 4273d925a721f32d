#pragma once

#include "tests/contract/messages.hpp"

#include <vector>

/// What each service is sent and answers, added to the released messages.
namespace troupe::contract {

void add_ingest(std::vector<message>& all);
void add_validator(std::vector<message>& all);
void add_feature_store(std::vector<message>& all);
void add_feature_scan(std::vector<message>& all);
void add_feature_changes(std::vector<message>& all);
void add_kept_training(std::vector<message>& all);
void add_ranker(std::vector<message>& all);
void add_gateway(std::vector<message>& all);
void add_trainer(std::vector<message>& all);
void add_registry_runs(std::vector<message>& all);
void add_registry_models(std::vector<message>& all);
void add_deployer(std::vector<message>& all);

} // namespace troupe::contract
