#include "services/trainer/run_order.hpp"

#include "common/core/hash.hpp"
#include "common/core/plain_name.hpp"

namespace troupe::trainer {

namespace {

constexpr std::string_view ours = "run.";

} // namespace

void run_settings::bind(config_keys& keys) {
  using namespace std::chrono_literals;
  keys.add("name", name, "Name of the model in the registry; empty: its kind.");
  keys.add("experiment", experiment, "The experiment that the run belongs to.");
  keys.add("data", data, "What to train on: log (a snapshot of the event log) or the path of a file.");
  keys.add("event_types", event_types,
           "Types of events that count as interactions; empty: all but impressions, which nobody chose.");
  keys.add("exclude_arms", exclude_arms,
           "Events whose attribute arm is one of these are left out, so that no arm of an A/B trains on the "
           "traffic of another.");
  keys.add("offsets", offsets, "Where the snapshot ends, by partition; empty: at the end of the log.");
  keys.add("data_sha256", data_sha256, "The run fails unless its data have this hash; empty: any data.");
  keys.add("ranks", ranks, "Worker processes that train together.", between(1, 64));
  keys.add("hang_after", hang_after,
           "A rank that makes no step for so long is killed; loading and measuring make steps too.",
           between(1s, 24h));
  keys.add("max_restarts", max_restarts, "How often lost ranks are started again.", between(0, 1000));
  keys.add("register", register_model, "Register the model; false: only publish the run.");
  keys.add("skip_gate", skip_gate, "Register the model without the quality gate.");
}

expected<run_order> read_order(std::string id, std::string config, std::string parent) {
  TROUPE_TRY(section, parse_config(config, "the run's configuration"));
  run_order order;
  config_section own{"the run's configuration, table run", {}};
  for (auto& [key, value] : section.values)
    if (key.starts_with(ours))
      own.values.emplace(key.substr(ours.size()), value);
    else
      order.worker_config += fmt::format("{} = {}\n", key, to_text(value));
  TROUPE_TRY(settings, load_config<run_settings>(own));
  order.run = settings;
  if (order.run.data != "log" && order.run.data.front() != '/')
    return fail(ec::invalid_argument, "run.data = \"{}\": log, or an absolute path", order.run.data);
  for (auto& each : order.run.offsets)
    if (each.empty() || each.size() > 19 || each.find_first_not_of("0123456789") != std::string::npos)
      return fail(ec::invalid_argument, "run.offsets: \"{}\" is no offset", each);
  auto text_at = [&](const char* key) {
    auto at = section.values.find(key);
    auto* text = at != section.values.end() ? std::get_if<std::string>(&at->second) : nullptr;
    return text != nullptr ? *text : std::string{};
  };
  auto kind = text_at("model");
  order.model_name = order.run.name.empty() ? kind : order.run.name;
  order.on_rows = kind == "dcn";
  order.training_set = text_at("dcn.training_set");
  if (order.model_name.empty())
    return fail(ec::invalid_argument, "the configuration names no model; say model = \"ease\"");
  if (!is_plain_name(order.model_name))
    return fail(ec::invalid_argument, "run.name = \"{}\": letters, digits, - _ and . only", order.model_name);
  if (!is_plain_name(order.run.experiment))
    return fail(ec::invalid_argument, "run.experiment = \"{}\": letters, digits, - _ and . only",
                order.run.experiment);
  if (auto seed = section.values.find("seed"); seed != section.values.end())
    if (auto* number = std::get_if<std::int64_t>(&seed->second))
      order.seed = static_cast<std::uint64_t>(*number);
  if (id.empty())
    id = to_hex(hash_wide(config + "\n" + parent));
  if (!is_plain_name(id))
    return fail(ec::invalid_argument, "run id \"{}\": 1 to 128 letters, digits, - _ and . only", id);
  order.id = std::move(id);
  order.config = std::move(config);
  order.parent = std::move(parent);
  return order;
}

expected<void> check_order(const run_order& order) {
  if (order.on_rows && !order.training_set.starts_with('/') && !is_plain_name(order.training_set))
    return fail(
        ec::invalid_argument,
        "dcn.training_set = \"{}\": a DCN is trained on the rows of a training set, say the name that "
        "the feature store keeps it by (`troupe training-set list`), or the absolute path of its folder "
        "on the machine of the trainer",
        order.training_set);
  return {};
}

std::string help_on_run_keys() {
  run_settings settings;
  config_keys keys;
  settings.bind(keys);
  return keys.help();
}

} // namespace troupe::trainer
