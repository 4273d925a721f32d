#include "services/ingest/request_handler.hpp"

#include "services/ingest/client/column_fetch.hpp"
#include "services/ingest/testing/requests.hpp"

#include "common/testing/temp_dir.hpp"

#include <optional>

using namespace troupe;
using namespace troupe::ingest;
using namespace troupe::ingest::testing;

namespace {

struct handling {
  metrics::registry numbers;
  troupe::testing::temp_dir dir;
  std::shared_ptr<event_log> log;
  /// What the validator was asked, and how it may answer.
  std::promise<std::pair<validation_request, validation_done>> asked;
  std::shared_ptr<request_handler> requests;
  std::unique_ptr<blocking_pool> pool =
      std::make_unique<blocking_pool>(blocking_pool::options{"server", 1, 1}, numbers);
  std::unique_ptr<blocking_pool> lake_readers =
      std::make_unique<blocking_pool>(blocking_pool::options{"lake", 1, 2}, numbers);

  explicit handling(std::optional<validate_function> validate = validate_alone(), log_options options = {}) {
    log = event_log::open(dir / "log", options).value();
    auto uploads =
        std::make_shared<upload_handler>(log, upload_store::open({dir / "uploads"}).value(), numbers);
    auto wait = [this](validation_request request, validation_done done) {
      asked.set_value({std::move(request), std::move(done)});
    };
    requests = std::make_shared<request_handler>(request_handler_deps{
        log, std::make_shared<lake>(log, dir / "lake", 100), validate ? *validate : validate_function{wait},
        uploads, pool.get(), lake_readers.get(), pool.get()});
  }

  pending append(const std::vector<record>& records, deadline until = deadline::in(20s)) {
    pending answer;
    auto encoded = encode_batch(std::span<const record>{records});
    requests->append(answer.request(wire::Kind::append, build_message([&](auto& out) {
                                      out.ForceVectorAlignment(encoded.size(), 1, 8);
                                      auto batch = out.CreateVector(
                                          reinterpret_cast<const std::uint8_t*>(encoded.data()),
                                          encoded.size());
                                      return wire::CreateAppend(out, out.CreateString("shop"), batch);
                                    }),
                                    until));
    return answer;
  }
};

std::vector<wire::Outcome> outcomes(const message<wire::AppendReply>& reply) {
  std::vector<wire::Outcome> found;
  for (auto* each : *reply->rows())
    found.push_back(each->outcome());
  return found;
}

} // namespace

TEST_CASE(
    "an append answers each row at its place: added, duplicate, refused here, by the validator, by the log") {
  handling w{std::nullopt};
  append_request before;
  before.records = {event(1), event(2)};
  REQUIRE(w.log->append(before).has_value());
  auto bad = event(3);
  bad.user.clear();
  auto conflicting = event(2);
  conflicting.item = "another";
  auto answer = w.append({event(10, "a"), bad, event(1), event(11, "b"), conflicting, event(12, "c")});

  auto [question, done] = w.asked.get_future().get();
  auto seen = batch::open(question.batch).value();
  REQUIRE(seen.size() == 5); // Without the one that was refused here.
  CHECK(to_record(seen[2]).id == "e11");
  CHECK(question.source == "append/shop");
  done(std::vector<row_violation>{{2, "set", "type", "not this one"}});

  auto reply = answer.read<wire::AppendReply>();
  using enum wire::Outcome;
  CHECK(outcomes(reply) == std::vector{added, quarantined, duplicate, quarantined, quarantined, added});
  CHECK(reply->rows()->Get(1)->rule()->str() == "record");
  CHECK(reply->rows()->Get(3)->rule()->str() == "set");
  CHECK(reply->rows()->Get(4)->rule()->str() == "duplicate_id");
  auto rows = w.log->quarantine().list({}).value();
  REQUIRE(rows.size() == 3);
  for (auto& row : rows)
    CHECK(row.row == (row.rule == "record" ? 2 : row.rule == "set" ? 4 : 5));
  CHECK(w.log->state().total.events == 4);
}

TEST_CASE("an append tells where the partitions end that it touched, and only those") {
  handling w;

  auto reply = w.append({event(1, "a"), event(2, "a")}).read<wire::AppendReply>();

  REQUIRE(reply->offsets()->size() == 1);
  CHECK(reply->offsets()->Get(0)->partition() == partition_of("a", 8));
  CHECK(reply->offsets()->Get(0)->offset() == 2);
}

