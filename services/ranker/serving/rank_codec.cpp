#include "services/ranker/serving/rank_codec.hpp"

#include "common/net/payload.hpp"

#include <array>

namespace troupe::ranker {

namespace {

constexpr std::uint32_t most_items = 1000;
constexpr std::uint32_t standard_items = 10;
constexpr const char* contract = "TRPK";

using text_vector = flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>;

template <class Text>
std::vector<Text> texts(const text_vector* from) {
  std::vector<Text> out;
  if (!from)
    return out;
  out.reserve(from->size());
  for (auto* each : *from)
    out.emplace_back(each->data(), each->size());
  return out;
}

std::string_view text(const flatbuffers::String* from) {
  return from ? std::string_view{from->data(), from->size()} : std::string_view{};
}

expected<std::vector<attribute_predicate>>
decode_filters(const flatbuffers::Vector<flatbuffers::Offset<wire::Filter>>* from,
               const std::vector<std::string>& readable) {
  std::vector<attribute_predicate> out;
  if (!from)
    return out;
  for (auto* each : *from) {
    if (each->op() > wire::FilterOp::MAX)
      return fail(ec::unsupported_version, "filter on {} has operation {}, which is not known here",
                  each->attribute()->str(), static_cast<int>(each->op()));
    attribute_predicate made;
    made.attribute = each->attribute()->str();
    if (auto known = check_readable(made.attribute, readable); !known)
      return with_context("reading the filters", known.error());
    made.op = static_cast<predicate_op>(each->op()); // The same order: see the test.
    made.negated = each->not_();
    made.text = text(each->text());
    made.number = each->number();
    made.list = texts<std::string>(each->list());
    out.push_back(std::move(made));
  }
  return out;
}

/// What requests of both kinds have.
template <class Table>
expected<rank_request> decode_common(const Table* from, const std::vector<std::string>& readable) {
  rank_request out;
  if (from->n() > most_items)
    return fail(ec::invalid_argument, "n is {}, at most {} items are ranked", from->n(), most_items);
  TROUPE_TRY(filters, decode_filters(from->filters(), readable));
  out.release = text(from->release());
  out.asked.n = from->n() == 0 ? standard_items : from->n();
  out.asked.filters = std::move(filters);
  out.asked.exclude = texts<std::string_view>(from->exclude());
  if (from->min_offsets())
    for (auto* each : *from->min_offsets())
      out.min_offsets.emplace_back(each->partition(), each->offset());
  if (from->written())
    for (auto* each : *from->written()) {
      if (each->change() > wire::ItemChange::MAX)
        return fail(ec::unsupported_version, "what was written of the item {} is {}, which is not known here",
                    each->item()->str(), static_cast<int>(each->change()));
      out.written.push_back({text(each->item()), each->change()});
    }
  out.written_more = from->written_more();
  return out;
}

using builder = flatbuffers::FlatBufferBuilder;

/// The names of sources, once for all items of an answer.
class source_names {
public:
  flatbuffers::Offset<text_vector> encode(builder& out, source_set of) {
    std::array<flatbuffers::Offset<flatbuffers::String>, candidate_source_count> named;
    std::size_t count = 0;
    for (std::size_t i = 0; i < candidate_source_count; ++i) {
      if (!of.has(static_cast<candidate_source>(i)))
        continue;
      if (names_[i].IsNull())
        names_[i] = out.CreateString(to_string(static_cast<candidate_source>(i)));
      named[count++] = names_[i];
    }
    return out.CreateVector(named.data(), count);
  }

private:
  std::array<flatbuffers::Offset<flatbuffers::String>, candidate_source_count> names_{};
};

flatbuffers::Offset<wire::RankedItem> encode_item(builder& out, source_names& names,
                                                  const ranked_item& from) {
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::ModelScore>>> scores;
  if (!from.models.empty()) {
    std::vector<flatbuffers::Offset<wire::ModelScore>> models;
    for (auto& [name, score] : from.models)
      models.push_back(wire::CreateModelScoreDirect(out, name.c_str(), score));
    scores = out.CreateVector(models);
  }
  std::array<flatbuffers::Offset<flatbuffers::String>, reason_list::most> because;
  for (std::size_t i = 0; i < from.because.size(); ++i)
    because[i] = out.CreateString(from.because[i]);
  auto id = out.CreateString(from.item);
  auto sources = names.encode(out, from.sources);
  auto because_at = out.CreateVector(because.data(), from.because.size());
  auto title = out.CreateString(from.title);
  flatbuffers::Offset<text_vector> notes;
  if (!from.notes.empty())
    notes = out.CreateVectorOfStrings(from.notes);
  return wire::CreateRankedItem(out, id, from.score, from.propensity, sources, because_at, title, scores,
                                notes);
}

std::vector<flatbuffers::Offset<wire::UsedFeature>> encode_features(builder& out, const user_features& from,
                                                                    const item_space* space,
                                                                    deadline::clock::time_point now) {
  std::vector<flatbuffers::Offset<wire::UsedFeature>> all;
  // Ages grow while a user lies in the cache.
  auto since = std::chrono::duration_cast<std::chrono::microseconds>(now - from.read).count();
  for (auto& each : from.features) {
    auto shown = each.value                                 ? value_text(*each.value)
                 : &each == &from.features.front() && space ? history_text(from.history, *space)
                                                            : std::string{};
    all.push_back(wire::CreateUsedFeatureDirect(out, each.name.c_str(), each.status,
                                                each.age_us < 0 ? each.age_us : each.age_us + since,
                                                shown.c_str()));
  }
  return all;
}

/// One a thread, which grows to what its answers take.
builder& cleared_builder() {
  thread_local builder made{16 * 1024};
  made.Clear();
  return made;
}

} // namespace

expected<rank_request> decode_rank(const chunk& payload, const std::vector<std::string>& readable) {
  TROUPE_TRY(from, net::read_as<wire::Rank>(payload, contract, "Rank"));
  TROUPE_TRY(out, decode_common(from, readable));
  out.payload = payload;
  out.asked.user = text(from->user());
  out.asked.session = texts<std::string_view>(from->session());
  out.asked.candidates = texts<std::string_view>(from->candidates());
  out.asked.explain = from->explain();
  out.asked.seed = from->seed();
  return std::move(out);
}

expected<rank_request> decode_similar(const chunk& payload, const std::vector<std::string>& readable) {
  TROUPE_TRY(from, net::read_as<wire::Similar>(payload, contract, "Similar"));
  TROUPE_TRY(out, decode_common(from, readable));
  out.payload = payload;
  out.similar_to = text(from->item());
  return std::move(out);
}

std::string_view peek_user(const chunk& payload) {
  auto* bytes = reinterpret_cast<const std::uint8_t*>(payload.data());
  if (payload.size() < 8 || !flatbuffers::BufferHasIdentifier(bytes, contract))
    return {};
  flatbuffers::Verifier verifier{bytes, payload.size()};
  if (verifier.VerifyOffset(0) == 0)
    return {};
  auto* root = flatbuffers::GetRoot<flatbuffers::Table>(bytes);
  if (!root->VerifyTableStart(verifier) || !root->VerifyOffset(verifier, wire::Rank::VT_USER))
    return {};
  auto* user = root->GetPointer<const flatbuffers::String*>(wire::Rank::VT_USER);
  return verifier.VerifyString(user) && user ? std::string_view{user->data(), user->size()}
                                             : std::string_view{};
}

chunk encode_ranking(const ranking& answer, const std::string& release, const user_features* explained,
                     const item_space* space, deadline::clock::time_point now) {
  auto& out = cleared_builder();
  source_names names;
  thread_local std::vector<flatbuffers::Offset<wire::RankedItem>> items;
  items.clear();
  for (auto& each : answer.items)
    items.push_back(encode_item(out, names, each));
  thread_local std::vector<flatbuffers::Offset<wire::Stage>> stages;
  stages.clear();
  for (auto& each : answer.stages) {
    auto name = out.CreateString(each.name);
    stages.push_back(wire::CreateStage(out, name, static_cast<std::uint64_t>(each.took.count()), each.count));
  }
  std::vector<flatbuffers::Offset<wire::UsedFeature>> features;
  if (explained)
    features = encode_features(out, *explained, space, now);
  std::vector<flatbuffers::Offset<flatbuffers::String>> sentences;
  std::vector<flatbuffers::Offset<wire::Degradation>> lacks;
  for (auto& each : answer.degraded) {
    sentences.push_back(out.CreateString(each.text));
    auto code = out.CreateString(each.code);
    lacks.push_back(wire::CreateDegradation(out, code, each.share, sentences.back()));
  }
  auto release_at = out.CreateString(release);
  auto items_at = out.CreateVector(items);
  auto degraded = out.CreateVector(sentences);
  auto stages_at = out.CreateVector(stages);
  auto features_at = out.CreateVector(features);
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::LeftOut>>> left_out;
  if (answer.shortage) {
    std::vector<flatbuffers::Offset<wire::LeftOut>> reasons;
    for (auto& [reason, count] : answer.shortage->left_out)
      reasons.push_back(wire::CreateLeftOutDirect(out, reason.c_str(), count));
    left_out = out.CreateVector(reasons);
  }
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Degradation>>> lacks_at;
  if (!lacks.empty())
    lacks_at = out.CreateVector(lacks);
  out.Finish(wire::CreateRankReply(out, release_at, items_at, degraded, stages_at, features_at, left_out,
                                   answer.shortage ? answer.shortage->considered : 0, lacks_at),
             contract);
  return net::bytes_of(out);
}

} // namespace troupe::ranker
