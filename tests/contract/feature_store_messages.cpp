#include "tests/contract/message_table.hpp"
#include "tests/contract/service_messages.hpp"

#include "schemas/feature_store_generated.h"

namespace troupe::contract {

void add_feature_store(std::vector<message>& all) {
  constexpr auto id = "TRPF";
  all.push_back(table<wire::ReadFeatures>(
      "read_features", id,
      [](builder& out) {
        text_vector ids{out.CreateString("u1"), out.CreateString("u2")},
            names{out.CreateString("ratings.count_7d")};
        std::vector<wire::PartitionOffset> least{{0, 10}, {1, 20}};
        return wire::CreateReadFeaturesDirect(out, "user", &ids, &names, at, &least);
      },
      [](auto& m) {
        return is(m.entity(), "user") && m.ids()->size() == 2 && is(m.ids()->Get(1), "u2") &&
               is(m.features()->Get(0), "ratings.count_7d") && m.at() == at &&
               m.min_offsets()->Get(1)->partition() == 1 && m.min_offsets()->Get(1)->offset() == 20;
      }));
  all.push_back(table<wire::Features>(
      "features", id,
      [](builder& out) {
        std::vector<wire::FeatureStatus> status{wire::FeatureStatus::present, wire::FeatureStatus::missing};
        std::vector<std::int64_t> age{1'000, -1};
        std::vector<double> numbers{3.5, 0};
        text_vector words{out.CreateString("Drama")}, texts{out.CreateString("x"), out.CreateString("")},
            versions{out.CreateString("ratings@1")};
        std::vector lists{wire::CreateTextListDirect(out, &words)};
        auto name = out.CreateString("ratings.mean");
        auto status_at = out.CreateVector(status);
        auto age_at = out.CreateVector(age);
        auto numbers_at = out.CreateVector(numbers);
        auto texts_at = out.CreateVector(texts);
        auto lists_at = out.CreateVector(lists);
        std::vector columns{
            wire::CreateFeatureColumn(out, name, status_at, age_at, numbers_at, texts_at, lists_at)};
        std::vector<wire::PartitionOffset> applied{{0, 11}};
        return wire::CreateFeaturesDirect(out, &columns, &applied, &versions);
      },
      [](auto& m) {
        auto* one = m.columns()->Get(0);
        return is(one->name(), "ratings.mean") && one->status()->Get(0) == wire::FeatureStatus::present &&
               one->status()->Get(1) == wire::FeatureStatus::missing && one->age_us()->Get(0) == 1'000 &&
               one->age_us()->Get(1) == -1 && one->numbers()->Get(0) == 3.5 &&
               is(one->texts()->Get(0), "x") && is(one->lists()->Get(0)->items()->Get(0), "Drama") &&
               m.applied()->Get(0)->offset() == 11 && is(m.view_versions()->Get(0), "ratings@1");
      }));
  all.push_back(table<wire::TrainingStart>(
      "training_start", id,
      [](builder& out) { return wire::CreateTrainingStartDirect(out, "[labels]", "/out"); },
      [](auto& m) { return is(m.spec(), "[labels]") && is(m.out(), "/out"); }));
  all.push_back(table<wire::TrainingStart>(
      "training_start_kept", id,
      [](builder& out) { return wire::CreateTrainingStartDirect(out, "[labels]", ""); },
      [](auto& m) { return is(m.spec(), "[labels]") && m.out() && is(m.out(), ""); }));
  all.push_back(table<wire::TrainingStatus>(
      "training_status", id,
      [](builder& out) {
        return wire::CreateTrainingStatusDirect(out, "t1", wire::TrainingState::done, "", "done", 10, 9, 8,
                                                "{}");
      },
      [](auto& m) {
        return is(m.training_id(), "t1") && m.state() == wire::TrainingState::done && is(m.stage(), "done") &&
               m.records_total() == 10 && m.records_done() == 9 && m.rows() == 8 && is(m.manifest(), "{}");
      }));
  all.push_back(table<wire::StatePage>(
      "state_page", id,
      [](builder& out) {
        text_vector keys{out.CreateString("user/u1")}, sums{out.CreateString("ab")};
        std::vector<wire::PartitionOffset> applied{{0, 11}};
        return wire::CreateStatePageDirect(out, &keys, &sums, true, &applied);
      },
      [](auto& m) {
        return is(m.keys()->Get(0), "user/u1") && is(m.sha256()->Get(0), "ab") && m.last() &&
               m.applied()->Get(0)->offset() == 11;
      }));
}

void add_feature_scan(std::vector<message>& all) {
  constexpr auto id = "TRPF";
  all.push_back(table<wire::FeatureScan>(
      "feature_scan", id,
      [](builder& out) {
        text_vector names{out.CreateString("item_card.title")};
        return wire::CreateFeatureScanDirect(out, "item", &names, "i1", 500, at);
      },
      [](auto& m) {
        return is(m.entity(), "item") && is(m.features()->Get(0), "item_card.title") && is(m.after(), "i1") &&
               m.limit() == 500 && m.at() == at;
      }));
  all.push_back(table<wire::FeatureScanPage>(
      "feature_scan_page", id,
      [](builder& out) {
        text_vector ids{out.CreateString("i2")}, versions{out.CreateString("item_card@1")};
        std::vector<wire::PartitionOffset> applied{{0, 11}};
        auto features = wire::CreateFeaturesDirect(out, nullptr, &applied, &versions);
        return wire::CreateFeatureScanPageDirect(out, &ids, features, true);
      },
      [](auto& m) {
        return is(m.ids()->Get(0), "i2") && m.features()->applied()->Get(0)->offset() == 11 && m.last();
      }));
}

void add_feature_changes(std::vector<message>& all) {
  constexpr auto id = "TRPF";
  all.push_back(table<wire::FeatureChanges>(
      "feature_changes", id,
      [](builder& out) {
        text_vector names{out.CreateString("item_card.title")};
        return wire::CreateFeatureChangesDirect(out, "item", &names, "a1.7.9", 500, at, true);
      },
      [](auto& m) {
        return is(m.entity(), "item") && is(m.features()->Get(0), "item_card.title") &&
               is(m.since(), "a1.7.9") && m.limit() == 500 && m.at() == at && m.records_only();
      }));
  all.push_back(table<wire::FeatureChangesPage>(
      "feature_changes_page", id,
      [](builder& out) {
        text_vector ids{out.CreateString("i2")}, versions{out.CreateString("item_card@1")};
        std::vector<wire::PartitionOffset> applied{{0, 11}};
        auto features = wire::CreateFeaturesDirect(out, nullptr, &applied, &versions);
        return wire::CreateFeatureChangesPageDirect(out, &ids, features, "a1.8.9", true, true);
      },
      [](auto& m) {
        return is(m.ids()->Get(0), "i2") && m.features()->applied()->Get(0)->offset() == 11 &&
               is(m.next(), "a1.8.9") && m.more() && m.reset();
      }));
}

void add_kept_training(std::vector<message>& all) {
  constexpr auto id = "TRPF";
  all.push_back(table<wire::TrainingRead>(
      "training_read", id,
      [](builder& out) {
        return wire::CreateTrainingReadDirect(out, "clicks", "part-00000.parquet", 8, 4096, "ab");
      },
      [](auto& m) {
        return is(m.name(), "clicks") && is(m.file(), "part-00000.parquet") && m.offset() == 8 &&
               m.max_bytes() == 4096 && is(m.content_sha256(), "ab");
      }));
  all.push_back(table<wire::TrainingPage>(
      "training_page", id,
      [](builder& out) {
        std::vector<std::uint8_t> bytes{1, 2, 3};
        return wire::CreateTrainingPageDirect(out, 8, &bytes, 11, 99);
      },
      [](auto& m) {
        return m.offset() == 8 && m.bytes()->size() == 3 && m.bytes()->Get(2) == 3 && m.size() == 11 &&
               m.set_bytes() == 99;
      }));
  all.push_back(table<wire::TrainingList>(
      "training_list", id, [](builder& out) { return wire::CreateTrainingListDirect(out, "clicks", 20); },
      [](auto& m) { return is(m.after(), "clicks") && m.limit() == 20; }));
  all.push_back(table<wire::TrainingListPage>(
      "training_list_page", id,
      [](builder& out) {
        std::vector sets{wire::CreateKeptTrainingDirect(out, "clicks", 7, 99, "ab", at)};
        return wire::CreateTrainingListPageDirect(out, &sets, true);
      },
      [](auto& m) {
        auto* one = m.sets()->Get(0);
        return is(one->name(), "clicks") && one->rows() == 7 && one->bytes() == 99 &&
               is(one->content_sha256(), "ab") && one->made_at() == at && m.last();
      }));
  all.push_back(table<wire::TrainingRemove>(
      "training_remove", id, [](builder& out) { return wire::CreateTrainingRemoveDirect(out, "clicks"); },
      [](auto& m) { return is(m.name(), "clicks"); }));
}

} // namespace troupe::contract
