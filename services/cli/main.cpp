#include "services/cli/ask_commands.hpp"
#include "services/cli/catalog_commands.hpp"
#include "services/cli/context.hpp"
#include "services/cli/feature_commands.hpp"
#include "services/cli/generate_command.hpp"
#include "services/cli/ingest_commands.hpp"
#include "services/cli/key_commands.hpp"
#include "services/cli/keys_commands.hpp"
#include "services/cli/ranker_commands.hpp"
#include "services/cli/registry_commands.hpp"
#include "services/cli/rollout_commands.hpp"
#include "services/cli/simulate_command.hpp"
#include "services/cli/split_command.hpp"
#include "services/cli/status_command.hpp"
#include "services/cli/train_commands.hpp"
#include "services/cli/trainer_commands.hpp"
#include "services/cli/training_set_commands.hpp"
#include "services/cli/up_command.hpp"
#include "services/cli/validator_commands.hpp"

#include "common/command_line/command_line.hpp"
#include "common/command_line/exit_codes.hpp"

#include <exception>
#include <iostream>

namespace {

int run(int argc, char** argv) {
  using namespace troupe;
  cli::context context{argv[0]};
  command_line::program app{"troupe",
                            "Troupe: from raw events to recommendations, as a fleet of actor services."};
  app.require_command();
  app.options_anywhere();
  app.version("troupe " TROUPE_VERSION);
  app.add_option("--catalog", context.catalog_file,
                 "Catalog of the fleet; else compose/catalog.toml here, beside the program or above, or "
                 "/etc/troupe/catalog.toml")
      ->environment("TROUPE_CATALOG");
  // Not TROUPE_DATA: there scripts/test looks for data sets.
  app.add_option("--data", context.data, "Data folder of the fleet")
      ->environment("TROUPE_FLEET_DATA")
      ->show_default();
  app.add_option("--key", context.own_secret,
                 "Our secret key for services that ask for one: file:PATH or env:NAME")
      ->environment("TROUPE_KEY");
  app.add_flag("--json", context.json, "Print JSON");
  cli::add_up_commands(app, context);
  cli::add_status_commands(app, context);
  cli::add_catalog_commands(app, context);
  cli::add_keys_commands(app, context);
  cli::add_key_commands(app, context);
  cli::add_ingest_commands(app, context);
  cli::add_validator_commands(app, context);
  cli::add_feature_commands(app, context);
  cli::add_training_set_commands(app, context);
  cli::add_trainer_commands(app, context);
  cli::add_train_commands(app, context);
  cli::add_registry_commands(app, context);
  cli::add_rollout_commands(app, context);
  cli::add_ranker_commands(app, context);
  cli::add_ask_commands(app, context);
  cli::add_generate_commands(app, context);
  cli::add_split_command(app, context);
  cli::add_simulate_commands(app, context);
  app.group("Run a fleet", {"up", "status", "catalog", "keys", "api-keys"});
  app.group("Bring data in and check them", {"ingest", "log", "lake", "quarantine", "schema", "profile"});
  app.group("Make features", {"features", "views", "training-set"});
  app.group("Train", {"train", "reproduce", "evaluate", "fit", "runs"});
  app.group("Keep models and release them",
            {"models", "releases", "blobs", "rollouts", "routing", "rankers"});
  app.group("Ask for recommendations", {"recommend", "similar", "explain"});
  app.group("Try it without users of your own", {"generate", "split", "simulate"});
  if (auto end = app.parse(argc, argv))
    return *end;
  return context.exit_code();
}

} // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& err) {
    std::cerr << "troupe: internal: " << err.what() << '\n';
    return troupe::exit_failed;
  }
}