TEST_CASE("an append is refused where the log or the pool is full") {
  handling full{validate_alone(), {.queue_bytes = 1}};
  std::promise<void> begun, go_on;
  full.log->on_append([&] {
    begun.set_value();
    go_on.get_future().wait();
  });
  auto taken = full.append({event(1)});
  begun.get_future().wait();

  auto refused = full.append({event(2)});

  CHECK(refused.failure() == ec::overloaded);
  go_on.set_value();
  CHECK(outcomes(taken.read<wire::AppendReply>()) == std::vector{wire::Outcome::added});

  handling busy;
  std::promise<void> entered, leave;
  REQUIRE(busy.pool
              ->post([&] {
                entered.set_value();
                leave.get_future().wait();
              })
              .has_value());
  entered.get_future().wait();
  auto queued = busy.append({event(1)});
  CHECK(busy.append({event(2)}).failure() == ec::overloaded);
  leave.set_value();
  CHECK(outcomes(queued.read<wire::AppendReply>()) == std::vector{wire::Outcome::added});
}

TEST_CASE("an append whose deadline passes while it is validated leaves nothing in the log") {
  handling w{std::nullopt};
  auto answer = w.append({event(1)}, deadline::in(0s));

  w.asked.get_future().get().second(std::vector<row_violation>{});

  CHECK(answer.failure() == ec::too_late);
  CHECK(w.log->state().total.events == 0);
}

TEST_CASE("a validator that is away, or that never answers, leaves no append without an answer") {
  handling away{[](const validation_request&, const validation_done& done) {
    done(fail(ec::unavailable, "nobody listens"));
  }};
  handling silent{[](const validation_request&, const validation_done&) {}};

  CHECK(away.append({event(1)}).failure() == ec::unavailable);
  CHECK(silent.append({event(1)}).failure() == ec::internal);
  CHECK(away.log->state().total.events == 0);
}

TEST_CASE("an append that is no batch of records is refused") {
  handling w;
  pending none, garbage;
  w.requests->append(none.request(wire::Kind::append, build_message([&](auto& out) {
                                    return wire::CreateAppend(out, out.CreateString("shop"));
                                  })));
  CHECK(none.failure() == ec::invalid_argument);
  w.requests->append(garbage.request(wire::Kind::append, chunk::copy(as_bytes("no message at all"))));
  CHECK(garbage.failure() == ec::corrupt);
}

TEST_CASE("the log, the quarantine and the lake are asked and answered") {
  handling w;
  auto bad = event(2);
  bad.user.clear();
  REQUIRE(w.append({event(1), bad}).wait().has_value());
  pending info, list, replay, seal, late;

  w.requests->log_info(info.request(wire::Kind::log_info, {}));
  auto known = info.read<wire::LogInfo>();
  w.requests->quarantine_list(list.request(wire::Kind::quarantine_list, build_message([](auto& out) {
                                             return wire::CreateQuarantineQuery(out, 0, 10);
                                           })));
  auto page = list.read<wire::QuarantinePage>();
  w.requests->quarantine_replay(replay.request(wire::Kind::quarantine_replay, build_message([](auto& out) {
                                                 return wire::CreateQuarantineReplay(out);
                                               })));
  auto replayed = replay.read<wire::QuarantineReplayReply>();
  w.requests->lake_seal(seal.request(
      wire::Kind::lake_seal, build_message([](auto& out) { return wire::CreateLakeSeal(out, true); })));
  auto sealed = seal.read<wire::LakeStatus>();
  w.requests->log_info(late.request(wire::Kind::log_info, {}, deadline::in(0s)));

  CHECK(known->events() == 1);
  CHECK(known->quarantined() == 1);
  CHECK(known->partitions()->size() == 8);
  REQUIRE(page->rows()->size() == 1);
  CHECK(page->rows()->Get(0)->rule()->str() == "record");
  CHECK(replayed->refused() == 1);
  CHECK(sealed->segments()->size() == 1);
  CHECK(late.failure() == ec::too_late);
}

