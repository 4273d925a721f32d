#include "services/registry/service.hpp"

#include "common/artefact/canonical.hpp"
#include "common/core/hash.hpp"
#include "common/event/record.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>

using namespace troupe;
using namespace troupe::registry;

namespace {

template <class Table>
struct asked {
  flatbuffers::FlatBufferBuilder out;
  const Table* operator()(const typename Table::NativeTableType& value) {
    out.Clear();
    out.Finish(Table::Pack(out, &value));
    return flatbuffers::GetRoot<Table>(out.GetBufferPointer());
  }
};

std::unique_ptr<wire::NamedTextT> named(std::string name, std::string text) {
  auto made = std::make_unique<wire::NamedTextT>();
  made->name = std::move(name);
  made->text = std::move(text);
  return made;
}

std::unique_ptr<wire::MetricPointT> point(std::string name, std::uint64_t step, double value) {
  auto made = std::make_unique<wire::MetricPointT>();
  made->name = std::move(name);
  made->step = step;
  made->value = value;
  made->at = 7;
  return made;
}

struct fixture {
  troupe::testing::temp_dir dir;
  metrics::registry seen;
  std::shared_ptr<store::database> db = open_database(dir / "state").value();
  blob_store blobs = blob_store::open(dir / "blobs", 1 << 20, service_metrics{seen}.artefact_bytes).value();
  run_ledger runs{db};
  model_ledger models{db, blobs, dir / "gate.toml", service_metrics{seen}};

  /// As after a kill: everything is read again from disk.
  void reopen() {
    runs = run_ledger{nullptr};
    db.reset();
    std::destroy_at(&models);
    db = open_database(dir / "state").value();
    std::construct_at(&models, db, blobs, dir / "gate.toml", service_metrics{seen});
    runs = run_ledger{db};
  }

  expected<wire::RunT> create(std::string id, std::string lr = "0.1") {
    wire::RunCreateT ask;
    ask.run_id = std::move(id);
    ask.experiment = "e";
    ask.parameters.push_back(named("lr", std::move(lr)));
    asked<wire::RunCreate> as;
    return runs.create(*as(ask));
  }

  expected<wire::RunT> update(const wire::RunUpdateT& ask) {
    asked<wire::RunUpdate> as;
    return runs.update(*as(ask));
  }

  std::string blob(std::string_view text) {
    auto hash = sha256_hex(as_bytes(text));
    REQUIRE(blobs.put(hash, text.size(), 0, as_bytes(text))->complete);
    return hash;
  }

  void gate(std::string_view text) { std::ofstream{dir / "gate.toml"} << text; }

  std::string manifest(double ndcg, std::string_view split = "leave-one-out") {
    return fmt::format(R"({{"kind":"ease","metrics":{{"ndcg_at_10":{}}},"data":{{"split":"{}"}},)"
                       R"("files":{{"weights.safetensors":{{"sha256":"{}","bytes":7}}}}}})",
                       ndcg, split, blob("weights"));
  }

  expected<wire::ModelVersionT> add(std::string name, std::string text, bool skip = false) {
    wire::ModelRegisterT ask;
    ask.name = std::move(name);
    ask.manifest = std::move(text);
    ask.skip_gate = skip;
    asked<wire::ModelRegister> as;
    return models.add_version(*as(ask));
  }

  expected<wire::ModelVersionT> alias(std::string name, std::uint64_t version, std::string to) {
    wire::ModelChangeT ask;
    ask.name = std::move(name);
    ask.version = version;
    ask.set_aliases.push_back(std::move(to));
    asked<wire::ModelChange> as;
    return models.change(*as(ask));
  }

