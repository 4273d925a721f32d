#include "tests/contract/messages.hpp"

#include "common/event/record.hpp"
#include "common/net/envelope.hpp"

#include "schemas/deployer_generated.h"
#include "schemas/feature_store_generated.h"
#include "schemas/gateway_generated.h"
#include "schemas/ingest_generated.h"
#include "schemas/ranker_generated.h"
#include "schemas/registry_generated.h"
#include "schemas/status_generated.h"
#include "schemas/trainer_generated.h"
#include "schemas/validator_generated.h"

namespace troupe::contract {

namespace {

using builder = flatbuffers::FlatBufferBuilder;
using text_vector = std::vector<flatbuffers::Offset<flatbuffers::String>>;

constexpr std::int64_t at = 1'700'000'000'123'456;

/// A message of table `Table` under `identifier`: written by `build(out)`, read by `check(table)`.
template <class Table, class Build, class Check>
message table(std::string name, const char* identifier, Build build, Check check) {
  return {name + ".v1.bin",
          [=] {
            builder out;
            out.Finish(build(out), identifier);
            return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
          },
          [=](byte_view bytes) {
            auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
            flatbuffers::Verifier verifier{data, bytes.size()};
            return verifier.VerifyBuffer<Table>(identifier) && check(*flatbuffers::GetRoot<Table>(data));
          }};
}

bool is(const flatbuffers::String* text, std::string_view expected) {
  return text_of(text) == expected;
}

record sample() {
  record rec;
  rec.id = "e1";
  rec.type = "rating";
  rec.user = "u1";
  rec.item = "i1";
  rec.event_time = from_micros(at);
  rec.ingest_time = from_micros(at + 1);
  rec.value = 4.5;
  rec.request_id = "r1";
  rec.attributes = {{"genres", text_list{"Drama", "War"}},
                    {"position", 3.0},
                    {"promoted", true},
                    {"query", std::string{"\xc3\xbc"}}};
  return rec;
}

chunk sample_batch() {
  std::vector<record> records{sample()};
  return encode_batch(records, 7, 42);
}

std::vector<std::uint8_t> sample_batch_bytes() {
  auto bytes = sample_batch();
  auto* first = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return {first, first + bytes.size()};
}

bool is_sample_batch(const flatbuffers::Vector<std::uint8_t>* bytes) {
  if (bytes == nullptr)
    return false;
  auto opened = batch::open(chunk::copy({reinterpret_cast<const std::byte*>(bytes->data()), bytes->size()}));
  return opened && opened->size() == 1 && to_record((*opened)[0]) == sample();
}

void add_envelopes(std::vector<message>& all) {
  net::envelope request;
  request.kind = wire::Kind::read_features;
  request.request_id = {0x0123456789abcdef, 42};
  request.trace = {1, 2, 3, 1};
  request.time_left = std::chrono::milliseconds{250};
  request.caller = "ranker/1";
  net::envelope refusal;
  refusal.kind = wire::Kind::append;
  refusal.reply = true;
  refusal.request_id = {7, 8};
  refusal.caller = "ingest/0";
  refusal.failure = error{ec::overloaded, "busy"};
  refusal.retry_after = std::chrono::milliseconds{50};
  for (auto& [name, head] : {std::pair{"envelope_request", request}, std::pair{"envelope_refusal", refusal}})
    all.push_back({std::string{name} + ".v1.bin", [head = head] { return net::encode(head); },
                   [head = head](byte_view bytes) { return net::decode_envelope(bytes) == head; }});
}

void add_ingest(std::vector<message>& all) {
  constexpr auto id = "TRPI";
  all.push_back({"batch.v1.bin", sample_batch, [](byte_view bytes) {
                   auto opened = batch::open(chunk::copy(bytes));
                   return opened && opened->partition() == 7 && opened->base_offset() == 42 &&
                          opened->size() == 1 && to_record((*opened)[0]) == sample();
                 }});
  all.push_back(table<wire::UploadPut>(
      "upload_put", id,
      [](builder& out) {
        std::vector<std::uint8_t> bytes{1, 2};
        return wire::CreateUploadPutDirect(out, "0123456789abcdef", "a/b.csv", 7, 9, at, 5, &bytes);
      },
      [](auto& m) {
        return is(m.upload(), "0123456789abcdef") && is(m.file(), "a/b.csv") && m.size() == 7 &&
               m.total() == 9 && m.modified() == at && m.offset() == 5 && m.bytes()->size() == 2 &&
               m.bytes()->Get(1) == 2;
      }));
  all.push_back(table<wire::UploadStatus>(
      "upload_status", id, [](builder& out) { return wire::CreateUploadStatus(out, 7, true); },
      [](auto& m) { return m.next_offset() == 7 && m.complete(); }));
  all.push_back(table<wire::ImportStart>(
      "import_start", id,
      [](builder& out) { return wire::CreateImportStartDirect(out, "/data/*.csv", "[source]", "x.toml"); },
      [](auto& m) {
        return is(m.path(), "/data/*.csv") && is(m.mapping(), "[source]") && is(m.mapping_name(), "x.toml");
      }));
  all.push_back(table<wire::ImportStatus>(
      "import_status", id,
      [](builder& out) {
        std::vector files{wire::CreateImportFileDirect(out, "a.csv", 100, 50, 5, true)};
        return wire::CreateImportStatusDirect(out, "i1", wire::ImportState::failed, "why", &files, 1, 2, 3, 4,
                                              5, 6, 7, 8, 9, 10);
      },
      [](auto& m) {
        auto* file = m.files()->Get(0);
        return is(m.import_id(), "i1") && m.state() == wire::ImportState::failed && is(m.error(), "why") &&
               is(file->path(), "a.csv") && file->bytes_total() == 100 && file->bytes_read() == 50 &&
               file->rows_read() == 5 && file->done() && m.bytes_total() == 1 && m.bytes_read() == 2 &&
               m.rows_read() == 3 && m.events_added() == 4 && m.users_added() == 5 && m.items_added() == 6 &&
               m.duplicates() == 7 && m.quarantined() == 8 && m.late() == 9 && m.skipped() == 10;
      }));
  all.push_back(table<wire::Append>(
      "append", id,
      [](builder& out) {
        auto batch = sample_batch_bytes();
        return wire::CreateAppendDirect(out, "http", &batch);
      },
      [](auto& m) { return is(m.source(), "http") && is_sample_batch(m.batch()); }));
  all.push_back(table<wire::AppendReply>(
      "append_reply", id,
      [](builder& out) {
        std::vector rows{wire::CreateRowResultDirect(out, wire::Outcome::added),
                         wire::CreateRowResultDirect(out, wire::Outcome::quarantined, "range", "too big")};
        return wire::CreateAppendReplyDirect(out, &rows);
      },
      [](auto& m) {
        return m.rows()->size() == 2 && m.rows()->Get(0)->outcome() == wire::Outcome::added &&
               m.rows()->Get(1)->outcome() == wire::Outcome::quarantined &&
               is(m.rows()->Get(1)->rule(), "range") && is(m.rows()->Get(1)->reason(), "too big");
      }));
  all.push_back(table<wire::AppendReply>(
      "append_reply_offsets", id,
      [](builder& out) {
        std::vector rows{wire::CreateRowResultDirect(out, wire::Outcome::duplicate)};
        std::vector<wire::PartitionOffset> offsets{{2, 17}};
        return wire::CreateAppendReplyDirect(out, &rows, &offsets);
      },
      [](auto& m) {
        return m.rows()->Get(0)->outcome() == wire::Outcome::duplicate && m.offsets()->size() == 1 &&
               m.offsets()->Get(0)->partition() == 2 && m.offsets()->Get(0)->offset() == 17;
      }));
  all.push_back(table<wire::Fetch>(
      "fetch", id, [](builder& out) { return wire::CreateFetch(out, 3, 1'000, 65'536, 500'000); },
      [](auto& m) {
        return m.partition() == 3 && m.offset() == 1'000 && m.max_bytes() == 65'536 && m.wait_us() == 500'000;
      }));
  all.push_back(table<wire::FetchReply>(
      "fetch_reply", id,
      [](builder& out) {
        auto bytes = sample_batch_bytes();
        std::vector batches{wire::CreateLogBatchDirect(out, &bytes)};
        return wire::CreateFetchReplyDirect(out, &batches, 43);
      },
      [](auto& m) { return m.next_offset() == 43 && is_sample_batch(m.batches()->Get(0)->batch()); }));
  all.push_back(table<wire::LogInfo>(
      "log_info", id,
      [](builder& out) {
        std::vector<wire::PartitionInfo> parts{{1, 2, 3, 4, at}};
        return wire::CreateLogInfoDirect(out, &parts, 5, 6, 7, 8, 9);
      },
      [](auto& m) {
        auto* part = m.partitions()->Get(0);
        return part->partition() == 1 && part->first_offset() == 2 && part->next_offset() == 3 &&
               part->sealed_offset() == 4 && part->watermark() == at && m.events() == 5 && m.users() == 6 &&
               m.items() == 7 && m.quarantined() == 8 && m.late() == 9;
      }));
  all.push_back(table<wire::QuarantinePage>(
      "quarantine_page", id,
      [](builder& out) {
        std::vector<std::uint8_t> raw{'a', 0, 0xff};
        std::vector rows{wire::CreateQuarantinedRowDirect(out, 1, "a.csv", 2, 3, "range", "value", "too big",
                                                          &raw, at, true)};
        return wire::CreateQuarantinePageDirect(out, &rows, 9);
      },
      [](auto& m) {
        auto* row = m.rows()->Get(0);
        return m.total() == 9 && row->number() == 1 && is(row->source(), "a.csv") && row->row() == 2 &&
               row->byte_offset() == 3 && is(row->rule(), "range") && is(row->field(), "value") &&
               is(row->reason(), "too big") && row->raw()->size() == 3 && row->raw()->Get(2) == 0xff &&
               row->at() == at && row->replayed();
      }));
  all.push_back(table<wire::QuarantineReplay>(
      "quarantine_replay", id,
      [](builder& out) {
        std::vector<std::uint64_t> numbers{1, 2};
        return wire::CreateQuarantineReplayDirect(out, &numbers, "range", "a.csv", "[source]");
      },
      [](auto& m) {
        return m.numbers()->size() == 2 && m.numbers()->Get(1) == 2 && is(m.rule(), "range") &&
               is(m.source(), "a.csv") && is(m.mapping(), "[source]");
      }));
  all.push_back(table<wire::LakeStatus>(
      "lake_status", id,
      [](builder& out) {
        std::vector segments{wire::CreateLakeSegmentDirect(out, 1, 2, 3, "p/1.parquet", 4)};
        return wire::CreateLakeStatusDirect(out, &segments);
      },
      [](auto& m) {
        auto* one = m.segments()->Get(0);
        return one->partition() == 1 && one->first_offset() == 2 && one->next_offset() == 3 &&
               is(one->path(), "p/1.parquet") && one->bytes() == 4;
      }));
}

void add_validator(std::vector<message>& all) {
  constexpr auto id = "TRPV";
  all.push_back(table<wire::Judge>(
      "judge", id,
      [](builder& out) {
        auto batch = sample_batch_bytes();
        return wire::CreateJudgeDirect(out, "a.csv", 2'000, &batch);
      },
      [](auto& m) {
        return is(m.source(), "a.csv") && m.first_row() == 2'000 && is_sample_batch(m.batch());
      }));
  all.push_back(table<wire::Verdicts>(
      "verdicts", id,
      [](builder& out) {
        std::vector refused{wire::CreateVerdictDirect(out, 5, "range", "value", "6 is above 5")};
        return wire::CreateVerdictsDirect(out, &refused);
      },
      [](auto& m) {
        auto* one = m.refused()->Get(0);
        return one->record() == 5 && is(one->rule(), "range") && is(one->field(), "value") &&
               is(one->reason(), "6 is above 5");
      }));
  all.push_back(table<wire::ProfileReply>(
      "profile_reply", id, [](builder& out) { return wire::CreateProfileReplyDirect(out, "{}"); },
      [](auto& m) { return is(m.json(), "{}"); }));
}

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

void add_ranker(std::vector<message>& all) {
  constexpr auto id = "TRPK";
  all.push_back(table<wire::Rank>(
      "rank", id,
      [](builder& out) {
        text_vector session{out.CreateString("i1")}, exclude{out.CreateString("i2")},
            candidates{out.CreateString("i3")}, words{out.CreateString("War"), out.CreateString("Drama")};
        std::vector context{wire::CreateAttributeDirect(out, "device", wire::ValueKind::text, 0, "phone")};
        std::vector filters{
            wire::CreateFilterDirect(out, "genres", wire::FilterOp::one_of, true, "x", 2.5, &words)};
        std::vector<wire::PartitionOffset> least{{3, 10}};
        return wire::CreateRankDirect(out, "ab12", "b", "u1", &session, &context, &filters, &exclude,
                                      &candidates, 20, true, 77, &least);
      },
      [](auto& m) {
        auto* filter = m.filters()->Get(0);
        return is(m.release(), "ab12") && is(m.arm(), "b") && is(m.user(), "u1") &&
               is(m.session()->Get(0), "i1") && is(m.context()->Get(0)->name(), "device") &&
               is(m.context()->Get(0)->text(), "phone") && is(filter->attribute(), "genres") &&
               filter->op() == wire::FilterOp::one_of && filter->not_() && is(filter->text(), "x") &&
               filter->number() == 2.5 && is(filter->list()->Get(1), "Drama") &&
               is(m.exclude()->Get(0), "i2") && is(m.candidates()->Get(0), "i3") && m.n() == 20 &&
               m.explain() && m.seed() == 77 && m.min_offsets()->Get(0)->partition() == 3 &&
               m.min_offsets()->Get(0)->offset() == 10;
      }));
  all.push_back(table<wire::Similar>(
      "similar", id,
      [](builder& out) {
        text_vector exclude{out.CreateString("i2")};
        std::vector filters{wire::CreateFilterDirect(out, "year", wire::FilterOp::at_least, false, "", 1990)};
        return wire::CreateSimilarDirect(out, "ab12", "i1", 5, &filters, &exclude);
      },
      [](auto& m) {
        return is(m.release(), "ab12") && is(m.item(), "i1") && m.n() == 5 &&
               m.filters()->Get(0)->number() == 1990 && is(m.exclude()->Get(0), "i2");
      }));
  all.push_back(table<wire::RankReply>(
      "rank_reply", id,
      [](builder& out) {
        text_vector sources{out.CreateString("nearest")}, because{out.CreateString("i1")},
            notes{out.CreateString("explored")}, degraded{out.CreateString("features: gone")};
        std::vector models{wire::CreateModelScoreDirect(out, "ease", 0.5)};
        std::vector items{
            wire::CreateRankedItemDirect(out, "i9", 1.5, 0.25, &sources, &because, "Alien", &models, &notes)};
        std::vector stages{wire::CreateStageDirect(out, "score", 120, 500)};
        std::vector features{
            wire::CreateUsedFeatureDirect(out, "user_history.items", wire::FeatureStatus::stale, 42, "i1")};
        return wire::CreateRankReplyDirect(out, "ab12", &items, &degraded, &stages, &features);
      },
      [](auto& m) {
        auto* one = m.items()->Get(0);
        auto* stage = m.stages()->Get(0);
        auto* feature = m.features()->Get(0);
        return is(m.release(), "ab12") && is(one->item(), "i9") && one->score() == 1.5 &&
               one->propensity() == 0.25 && is(one->sources()->Get(0), "nearest") &&
               is(one->because()->Get(0), "i1") && is(one->title(), "Alien") &&
               is(one->models()->Get(0)->model(), "ease") && one->models()->Get(0)->score() == 0.5 &&
               is(one->notes()->Get(0), "explored") && is(m.degraded()->Get(0), "features: gone") &&
               is(stage->name(), "score") && stage->us() == 120 && stage->count() == 500 &&
               is(feature->name(), "user_history.items") && feature->status() == wire::FeatureStatus::stale &&
               feature->age_us() == 42 && is(feature->value(), "i1");
      }));
  all.push_back(table<wire::Prepare>(
      "prepare", id,
      [](builder& out) {
        text_vector releases{out.CreateString("ab12"), out.CreateString("cd34")};
        return wire::CreatePrepareDirect(out, &releases);
      },
      [](auto& m) { return m.releases()->size() == 2 && is(m.releases()->Get(1), "cd34"); }));
  all.push_back(table<wire::LoadedReleases>(
      "loaded_releases", id,
      [](builder& out) {
        std::vector loaded{wire::CreateLoadedReleaseDirect(out, "ab12", "failed", "hash", 1, 2, 3, 4)};
        return wire::CreateLoadedReleasesDirect(out, &loaded);
      },
      [](auto& m) {
        auto* one = m.releases()->Get(0);
        return is(one->id(), "ab12") && is(one->state(), "failed") && is(one->error(), "hash") &&
               one->items() == 1 && one->bytes() == 2 && one->load_us() == 3 && one->in_use() == 4;
      }));
}

void add_gateway(std::vector<message>& all) {
  all.push_back(table<wire::InspectionQuery>(
      "inspection_query", "TRPG", [](builder& out) { return wire::CreateInspectionQueryDirect(out, "r1"); },
      [](auto& m) { return is(m.request_id(), "r1"); }));
  all.push_back(table<wire::Inspection>(
      "inspection", "TRPG", [](builder& out) { return wire::CreateInspectionDirect(out, "{}"); },
      [](auto& m) { return is(m.json(), "{}"); }));
}

void add_status(std::vector<message>& all) {
  all.push_back(table<wire::StatusReply>(
      "status_reply", "TRPS",
      [](builder& out) {
        std::vector gauges{wire::CreateGaugeDirect(out, "lag", 2.5)};
        return wire::CreateStatusReplyDirect(out, "ingest", 1, true, "ready", "disk", at, 99, &gauges);
      },
      [](auto& m) {
        return is(m.service(), "ingest") && m.replica() == 1 && m.ready() && is(m.state(), "ready") &&
               is(m.last_error(), "disk") && m.last_error_at() == at && m.uptime_us() == 99 &&
               is(m.gauges()->Get(0)->name(), "lag") && m.gauges()->Get(0)->value() == 2.5;
      }));
}

/// A message that is kept as a value: what is read, written again, is the same bytes.
template <class Table, class Fill>
message value_table(std::string name, Fill fill, const char* identifier = "TRPR") {
  auto write = [=](const typename Table::NativeTableType& value) {
    builder out;
    out.Finish(Table::Pack(out, &value), identifier);
    return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
  };
  return {name + ".v1.bin",
          [=] {
            typename Table::NativeTableType value;
            fill(value);
            return write(value);
          },
          [=](byte_view bytes) {
            auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
            flatbuffers::Verifier verifier{data, bytes.size()};
            if (!verifier.VerifyBuffer<Table>(identifier))
              return false;
            typename Table::NativeTableType value;
            flatbuffers::GetRoot<Table>(data)->UnPackTo(&value);
            return write(value).text() == as_text(bytes);
          }};
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

void add_registry_runs(std::vector<message>& all) {
  all.push_back(value_table<wire::RunCreate>("run_create", [](auto& to) {
    to.run_id = "run-1";
    to.experiment = "ml-1m";
    to.name = "ease";
    to.parameters = named_texts("regularization", "500");
    to.tags = named_texts("owner", "us");
  }));
  all.push_back(value_table<wire::RunUpdate>("run_update", [](auto& to) {
    to.run_id = "run-1";
    to.number = 3;
    to.state = wire::RunState::failed;
    to.error = "out of memory";
    to.parameters = named_texts("regularization", "500");
    to.tags = named_texts("owner", "us");
    to.metrics.push_back(sample_point());
    to.artefacts = named_texts("weights", std::string(64, 'a'));
  }));
  all.push_back(value_table<wire::RunQuery>("run_query", [](auto& to) { to.run_id = "run-1"; }));
  all.push_back(value_table<wire::RunReply>("run_reply", [](auto& to) { to.run = sample_run(); }));
  all.push_back(value_table<wire::RunList>("run_list", [](auto& to) {
    to.experiment = "ml-1m";
    to.before = "run-9";
    to.limit = 10;
  }));
  all.push_back(value_table<wire::RunPage>("run_page", [](auto& to) {
    to.runs.push_back(sample_run());
    to.last = true;
  }));
  all.push_back(value_table<wire::MetricQuery>("metric_query", [](auto& to) {
    to.run_id = "run-1";
    to.name = "loss";
    to.from_step = 5;
    to.limit = 100;
    to.every = 10;
  }));
  all.push_back(value_table<wire::MetricPage>("metric_page", [](auto& to) {
    to.points.push_back(sample_point());
    to.last = true;
  }));
}

void add_registry_models(std::vector<message>& all) {
  all.push_back(value_table<wire::BlobPut>("blob_put", [](auto& to) {
    to.sha256 = std::string(64, 'a');
    to.size = 9;
    to.offset = 4;
    to.bytes = {1, 2, 3};
  }));
  all.push_back(value_table<wire::BlobStatus>("blob_status", [](auto& to) {
    to.sha256 = std::string(64, 'a');
    to.size = 9;
    to.next_offset = 7;
    to.complete = true;
  }));
  all.push_back(value_table<wire::BlobGet>("blob_get", [](auto& to) {
    to.sha256 = std::string(64, 'a');
    to.offset = 4;
    to.limit = 100;
  }));
  all.push_back(value_table<wire::BlobPart>("blob_part", [](auto& to) {
    to.size = 9;
    to.offset = 4;
    to.bytes = {1, 2, 3};
  }));
  all.push_back(value_table<wire::ModelRegister>("model_register", [](auto& to) {
    to.name = "ease";
    to.manifest = "{}";
    to.tags = named_texts("owner", "us");
    to.skip_gate = true;
  }));
  all.push_back(value_table<wire::ModelVersion>("model_version", fill_version));
  all.push_back(value_table<wire::ModelList>("model_list", [](auto& to) {
    to.name = "ease";
    to.after = "ease:1";
    to.limit = 10;
  }));
  all.push_back(value_table<wire::ModelPage>("model_page", [](auto& to) {
    to.versions.push_back(std::make_unique<wire::ModelVersionT>());
    fill_version(*to.versions[0]);
    to.last = true;
  }));
  all.push_back(value_table<wire::ModelQuery>("model_query", [](auto& to) {
    to.name = "ease";
    to.version = "production";
  }));
  all.push_back(value_table<wire::ModelChange>("model_change", [](auto& to) {
    to.name = "ease";
    to.version = 2;
    to.set_aliases = {"production"};
    to.remove_aliases = {"candidate"};
    to.set_tags = named_texts("owner", "us");
    to.remove_tags = {"old"};
  }));
  all.push_back(value_table<wire::ReleaseRegister>("release_register", [](auto& to) {
    to.name = "first";
    to.manifest = "{}";
    to.skip_gate = true;
  }));
  all.push_back(value_table<wire::Release>("release", fill_release));
  all.push_back(value_table<wire::ReleaseList>("release_list", [](auto& to) {
    to.before = std::string(64, 'd');
    to.limit = 10;
  }));
  all.push_back(value_table<wire::ReleasePage>("release_page", [](auto& to) {
    to.releases.push_back(std::make_unique<wire::ReleaseT>());
    fill_release(*to.releases[0]);
    to.last = true;
  }));
  all.push_back(value_table<wire::ReleaseQuery>("release_query", [](auto& to) { to.id = "first"; }));
}

void add_trainer(std::vector<message>& all) {
  constexpr auto id = "TRPT";
  all.push_back(table<wire::TrainStart>(
      "train_start", id,
      [](builder& out) { return wire::CreateTrainStartDirect(out, "r1", "model = \"ease\"", "ease:3"); },
      [](auto& m) {
        return is(m.run_id(), "r1") && is(m.config(), "model = \"ease\"") && is(m.parent(), "ease:3");
      }));
  all.push_back(table<wire::TrainStatus>(
      "train_status", id,
      [](builder& out) {
        std::vector metrics{wire::CreateTrainMetricDirect(out, "loss", 0.5)};
        return wire::CreateTrainStatusDirect(out, "r1", wire::TrainState::failed, "why", "fitting", 1, 2, 3.5,
                                             4.5, 5, &metrics, "{}");
      },
      [](auto& m) {
        return is(m.run_id(), "r1") && m.state() == wire::TrainState::failed && is(m.error(), "why") &&
               is(m.stage(), "fitting") && m.step() == 1 && m.steps_total() == 2 &&
               m.samples_per_second() == 3.5 && m.seconds_left() == 4.5 && m.restarts() == 5 &&
               is(m.metrics()->Get(0)->name(), "loss") && m.metrics()->Get(0)->value() == 0.5 &&
               is(m.manifest(), "{}");
      }));
}

void fill_rollout(wire::RolloutT& to) {
  to.rollout_id = "r1";
  to.strategy = "canary";
  to.release = std::string(64, 'a');
  to.from_release = std::string(64, 'b');
  to.state = wire::RolloutState::paused;
  to.step = 2;
  to.steps = 4;
  to.weight = 0.25;
  to.reason = "why";
  to.spec = "release = \"spring\"";
  to.started = at;
  to.ended = at + 1;
  auto line = std::make_unique<wire::DecisionT>();
  line->at = at;
  line->step = 2;
  line->metric = "p99_us";
  line->arm = "canary";
  line->against = "production";
  line->window_us = 3;
  line->value = 4.5;
  line->bound = 5.5;
  line->n = 6;
  line->verdict = wire::Verdict3::fail;
  line->action = "roll back";
  line->reason = "slow";
  to.decisions.push_back(std::move(line));
  to.weights = {0.05, 0.25};
  to.replicas = 3;
  to.holding = 2;
  to.aliased = true;
  to.running_since = at + 2;
  to.entered = at + 3;
}

void add_deployer(std::vector<message>& all) {
  constexpr auto id = "TRPD";
  auto add = [&]<class Table>(std::string name, auto fill) {
    all.push_back(value_table<Table>(std::move(name), fill, id));
  };
  add.operator()<wire::RoutingQuery>("routing_query", [](auto& to) {
    to.known_version = 7;
    to.wait_us = 8;
  });
  add.operator()<wire::RoutingTable>("routing_table", [](auto& to) {
    to.version = 9;
    auto arm = std::make_unique<wire::ArmT>();
    arm->name = "canary";
    arm->release = std::string(64, 'a');
    arm->weight = 0.25;
    to.arms.push_back(std::move(arm));
    to.salt = "s";
    to.shadow = std::string(64, 'c');
    to.rollout = "r1";
    to.keep = {std::string(64, 'a'), std::string(64, 'b')};
  });
  add.operator()<wire::RolloutStart>("rollout_start", [](auto& to) {
    to.rollout_id = "r1";
    to.spec = "release = \"spring\"";
  });
  add.operator()<wire::Rollout>("rollout", fill_rollout);
  add.operator()<wire::RolloutList>("rollout_list", [](auto& to) {
    to.before = "r1";
    to.limit = 10;
  });
  add.operator()<wire::RolloutPage>("rollout_page", [](auto& to) {
    to.rollouts.push_back(std::make_unique<wire::RolloutT>());
    fill_rollout(*to.rollouts[0]);
    to.last = true;
  });
  add.operator()<wire::RolloutQuery>("rollout_query", [](auto& to) { to.rollout_id = "current"; });
  add.operator()<wire::RolloutChange>("rollout_change", [](auto& to) {
    to.rollout_id = "r1";
    to.action = wire::RolloutAction::abort;
    to.reason = "why";
  });
  add.operator()<wire::ArmReport>("arm_report", [](auto& to) {
    to.gateway = "gateway/0";
    to.number = 3;
    auto arm = std::make_unique<wire::ArmCountsT>();
    arm->arm = "canary";
    arm->release = std::string(64, 'a');
    arm->answers = 4;
    arm->errors = 1;
    arm->degraded = 2;
    arm->latency_bounds_us = {100, 200};
    arm->latency_counts = {1, 2, 1};
    to.arms.push_back(std::move(arm));
    auto shadow = std::make_unique<wire::ShadowCountsT>();
    shadow->release = std::string(64, 'c');
    shadow->compared = 5;
    shadow->overlap_sum = 2.5;
    shadow->rank_correlation_sum = 1.5;
    shadow->errors = 1;
    shadow->latency_bounds_us = {100};
    shadow->latency_counts = {4, 1};
    to.shadow.push_back(std::move(shadow));
  });
  add.operator()<wire::ArmReportReply>("arm_report_reply", [](auto& to) {
    to.next_number = 4;
    to.routing_version = 9;
  });
}

} // namespace

std::vector<message> released_messages() {
  std::vector<message> all;
  add_envelopes(all);
  add_ingest(all);
  add_validator(all);
  add_feature_store(all);
  add_feature_scan(all);
  add_kept_training(all);
  add_ranker(all);
  add_trainer(all);
  add_gateway(all);
  add_status(all);
  add_registry_runs(all);
  add_registry_models(all);
  add_deployer(all);
  return all;
}

} // namespace troupe::contract
