#include "tests/contract/message_table.hpp"
#include "tests/contract/service_messages.hpp"

#include "schemas/ranker_generated.h"

namespace troupe::contract {

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
  all.push_back(table<wire::Rank>(
      "rank_written", id,
      [](builder& out) {
        std::vector<wire::PartitionOffset> least{{3, 10}};
        std::vector written{wire::CreateWrittenItemDirect(out, "i1", wire::ItemChange::hidden),
                            wire::CreateWrittenItemDirect(out, "i2", wire::ItemChange::deleted)};
        return wire::CreateRankDirect(out, "ab12", "b", "u1", nullptr, nullptr, nullptr, nullptr, nullptr, 20,
                                      false, 0, &least, &written, true);
      },
      [](auto& m) {
        return m.min_offsets()->Get(0)->offset() == 10 && is(m.written()->Get(0)->item(), "i1") &&
               m.written()->Get(0)->change() == wire::ItemChange::hidden &&
               is(m.written()->Get(1)->item(), "i2") &&
               m.written()->Get(1)->change() == wire::ItemChange::deleted && m.written_more();
      }));
  all.push_back(table<wire::Similar>(
      "similar_written", id,
      [](builder& out) {
        std::vector<wire::PartitionOffset> least{{3, 10}};
        std::vector written{wire::CreateWrittenItemDirect(out, "i2")};
        return wire::CreateSimilarDirect(out, "ab12", "i1", 5, nullptr, nullptr, &least, &written, true);
      },
      [](auto& m) {
        return is(m.item(), "i1") && m.min_offsets()->Get(0)->partition() == 3 &&
               is(m.written()->Get(0)->item(), "i2") &&
               m.written()->Get(0)->change() == wire::ItemChange::written && m.written_more();
      }));
  all.push_back(table<wire::RankReply>(
      "rank_reply_short", id,
      [](builder& out) {
        std::vector left_out{wire::CreateLeftOutDirect(out, "seen", 12)};
        return wire::CreateRankReplyDirect(out, "ab12", nullptr, nullptr, nullptr, nullptr, &left_out, 15);
      },
      [](auto& m) {
        return is(m.left_out()->Get(0)->reason(), "seen") && m.left_out()->Get(0)->items() == 12 &&
               m.considered() == 15;
      }));
  all.push_back(table<wire::RankReply>(
      "rank_reply_lacks", id,
      [](builder& out) {
        text_vector degraded{out.CreateString("deadline: model dcn scored 3 of 4 candidates")};
        std::vector lacks{wire::CreateDegradationDirect(out, "deadline", 0.25,
                                                        "deadline: model dcn scored 3 of 4 candidates")};
        return wire::CreateRankReplyDirect(out, "ab12", nullptr, &degraded, nullptr, nullptr, nullptr, 0,
                                           &lacks);
      },
      [](auto& m) {
        auto* lack = m.lacks()->Get(0);
        return is(lack->code(), "deadline") && lack->share() == 0.25 &&
               is(lack->text(), m.degraded()->Get(0)->str().c_str());
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

} // namespace troupe::contract