  expected<wire::ReleaseT> release(const wire::ModelVersionT& of, std::string_view weights,
                                   bool skip = false) {
    wire::ReleaseRegisterT ask;
    ask.name = "r";
    ask.manifest = fmt::format(
        R"({{"models":[{{"name":"{}","version":{},"manifest_sha256":"{}","path":"models/m","weight":1}}],)"
        R"("files":{{"models/m/weights.safetensors":{{"sha256":"{}","bytes":7}}}}}})",
        of.name, of.version, of.manifest_sha256, weights);
    ask.skip_gate = skip;
    asked<wire::ReleaseRegister> as;
    return models.add_release(*as(ask));
  }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "a run is created once, and its parameters stay as they are") {
  auto made = create("a");
  REQUIRE(made.has_value());

  CHECK(create("a")->created == made->created);
  CHECK(create("a", "0.2").error().code == ec::conflict);
  CHECK(create("").error().code == ec::invalid_argument);
  for (auto* bad : {"a:b", "../a", "a b", "a\n", "x=0.5", ".a"})
    CHECK_MESSAGE(create(bad).error().code == ec::invalid_argument, bad);
  reopen();
  CHECK(runs.find("a")->parameters.at(0)->text == "0.1");
  CHECK(runs.find("b").error().code == ec::not_found);
}

TEST_CASE_FIXTURE(fixture, "updates of a run are taken once each, in order, all of it or nothing") {
  REQUIRE(create("a").has_value());
  wire::RunUpdateT ask;
  ask.run_id = "a";
  ask.number = 1;
  ask.metrics.push_back(point("loss", 1, 3.0));
  ask.metrics.push_back(point("loss", 2, 2.0));
  CHECK(update(ask)->last_update == 1);

  CHECK(update(ask)->metrics.at(0)->points == 2); // sent twice
  ask.number = 3;
  CHECK(update(ask).error().code == ec::conflict); // 2 is missing
  ask.number = 2;
  ask.metrics.push_back(point("loss", 3, std::nan("")));
  ask.metrics.push_back(point("loss", 3, 1.5)); // a step twice: the later value
  ask.parameters.push_back(named("lr", "9"));
  CHECK(update(ask).error().code == ec::conflict); // and nothing of it counts
  CHECK(runs.find("a")->last_update == 1);
  ask.parameters.clear();
  ask.state = wire::RunState::done;
  CHECK(update(ask).has_value());

  reopen();
  auto run = runs.find("a").value();
  CHECK(run.state == wire::RunState::done);
  CHECK(run.ended > 0);
  CHECK(run.metrics.at(0)->points == 3);
  CHECK(run.metrics.at(0)->last == 1.5);
  CHECK(run.metrics.at(0)->least == 1.5);
  CHECK(run.metrics.at(0)->most == 3.0);
}

TEST_CASE_FIXTURE(fixture, "a metric series is read by pages and thinned") {
  REQUIRE(create("a").has_value());
  wire::RunUpdateT ask;
  ask.run_id = "a";
  ask.number = 1;
  for (std::uint64_t step = 0; step < 100; ++step)
    ask.metrics.push_back(point("loss", step, static_cast<double>(step)));
  ask.metrics.push_back(point("loss2", 5, 1));
  REQUIRE(update(ask).has_value());
  asked<wire::MetricQuery> as;
  wire::MetricQueryT query;
  query.run_id = "a";
  query.name = "loss";
  query.limit = 60;

  auto first = runs.metric(*as(query)).value();
  CHECK(first.points.size() == 60);
  CHECK_FALSE(first.last);
  query.from_step = first.points.back()->step + 1;
  auto second = runs.metric(*as(query)).value();
  CHECK(second.points.size() == 40);
  CHECK(second.last);
  query.from_step = 0;
  query.every = 10;
  auto thin = runs.metric(*as(query)).value();
  CHECK(thin.points.size() == 10);
  CHECK(thin.points.back()->value == 90);
  query.name = "none";
  CHECK(runs.metric(*as(query)).error().code == ec::not_found);
}

TEST_CASE_FIXTURE(fixture, "runs are listed newest first, by pages") {
  for (auto* id : {"a", "b", "c"})
    REQUIRE(create(id).has_value());
  auto first = runs.list("", "", 2).value();
  REQUIRE(first.runs.size() == 2);
  CHECK(first.runs[0]->run_id == "c");
  CHECK_FALSE(first.last);
  auto rest = runs.list("", first.runs[1]->run_id, 2).value();
  REQUIRE(rest.runs.size() == 1);
  CHECK(rest.runs[0]->run_id == "a");
  CHECK(rest.last);
  CHECK(runs.list("other", "", 2)->runs.empty());
}

TEST_CASE_FIXTURE(fixture, "a blob is complete when every byte is there and its hash is right") {
  std::string text = "hello, blob";
  auto hash = sha256_hex(as_bytes(text));
  auto part = [&](std::size_t from, std::size_t bytes) {
    return as_bytes(std::string_view{text}.substr(from, bytes));
  };

  CHECK(blobs.put(hash, text.size(), 0, part(0, 4))->next_offset == 4);
  CHECK(blobs.put(hash, text.size(), 8, part(8, 3))->next_offset == 4); // a gap: not taken
  blobs = blob_store::open(dir / "blobs", 1 << 20).value();
  CHECK(blobs.put(hash, text.size(), 0, part(0, 4))->next_offset == 4); // sent twice
  CHECK(blobs.size_of(hash).error().code == ec::not_found);
  CHECK(blobs.put(hash, text.size(), 4, part(4, 100))->complete);
  CHECK(blobs.put(hash, text.size(), 0, part(0, 4))->complete);
  CHECK(blobs.put(hash, 5, 0, {}).error().code == ec::conflict);
  CHECK(blobs.read(hash, 7, 100)->bytes == "blob");
  CHECK(blobs.read(hash, 7, 2)->size == text.size());

  auto other = std::string(64, 'a');
  CHECK(blobs.put(other, 3, 0, as_bytes(std::string_view{"abc"})).error().code == ec::corrupt);
  CHECK(blobs.put(other, 3, 0, {})->next_offset == 0);
  CHECK(blobs.put("../../etc/passwd", 3, 0, {}).error().code == ec::invalid_argument);
  CHECK(blobs.put(other, 2 << 20, 0, {}).error().code == ec::invalid_argument);
  auto nothing = sha256_hex({});
  CHECK(blobs.put(nothing, 0, 0, {})->complete);
}

TEST_CASE_FIXTURE(fixture,
                  "blobs that arrive side by side, one of them across a restart, are each held against "
                  "their own hash") {
  std::string one(300, 'a'), other(300, 'b');
  one += "end";
  other += "fin";
  auto send = [&](const std::string& text, std::size_t from, std::size_t bytes) {
    return blobs.put(sha256_hex(as_bytes(text)), text.size(), from,
                     as_bytes(std::string_view{text}.substr(from, bytes)));
  };

  CHECK(send(one, 0, 100)->next_offset == 100);
  CHECK(send(other, 0, 150)->next_offset == 150);
  CHECK(send(one, 50, 150)->next_offset == 200); // half of it is there already
  blobs = blob_store::open(dir / "blobs", 1 << 20).value();
  CHECK(send(other, 150, 50)->next_offset == 200);
  CHECK(send(one, 200, 103)->complete);
  CHECK(send(other, 200, 103)->complete);
  CHECK(blobs.read(sha256_hex(as_bytes(other)), 0, 1000)->bytes == other);
}

TEST_CASE_FIXTURE(fixture, "what nobody went on with for a day is removed from the arriving blobs") {
  auto name = [](char each) { return std::string(64, each); };
  REQUIRE(blobs.put(name('a'), 10, 0, as_bytes(std::string_view{"abc"})).has_value());
  REQUIRE(blobs.put(name('b'), 10, 0, as_bytes(std::string_view{"abc"})).has_value());
  auto old = dir / "blobs" / "arriving" / (name('a') + ".10");
  std::filesystem::last_write_time(old,
                                   std::filesystem::file_time_type::clock::now() - std::chrono::hours{25});

  blobs = blob_store::open(dir / "blobs", 1 << 20).value();

  CHECK(!std::filesystem::exists(old));
  CHECK(blobs.put(name('b'), 10, 0, {})->next_offset == 3);
  CHECK(blobs.put(name('a'), 10, 0, {})->next_offset == 0);
}

TEST_CASE_FIXTURE(fixture, "versions of a model count from 1, and the same manifest is the same version") {
  CHECK(add("m", manifest(0.3))->version == 1);
  CHECK(add("m", manifest(0.4))->version == 2);
  CHECK(add("m", "  " + manifest(0.3))->version == 1);
  CHECK(add("n", manifest(0.3))->version == 1);
  reopen();
  CHECK(models.version("m", "")->version == 2);
  CHECK(models.version("m", "1")->version == 1);
  CHECK(models.version("m", models.version("m", "1")->manifest_sha256)->version == 1);
  CHECK(models.version("m", "3").error().code == ec::not_found);
  CHECK(models.versions("", "", 2)->versions.size() == 2);
  CHECK(models.versions("", "m:2", 10)->versions.at(0)->name == "n");
  CHECK(models.versions("m", "", 10)->versions.size() == 2);
}

TEST_CASE_FIXTURE(fixture, "a manifest whose files have not arrived is not registered") {
  auto text =
      fmt::format(R"({{"kind":"ease","files":{{"w":{{"sha256":"{}","bytes":7}}}}}})", std::string(64, 'b'));
  CHECK(add("m", text).error().code == ec::conflict);
  CHECK(add("m", R"({"kind":"ease","files":{}})").error().code == ec::invalid_argument);
  CHECK(add("m", "{").error().code == ec::invalid_argument);
  CHECK(add("m", "[]").error().code == ec::invalid_argument);
  auto leaving =
      fmt::format(R"({{"kind":"ease","files":{{"../w":{{"sha256":"{}","bytes":7}}}}}})", blob("weights"));
  CHECK(add("m", leaving).error().code == ec::invalid_argument);
  for (auto* bytes : {"-1", "1.5", "1e30", "\"7\"", "null"}) {
    auto sized = fmt::format(R"({{"kind":"ease","files":{{"w":{{"sha256":"{}","bytes":{}}}}}}})",
                             blob("weights"), bytes);
    CHECK(add("m", sized).error().text.find("whole number") != std::string::npos);
  }
  CHECK(models.versions("", "", 10)->versions.empty());
}

TEST_CASE_FIXTURE(fixture,
                  "what could be registered but never be released is refused when it is registered") {
  auto text = [&](const char* file) {
    return fmt::format(R"({{"kind":"ease","files":{{"{}":{{"sha256":"{}","bytes":7}}}}}})", file,
                       blob("weights"));
  };
  for (auto* bad : {"../x", "x=0.5", "x:1", "", ".x", "a/b", "a b", "\xc3\xa9", "a\n"})
    CHECK_MESSAGE(add(bad, text("w")).error().code == ec::invalid_argument, bad);
  for (auto* bad : {"/w", "../w", "a/../w", "./w", "a\\nb", "\\u007f"})
    CHECK_MESSAGE(add("m", text(bad)).error().code == ec::invalid_argument, bad);
  CHECK(models.versions("", "", 10)->versions.empty());
  REQUIRE(add("m.2-b_c", text("a/w..1")).has_value());
  for (auto* bad : {"../x", "x=0.5", "x y"})
    CHECK_MESSAGE(alias("m.2-b_c", 1, bad).error().code == ec::invalid_argument, bad);
}

TEST_CASE_FIXTURE(fixture, "a model of a kind that no ranker serves is refused with the kinds that exist") {
  auto of_kind = [&](const char* kind) {
    return add("m", fmt::format(R"({{"kind":"{}","files":{{"w":{{"sha256":"{}","bytes":7}}}}}})", kind,
                                blob("weights")));
  };

  auto refused = of_kind("random_forest");

  CHECK(refused.error().code == ec::invalid_argument);
  CHECK(refused.error().text.find(
            "says kind 'random_forest', which no ranker serves; the kinds are bpr, dcn, ease") !=
        std::string::npos);
  CHECK(add("m", R"({"files":{}})").error().code == ec::invalid_argument);
  CHECK(models.versions("", "", 10)->versions.empty());
  CHECK(of_kind("sasrec").has_value());
}

TEST_CASE_FIXTURE(fixture,
                  "a manifest may be 60 levels deep, is read again as it is, and one of 100 is refused") {
  gate("[[check]]\nmetric = 'ndcg_at_10'\nagainst = 'production'\n");
  auto nested = [&](std::size_t levels, double ndcg) {
    auto text = manifest(ndcg);
    text.insert(1, "\"deep\":" + std::string(levels, '[') + std::string(levels, ']') + ",");
    return text;
  };

  auto first = add("m", nested(60, 0.4));
  REQUIRE(first.has_value());
  REQUIRE(alias("m", 1, "production").has_value());
  CHECK(add("m", nested(60, 0.5))->version == 2);
  CHECK(release(*first, blob("weights")).has_value());
  CHECK(add("m", nested(100, 0.6)).error().code == ec::invalid_argument);
}

TEST_CASE_FIXTURE(fixture, "what has the alias but cannot be read lets nothing pass the gate") {
  gate("[[check]]\nmetric = 'ndcg_at_10'\nagainst = 'production'\n");
  REQUIRE(add("m", manifest(0.4)).has_value());
  REQUIRE(alias("m", 1, "production").has_value());
  std::string key{"m"};
  key += '\0';
  auto with = [&](std::uint64_t version) {
    auto full = key;
    store::append_u64(full, version);
    return full;
  };

  REQUIRE(db->put(family::models, with(1), "damaged", store::durability::synced).has_value());
  CHECK(add("m", manifest(0.5)).error().code == ec::corrupt);
  std::string nowhere;
  store::append_u64(nowhere, 9);
  REQUIRE(db->put(family::model_aliases, key + "production", nowhere, store::durability::synced).has_value());
  CHECK(add("m", manifest(0.5)).error().code == ec::corrupt);
}

TEST_CASE_FIXTURE(fixture, "an alias stands at one version and moves in one step") {
  REQUIRE(add("m", manifest(0.3)).has_value());
  REQUIRE(add("m", manifest(0.4)).has_value());
  REQUIRE(alias("m", 1, "production").has_value());
  CHECK(models.version("m", "production")->version == 1);
  REQUIRE(alias("m", 2, "production").has_value());
  reopen();
  CHECK(models.version("m", "production")->version == 2);
  CHECK(models.version("m", "1")->aliases.empty());
  CHECK(alias("m", 1, "7").error().code == ec::invalid_argument);
}

TEST_CASE_FIXTURE(fixture,
                  "the quality gate says which metric, value and bound, and can be skipped on record") {
  gate("[[check]]\nmetric = 'ndcg_at_10'\nat_least = 0.30\n");
  auto stopped = add("m", manifest(0.25));
  REQUIRE(!stopped.has_value());
  CHECK(stopped.error().code == ec::conflict);
  CHECK(stopped.error().text.find("ndcg_at_10 is 0.25, below 0.3") != std::string::npos);
  CHECK(models.versions("", "", 10)->versions.empty());

  auto forced = add("m", manifest(0.25), true);
  REQUIRE(forced.has_value());
  CHECK(forced->tags.at(0)->text == "skipped");
  CHECK_FALSE(forced->gate.at(0)->passed);
  CHECK(add("m", manifest(0.35))->gate.at(0)->passed);
  gate("[[check]]\nmetric = 'recall'\nat_least = 0.30\n");
  CHECK(add("m", manifest(0.36)).error().text.find("recall is not among") != std::string::npos);
  gate("[[check]]\nmetrik = 'recall'\n");
  CHECK(add("m", manifest(0.37)).error().text.find("unknown key 'metrik'") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "what the gate said is counted once for each new thing, and so are its bytes") {
  gate("[[check]]\nmetric = 'ndcg_at_10'\nat_least = 0.30\n");
  service_metrics counted{seen};

  REQUIRE(add("m", manifest(0.35)).has_value());
  REQUIRE(add("m", manifest(0.35)).has_value());
  REQUIRE_FALSE(add("m", manifest(0.25)).has_value());
  auto forced = add("m", manifest(0.25), true);
  REQUIRE(forced.has_value());
  REQUIRE_FALSE(release(*forced, blob("weights")).has_value());

  CHECK(counted.models.passed.value() == 1);
  CHECK(counted.models.stopped.value() == 1);
  CHECK(counted.models.skipped.value() == 1);
  CHECK(counted.releases.stopped.value() == 1);
  CHECK(counted.releases.passed.value() == 0);
  CHECK(counted.artefact_bytes.value() == 7);
}

TEST_CASE_FIXTURE(
    fixture,
    "a model of which nothing was measured does not pass a gate that asks for a metric, with the reason") {
  auto unmeasured = manifest(0.4);
  unmeasured.insert(1, R"("not_measured":"no user has three items",)");
  auto metrics = unmeasured.find(R"("ndcg_at_10":0.4)");
  unmeasured.erase(metrics, std::string_view{R"("ndcg_at_10":0.4)"}.size());
  gate("[[check]]\nmodel = 'other'\nmetric = 'ndcg_at_10'\nat_least = 0.1\n");
  CHECK(add("m", unmeasured).has_value()); // Nothing is asked of it.

  gate("[[check]]\nmetric = 'ndcg_at_10'\nat_least = 0\n");
  auto refused = add("n", unmeasured);

  REQUIRE(!refused.has_value());
  CHECK_MESSAGE(refused.error().text.find("ndcg_at_10 was not measured: no user has three items") !=
                    std::string::npos,
                refused.error().text);
  auto skipped = add("n", unmeasured, true);
  REQUIRE(skipped.has_value());
  CHECK(!skipped->gate.at(0)->passed);
}

TEST_CASE_FIXTURE(fixture, "the quality gate compares with production on the same split only") {
  gate("[[check]]\nmetric = 'ndcg_at_10'\nagainst = 'production'\nwithin = 0.1\n");
  REQUIRE(add("m", manifest(0.40)).has_value()); // nothing to compare with
  REQUIRE(alias("m", 1, "production").has_value());
  CHECK(add("m", manifest(0.37)).has_value());
  auto worse = add("m", manifest(0.35));
  REQUIRE(!worse.has_value());
  CHECK(worse.error().text.find("0.36") != std::string::npos);
  auto other = add("m", manifest(0.2, "random"));
  REQUIRE(other.has_value());
  CHECK(other->gate.at(0)->reason.find("nothing was compared: it was measured on the split 'random'") !=
        std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "the quality gate takes what a run measured of production, does not compare "
                           "across data, and says so") {
  gate("[[check]]\nmetric = 'ndcg_at_10'\nagainst = 'production'\n");
  auto measured = [&](double ndcg, const char* data, const char* more) {
    return fmt::format(
        R"({{"kind":"ease","metrics":{{"ndcg_at_10":{}{}}},"data":{{"split":"s","sha256":"{}"}},)"
        R"("files":{{"weights.safetensors":{{"sha256":"{}","bytes":7}}}}}})",
        ndcg, more, data, blob("weights"));
  };
  REQUIRE(add("m", measured(0.40, "first", "")).has_value());
  REQUIRE(alias("m", 1, "production").has_value());

  auto grown = add("m", measured(0.20, "second", ""));
  REQUIRE(grown.has_value());
  CHECK(grown->gate.at(0)->passed);
  CHECK(grown->gate.at(0)->reason.find("nothing was compared: it was measured on the data second") !=
        std::string::npos);
  CHECK(add("m", measured(0.30, "second", R"(,"production_ndcg_at_10":0.29)")).has_value());
  CHECK(add("m", measured(0.50, "third", R"(,"production_ndcg_at_10":0.6)")).error().text.find("below 0.6") !=
        std::string::npos);
}

TEST_CASE_FIXTURE(fixture,
                  "the first model of a name is compared with the model of the production release that "
                  "the run measured, or the gate says that nothing was compared") {
  gate("[[check]]\nmetric = 'ndcg_at_10'\nagainst = 'production'\n");
  auto measured = [&](double ndcg, const char* more) {
    return fmt::format(R"({{"kind":"ease","metrics":{{"ndcg_at_10":{}{}}},)"
                       R"("files":{{"weights.safetensors":{{"sha256":"{}","bytes":7}}}}}})",
                       ndcg, more, blob("weights"));
  };

  auto worse =
      add("ease",
          measured(0.30, R"(,"production_ndcg_at_10":0.4},"beside":{"production":{"model":"popular:1"})"));
  auto better =
      add("ease",
          measured(0.50, R"(,"production_ndcg_at_10":0.4},"beside":{"production":{"model":"popular:1"})"));
  auto not_measured = add(
      "sasrec", measured(0.1, R"(},"beside":{"production":{"reason":"sasrec:3: it was not trained here"})"));

  CHECK(worse.error().text.find("below 0.4 (the 'production' model popular:1") != std::string::npos);
  CHECK(better.has_value());
  REQUIRE(not_measured.has_value());
  CHECK(not_measured->gate.at(0)->reason.find("nothing was compared") != std::string::npos);
  CHECK(not_measured->gate.at(0)->reason.find("sasrec:3: it was not trained here") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture,
                  "a release holds the very files of its registered models, and is found by id and name") {
  gate("[[check]]\nmetric = 'ndcg_at_10'\nat_least = 0.30\n");
  auto good = add("m", manifest(0.4)).value();
  auto bad = add("m", manifest(0.1), true).value();
  auto weights = blob("weights");

  auto made = release(good, weights);
  REQUIRE(made.has_value());
  CHECK(made->id == sha256_hex(as_bytes(made->manifest)));
  CHECK(release(good, weights)->created == made->created);
  CHECK(release(good, blob("WEIGHTS")).error().code == ec::conflict);
  CHECK(release(bad, weights).error().text.find("ndcg_at_10 is 0.1, below 0.3") != std::string::npos);
  auto forced = release(bad, weights, true);
  REQUIRE(forced.has_value());

  reopen();
  CHECK(models.release(made->id)->name == "r");
  CHECK(models.release(made->id.substr(0, 8))->id == made->id);
  CHECK(models.release("r")->id == forced->id);
  CHECK(models.release("none").error().code == ec::not_found);
  auto page = models.releases("", 1).value();
  CHECK(page.releases.at(0)->id == forced->id);
  CHECK_FALSE(page.last);
  CHECK(models.releases(forced->id, 5)->releases.at(0)->id == made->id);
}

TEST_CASE("requests that are no message of their kind are refused") {
  troupe::testing::temp_dir dir;
  auto made = service::open(dir.path(), dir / "gate.toml", 1 << 20).value();
  for (auto kind :
       {wire::Kind::run_create, wire::Kind::run_update, wire::Kind::run_list, wire::Kind::run_show,
        wire::Kind::metric_read, wire::Kind::blob_put, wire::Kind::blob_get, wire::Kind::model_register,
        wire::Kind::model_list, wire::Kind::model_show, wire::Kind::model_change,
        wire::Kind::release_register, wire::Kind::release_list, wire::Kind::release_show}) {
    CHECK(made->answer(kind, chunk{}).error().code == ec::corrupt);
    CHECK(made->answer(kind, chunk::copy(as_bytes(std::string(64, 'x')))).error().code == ec::corrupt);
  }
}
