#include "services/trainer/run_journal.hpp"

#include "common/json/fields.hpp"
#include "common/json/parse.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace troupe::trainer {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

constexpr store::family_id runs = 0;

expected<run_journal::entry> decode(const std::string& id, std::string_view text) {
  auto value = parse_json(text);
  if (!value || !value->is_object())
    return fail(ec::corrupt, "the journal's entry of run {} cannot be read", id);
  auto& from = value->get_object();
  auto number = [&](const char* key) { return from.at(key).to_number<std::uint64_t>(); };
  TROUPE_TRY(order, read_order(id, text_or(from, "config"), text_or(from, "parent")));
  run_status status;
  status.id = id;
  status.state = static_cast<wire::TrainState>(number("state"));
  status.error = text_or(from, "error");
  status.stage = text_or(from, "stage");
  status.step = number("step");
  status.steps_total = number("steps_total");
  status.restarts = static_cast<std::uint32_t>(number("restarts"));
  status.manifest = text_or(from, "manifest");
  if (from.contains("publication")) // entries of older versions say nothing
    status.publication = static_cast<publication>(number("publication"));
  for (auto& [name, each] : from.at("metrics").get_object())
    status.metrics[std::string{name}] = each.to_number<double>();
  return run_journal::entry{std::move(order), std::move(status)};
}

} // namespace

expected<std::shared_ptr<run_journal>> run_journal::open(const fs::path& folder) {
  store::options options;
  options.families = {"runs"};
  options.layout = "trainer-journal 1";
  options.cache_bytes = 4 << 20;
  options.write_buffer_bytes = 4 << 20;
  TROUPE_TRY(db, store::database::open(folder, options));
  auto made = std::make_shared<run_journal>();
  made->db_ = std::move(db);
  return made;
}

expected<void> run_journal::save(const run_order& order, const run_status& status) {
  json::object metrics;
  for (auto& [name, value] : status.metrics)
    metrics[name] = value;
  json::object entry{{"config", order.config},
                     {"parent", order.parent},
                     {"state", static_cast<int>(status.state)},
                     {"error", status.error},
                     {"stage", status.stage},
                     {"step", status.step},
                     {"steps_total", status.steps_total},
                     {"restarts", status.restarts},
                     {"manifest", status.manifest},
                     {"publication", static_cast<int>(status.publication)},
                     {"metrics", std::move(metrics)}};
  return db_->put(runs, order.id, json::serialize(entry), store::durability::synced);
}

expected<std::optional<run_journal::entry>> run_journal::find(const std::string& id) const {
  TROUPE_TRY(text, db_->find(runs, id));
  if (!text)
    return std::optional<entry>{};
  TROUPE_TRY(read, decode(id, *text));
  return std::optional<entry>{std::move(read)};
}

expected<std::vector<run_journal::entry>> run_journal::all() const {
  std::vector<entry> out;
  auto at = db_->scan(runs);
  for (; at.valid(); at.next()) {
    TROUPE_TRY(read, decode(std::string{at.key()}, at.value()));
    out.push_back(std::move(read));
  }
  TROUPE_CHECK(at.check());
  return out;
}

} // namespace troupe::trainer
