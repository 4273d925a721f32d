#include "services/gateway/handlers/recommend.hpp"

#include "services/gateway/gateway_deps.hpp"
#include "services/gateway/logic/list_overlap.hpp"

#include "common/core/hash.hpp"
#include "common/net/payload.hpp"

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

chunk encode_rank(const recommend_request& from, std::string_view arm_name, std::string_view of_release,
                  std::uint64_t seed, bool explain, const consistency_token& after) {
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::Attribute>> context;
  for (const auto& each : from.context) {
    auto name = out.CreateString(each.name);
    double value = 0;
    flatbuffers::Offset<flatbuffers::String> word;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>> list;
    auto kind = wire::ValueKind::text;
    if (const auto* s = std::get_if<std::string>(&each.value))
      word = out.CreateString(*s);
    else if (const auto* d = std::get_if<double>(&each.value))
      kind = wire::ValueKind::number, value = *d;
    else if (const auto* b = std::get_if<bool>(&each.value))
      kind = wire::ValueKind::flag, value = *b ? 1 : 0;
    else
      kind = wire::ValueKind::list, list = out.CreateVectorOfStrings(std::get<text_list>(each.value));
    context.push_back(wire::CreateAttribute(out, name, kind, value, word, list));
  }
  auto release = out.CreateString(of_release), name = out.CreateString(arm_name),
       user = out.CreateString(from.user);
  auto session = out.CreateVectorOfStrings(from.session);
  auto attributes = out.CreateVector(context);
  auto filters = out.CreateVector(encode_filters(out, from.filters));
  auto exclude = out.CreateVectorOfStrings(from.exclude),
       candidates = out.CreateVectorOfStrings(from.candidates);
  auto least = encode_offsets(out, after);
  auto written = encode_written(out, after);
  wire::RankBuilder made{out};
  made.add_release(release);
  made.add_arm(name);
  made.add_user(user);
  made.add_session(session);
  made.add_context(attributes);
  made.add_filters(filters);
  made.add_exclude(exclude);
  made.add_candidates(candidates);
  made.add_n(from.n);
  made.add_explain(explain);
  made.add_seed(seed);
  made.add_min_offsets(least);
  made.add_written(written);
  made.add_written_more(after.more_items);
  out.Finish(made.Finish(), "TRPK");
  return net::bytes_of(out);
}

} // namespace

expected<recommend_request> recommend_user::parse() {
  TROUPE_TRY(out, parse_query(one().query));
  out.user = one().parameters[0];
  return out;
}

chunk recommend::rank_message() {
  return encode_rank(wanted_, arm_.name, release_, hash64(one().request_id), detail_, one().after);
}

recommend::~recommend() {
  if (shadowing_)
    --deps().shadows;
}

void recommend::after_answer(const std::vector<std::string>& shown) {
  const auto& release = table_->shadow;
  if (release.empty() || deps().busy())
    return;
  if (++deps().shadows > deps().settings->shadow_in_flight) {
    --deps().shadows;
    return;
  }
  shadowing_ = true;
  shown_ = shown;
  shadow_began_ = std::chrono::steady_clock::now();
  in_.ask(deps().behind.ranker, shadow_tag, wire::Kind::rank,
          encode_rank(wanted_, "shadow", release, hash64(one().request_id), false, one().after),
          deadline::in(deps().settings->rank_timeout));
}

void recommend::on_reply(std::uint64_t tag, const expected<net::reply>& got) {
  if (tag == shadow_tag)
    on_shadow_reply(got);
  else
    ranked_answer::on_reply(tag, got);
}

void recommend::on_shadow_reply(const expected<net::reply>& got) {
  const auto& release = table_->shadow;
  auto reply = got ? net::read_as<wire::RankReply>(got->payload, "TRPK", "RankReply")
                   : expected<const wire::RankReply*>{unexpected<error>{got.error()}};
  // Where the release was not ready another one answered, perhaps the very one it is compared with.
  if (!reply || text_of((*reply)->release()) != release)
    return deps().arms.shadow_failed(release);
  std::vector<std::string> other;
  if ((*reply)->items())
    for (const auto* each : *(*reply)->items())
      other.emplace_back(text_of(each->item()));
  auto alike = compare_lists(shown_, other);
  auto us = static_cast<std::uint64_t>((std::chrono::steady_clock::now() - shadow_began_) / 1us);
  deps().arms.compared(release, us, alike.share, alike.rank_correlation);
}

} // namespace troupe::gateway
