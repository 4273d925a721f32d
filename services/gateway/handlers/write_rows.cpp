#include "services/gateway/handlers/write_rows.hpp"

#include "services/gateway/gateway_deps.hpp"
#include "services/gateway/http/render.hpp"

#include "common/http/problem.hpp"
#include "common/net/payload.hpp"

#include <algorithm>
#include <array>

namespace troupe::gateway {

void write_rows::begin() {
  if (!parse())
    return;
  give_times();
  std::vector<const record*> good;
  for (const auto& each : rows_)
    if (each.refused.empty())
      good.push_back(&each.what);
  if (good.empty())
    return respond(nullptr);
  flatbuffers::FlatBufferBuilder out;
  auto bytes = encode_batch(std::span<const record* const>{good});
  auto source = out.CreateString("http");
  auto batch = out.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  out.Finish(wire::CreateAppend(out, source, batch), "TRPI");
  in_.ask(deps().behind.ingest, good.size(), wire::Kind::append, net::bytes_of(out),
          deadline::in(deps().settings->write_timeout));
}

bool write_rows::parse() {
  row_rules rules{kind_, std::string{one().request.header("idempotency-key")}, deps().settings->max_rows,
                  wall_now()};
  if (from_ == row_source::rows) {
    auto read = parse_rows(one().request.body, rules);
    if (read)
      rows_ = std::move(*read);
    else if (read.error().code == ec::overloaded)
      one().reply(http::problem(413, "too_large", read.error().text));
    else
      one().reply_error(read.error());
    return read.has_value();
  }
  std::string_view body = one().request.body;
  if (from_ == row_source::gone)
    body = R"({"attributes":{"deleted":true}})";
  auto read = parse_entity(body, one().parameters[0], rules);
  if (read)
    rows_.push_back(std::move(*read));
  else
    one().reply_error(read.error());
  return read.has_value();
}

/// A row without a time gets that of when it was first seen, where it can be known again.
void write_rows::give_times() {
  std::vector<row*> untimed;
  std::vector<std::string> keys; // Item 1 is not event 1; no id begins with a control character.
  for (auto& each : rows_)
    if (each.refused.empty() && !each.timed && each.named) {
      untimed.push_back(&each);
      auto kind = each.what.kind;
      keys.push_back(kind == record_kind::event ? each.what.id : static_cast<char>(kind) + each.what.id);
    }
  if (untimed.empty())
    return;
  std::vector<std::string_view> ids{keys.begin(), keys.end()};
  auto times = deps().row_times->first_times(ids, wall_now());
  for (std::size_t i = 0; i < untimed.size(); ++i)
    untimed[i]->what.event_time = times[i];
}

void write_rows::on_reply(std::uint64_t count, const expected<net::reply>& got) {
  if (!got)
    return one().reply_error(got.error());
  auto reply = net::read_as<wire::AppendReply>(got->payload, "TRPI", "AppendReply");
  if (!reply)
    return one().reply_error(reply.error());
  if (!(*reply)->rows() || (*reply)->rows()->size() != count)
    return one().reply_error({ec::corrupt, "ingest answered with another number of rows"});
  respond(*reply);
}

void write_rows::respond(const wire::AppendReply* reply) {
  consistency_token seen;
  if (reply && reply->offsets())
    for (const auto* place : *reply->offsets())
      seen.offsets.emplace_back(place->partition(), place->offset());
  static constexpr std::array names{"added", "duplicate", "quarantined", "invalid"};
  enum outcome : std::size_t { added, duplicate, quarantined, invalid };
  std::array<std::uint64_t, names.size()> counts{};
  json::array out;
  std::vector<record> taken;
  std::vector<changed_item> changed;
  std::uint32_t at = 0;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    auto& each = rows_[i];
    std::size_t what = invalid;
    json::object line{{"row", i}, {"id", each.what.id}};
    if (each.refused.empty()) {
      const auto* verdict = reply->rows()->Get(at++);
      what = std::min<std::size_t>(quarantined, static_cast<std::size_t>(verdict->outcome()));
      if (what == quarantined) {
        line["rule"] = text(verdict->rule());
        line["reason"] = text(verdict->reason());
      }
    } else {
      line["rule"] = "row";
      line["reason"] = each.refused;
    }
    line["outcome"] = names[what];
    // What a duplicate said is perhaps no longer the newest of its item.
    if (each.what.kind == record_kind::item && (what == added || what == duplicate))
      changed.push_back({each.what.item, what == added ? change_by(each.what) : item_change::written});
    if (what == added)
      taken.push_back(std::move(each.what));
    ++counts[what];
    out.push_back(std::move(line));
  }
  seen.name(std::move(changed));
  if (!seen.offsets.empty())
    one().token = write_token(seen);
  bool single = from_ != row_source::rows;
  if (single && counts[quarantined] > 0)
    made_ = http::problem(422, "invalid_argument", json::value_to<std::string>(out[0].at("reason")));
  else
    made_ = json_answer(json::object{{"added", counts[added]},
                                     {"duplicate", counts[duplicate]},
                                     {"refused", counts[quarantined] + counts[invalid]},
                                     {"token", one().token},
                                     {"rows", std::move(out)}});
  if (taken.empty() || kind_ == record_kind::user)
    return one().reply(std::move(made_));
  in_.list_written(std::make_shared<const std::vector<record>>(std::move(taken)));
}

void write_rows::on_listed() {
  one().reply(std::move(made_));
}

} // namespace troupe::gateway
