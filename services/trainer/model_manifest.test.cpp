#include "services/trainer/model_manifest.hpp"

#include "common/core/hash.hpp"
#include "common/testing/temp_dir.hpp"

#include <boost/json/parse.hpp>
#include <doctest/doctest.h>

#include <fstream>

using namespace troupe;
using namespace troupe::trainer;
namespace json = boost::json;

namespace {

struct trained {
  troupe::testing::temp_dir dir;
  run_order order;
  json::object data{{"source", "log"}, {"sha256", "d"}, {"views", json::object{{"ratings", "v1"}}}};
  json::object result{{"done", true}, {"metrics", json::object{{"ndcg_at_10", 0.5}}}};
  std::string not_measured;
  std::filesystem::path worker = dir / "worker", model = dir / "model";

  trained() {
    order.id = "run-1";
    order.model_name = "ease";
    order.worker_config = "model = \"ease\"\n";
    order.run.exclude_arms = {"b"};
    write(worker, "program");
    write(model / "weights.safetensors", "weights");
    write(model / "model.json", R"({"kind":"ease","data":{"split":"leave-last-out"}})");
  }

  void write(const std::filesystem::path& file, std::string_view text) {
    std::filesystem::create_directories(file.parent_path());
    std::ofstream{file} << text;
  }

  expected<std::string> text() { return model_manifest({order, data, result, not_measured, worker, model}); }
  json::object read() { return json::parse(text().value()).as_object(); }
};

} // namespace

TEST_CASE("the manifest of a model names what it was made of and every file by its hash") {
  trained of;

  auto got = of.read();

  CHECK(got.at("name") == "ease");
  CHECK(got.at("run") == "run-1");
  CHECK(got.at("kind") == "ease");
  CHECK(got.at("config") == json::value(of.order.worker_config));
  CHECK(got.at("config_sha256") == json::value(sha256_hex(as_bytes(of.order.worker_config))));
  CHECK(got.at("binary").at("sha256") == json::value(sha256_hex(as_bytes("program"))));
  auto hash = sha256_hex(as_bytes("weights"));
  CHECK(got.at("weights") ==
        json::value(json::object{{"file", "weights.safetensors"}, {"sha256", hash}, {"bytes", 7}}));
  CHECK(got.at("files").at("weights.safetensors").at("sha256") == json::value(hash));
  CHECK(got.at("files").as_object().contains("model.json"));
  CHECK(got.at("data").at("sha256") == "d");
  CHECK(got.at("data").at("exclude_arms") == json::array{"b"});
  CHECK(got.at("data").at("split") == "leave-last-out");
  CHECK(got.at("views").at("ratings") == "v1");
  CHECK(got.at("metrics").at("ndcg_at_10") == 0.5);
  CHECK(got.at("parents").as_array().empty());
  CHECK(!got.contains("beside"));
}

TEST_CASE("the manifest of a model says why production was not measured beside it, or with what") {
  trained of;
  of.not_measured = "the registry is away";
  CHECK(of.read().at("beside").at("production").at("reason") == "the registry is away");
  of.result["beside"] = json::object{{"production", json::object{{"model", "ease:1"}}}};
  CHECK(of.read().at("beside").at("production").at("model") == "ease:1");
  of.order.parent = "ease:1";
  CHECK(of.read().at("parents") == json::array{"ease:1"});
}

TEST_CASE("the manifest of a model of which nothing was measured says why") {
  trained of;
  CHECK(!of.read().contains("not_measured"));
  of.result["not_measured"] = "no user has three items";
  CHECK(of.read().at("not_measured") == "no user has three items");
}

TEST_CASE("a model folder without a file has no manifest") {
  trained of;
  std::filesystem::remove_all(of.model);
  CHECK(of.text().error().code == ec::corrupt);
}
