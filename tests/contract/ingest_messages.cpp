#include "tests/contract/message_table.hpp"
#include "tests/contract/sample_batch.hpp"
#include "tests/contract/service_messages.hpp"

#include "schemas/ingest_generated.h"

namespace troupe::contract {

void add_ingest(std::vector<message>& all) {
  constexpr auto id = "TRPI";
  all.push_back({"batch.v1.bin", sample_batch, [](byte_view bytes) {
                   auto opened = batch::open(chunk::copy(bytes));
                   return opened && opened->partition() == 7 && opened->base_offset() == 42 &&
                          opened->size() == 1 && to_record((*opened)[0]) == sample();
                 }});
  all.push_back({"batch_slate.v1.bin",
                 [] {
                   std::vector<record> records{sample_slate(), sample()};
                   return encode_batch(records, 7, 42);
                 },
                 [](byte_view bytes) {
                   auto opened = batch::open(chunk::copy(bytes));
                   return opened && opened->size() == 2 && to_record((*opened)[0]) == sample_slate() &&
                          to_record((*opened)[1]) == sample();
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
  all.push_back(table<wire::FetchReply>(
      "fetch_reply_log", id, [](builder& out) { return wire::CreateFetchReply(out, 0, 43, 77); },
      [](auto& m) { return m.next_offset() == 43 && m.log() == 77 && !m.batches(); }));
  all.push_back(table<wire::LogInfo>(
      "log_info_log", id,
      [](builder& out) { return wire::CreateLogInfoDirect(out, nullptr, 5, 6, 7, 8, 9, 77); },
      [](auto& m) { return m.late() == 9 && m.log() == 77; }));
  all.push_back(table<wire::ColumnsQuery>(
      "columns_query", id,
      [](builder& out) {
        std::vector fields{wire::ColumnField::user, wire::ColumnField::request_id};
        std::vector kinds{wire::RecordKind::slate};
        text_vector attributes{out.CreateString("arm")}, types{out.CreateString("impression")};
        return wire::CreateColumnsQueryDirect(out, 3, 1'000, 2'000, 65'536, &fields, &attributes, &kinds,
                                              &types, true);
      },
      [](auto& m) {
        return m.partition() == 3 && m.offset() == 1'000 && m.end() == 2'000 && m.max_bytes() == 65'536 &&
               m.fields()->size() == 2 && m.fields()->Get(1) == wire::ColumnField::request_id &&
               is(m.attributes()->Get(0), "arm") && m.kinds()->Get(0) == wire::RecordKind::slate &&
               is(m.types()->Get(0), "impression") && m.other_types();
      }));
  all.push_back(table<wire::ColumnsReply>(
      "columns_reply", id,
      [](builder& out) {
        std::vector<std::uint32_t> offsets{0, 3}, rows{1, 0};
        std::vector<std::int64_t> times{at, at + 1};
        std::vector<double> values{0.5, 0};
        std::vector<std::uint8_t> has_values{1, 0};
        std::vector kinds{wire::RecordKind::event, wire::RecordKind::slate};
        auto texts = [&](const char* a, const char* b) {
          text_vector entries{out.CreateString(a), out.CreateString(b)};
          return wire::CreateTextColumnDirect(out, &entries, &rows);
        };
        auto name = texts("a", "b"), type = texts("click", "view"), user = texts("u", "v"),
             item = texts("i", "j"), request = texts("", "r");
        std::vector attributes{texts("x", "y")};
        std::vector parts{wire::CreateColumnsPartDirect(out, 1'000, &offsets, &kinds, name, type, user, item,
                                                        &times, &times, &has_values, &values, request,
                                                        &attributes)};
        return wire::CreateColumnsReplyDirect(out, &parts, 1'004, 1'010, 77);
      },
      [](auto& m) {
        auto* part = m.parts()->Get(0);
        return m.next_offset() == 1'004 && m.log_end() == 1'010 && m.log() == 77 &&
               part->first_offset() == 1'000 && part->offsets()->Get(1) == 3 &&
               part->kind()->Get(1) == wire::RecordKind::slate && is(part->id()->entries()->Get(1), "b") &&
               part->id()->rows()->Get(0) == 1 && is(part->type()->entries()->Get(1), "view") &&
               is(part->user()->entries()->Get(1), "v") && is(part->item()->entries()->Get(1), "j") &&
               part->event_time()->Get(1) == at + 1 && part->ingest_time()->Get(0) == at &&
               part->has_value()->Get(0) && part->value()->Get(0) == 0.5 &&
               is(part->request_id()->entries()->Get(1), "r") &&
               is(part->attributes()->Get(0)->entries()->Get(0), "x");
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

} // namespace troupe::contract