namespace {

/// All rows of partition 0 as "offset user item arm value", page by page.
std::vector<std::string> columns_of(handling& at, column_query query) {
  std::vector<std::string> rows;
  query.fields = {wire::ColumnField::kind, wire::ColumnField::user, wire::ColumnField::item,
                  wire::ColumnField::event_time, wire::ColumnField::value};
  query.attributes = {"arm"};
  for (;;) {
    pending answer;
    at.requests->fetch_columns(answer.request(wire::Kind::fetch_columns, columns_query(query)));
    auto page = read_log_columns(answer.wait().value(), query);
    REQUIRE_MESSAGE(page, page.error().text);
    for (auto& part : page->parts)
      for (std::size_t i = 0; i < part.offsets.size(); ++i)
        rows.push_back(fmt::format("{} {} {} {} {}", part.first + part.offsets[i], part.users[i],
                                   part.items[i], part.attributes[0][i],
                                   part.has_values[i] ? part.values[i] : -1.0));
    if (page->next >= (query.end == 0 ? page->log_end : query.end))
      return rows;
    query.offset = page->next;
  }
}

} // namespace

TEST_CASE("columns of a log are those of its records, of the kinds and types that are asked for, out of any "
          "block") {
  handling at{validate_alone(), {.partitions = 1}};
  std::vector<std::string> views, others;
  std::uint64_t next = 0;
  for (int i = 0; i < 12; ++i) {
    std::vector<record> records;
    for (int k = 0; k < 500; ++k, ++next) {
      auto rec = event(static_cast<int>(next), "u" + std::to_string(next % 9));
      if (next % 3 == 0)
        rec.type = "click", rec.value = static_cast<double>(next);
      if (next % 4 == 0)
        rec.attributes = {{"arm", std::string{next % 8 == 0 ? "a" : "b"}}};
      (rec.type == "view" ? views : others)
          .push_back(fmt::format("{} {} i {} {}", next, rec.user,
                                 next % 4 != 0   ? ""
                                 : next % 8 == 0 ? "a"
                                                 : "b",
                                 rec.value.value_or(-1)));
      records.push_back(rec);
    }
    at.append(records).read<wire::AppendReply>();
  }

  for (int state = 0; state < 3; ++state) { // As rows, as columns and rows, and out of the lake, too.
    CAPTURE(state);
    if (state == 1)
      REQUIRE(at.log->pack(1'000'000).has_value());
    if (state == 2) {
      pending sealed;
      at.requests->lake_seal(sealed.request(
          wire::Kind::lake_seal, build_message([](auto& out) { return wire::CreateLakeSeal(out, true); })));
      sealed.read<wire::LakeStatus>();
      REQUIRE(at.log->trim(wall_now() + std::chrono::hours{1}, [](auto...) { return true; }).value() > 4'000);
    }
    column_query query;
    query.types = {"view"};
    query.max_bytes = 1000;
    CHECK(columns_of(at, query) == views);
    query.other_types = true;
    query.max_bytes = 1 << 20;
    CHECK(columns_of(at, query) == others);
    query.kinds = {wire::RecordKind::user};
    CHECK(columns_of(at, query).empty());
    query = {};
    query.offset = 4'500;
    query.end = 4'502;
    CHECK(columns_of(at, query).size() == 2);
  }
  pending beyond;
  column_query query;
  query.offset = 6'001;
  at.requests->fetch_columns(beyond.request(wire::Kind::fetch_columns, columns_query(query)));
  CHECK(beyond.failure() == ec::conflict);
  for (std::uint64_t first : {4'500, 0}) { // Out of the log, and out of the lake.
    pending backwards;
    query.offset = first + 100;
    query.end = first + 1;
    at.requests->fetch_columns(backwards.request(wire::Kind::fetch_columns, columns_query(query)));
    CHECK(backwards.failure() == ec::invalid_argument);
  }

  std::promise<void> go_on;
  REQUIRE(at.lake_readers->post([&] { go_on.get_future().wait(); }).has_value());
  at.append({event(6'000)}).read<wire::AppendReply>();
  pending old, recent;
  column_query one;
  one.end = 1;
  at.requests->fetch_columns(old.request(wire::Kind::fetch_columns, columns_query(one)));
  one.offset = 6'000;
  one.end = 6'001;
  at.requests->fetch_columns(recent.request(wire::Kind::fetch_columns, columns_query(one)));
  CHECK(recent.wait().has_value());
  CHECK_FALSE(old.answered());
  go_on.set_value();
  CHECK(old.wait().has_value());
}
