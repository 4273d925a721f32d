#pragma once

#include "services/gateway/handlers/handler.hpp"
#include "services/gateway/http/request_body.hpp"
#include "services/gateway/logic/routing_table.hpp"

#include "common/event/slate.hpp"

#include "schemas/ranker_generated.h"

#include <boost/json.hpp>

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace troupe::gateway {

/// An answer with items: those of a ranker, else of the fallback list. Keeps what was shown before it
/// answers. Recommendations and similar items differ in what they ask.
class ranked_answer : public handler {
public:
  using handler::handler;

  void begin() override;
  void on_reply(std::uint64_t tag, const expected<net::reply>& got) override;
  void on_kept(bool safe) override;

protected:
  static constexpr std::uint64_t rank_tag = 0, shadow_tag = 1;

  virtual expected<recommend_request> parse() = 0;
  /// The key that the arm is dealt by; empty: the request.
  virtual std::string_view arm_key() const = 0;
  virtual wire::Kind kind() const = 0;
  virtual chunk rank_message() = 0;
  /// Somebody saw it: impressions, arms and shadows count.
  virtual bool personal() const = 0;
  /// After the answer.
  virtual void after_answer(const std::vector<std::string>&) {}

  recommend_request wanted_;
  arm arm_;
  std::string release_; ///< The one that answered; else that of the arm.
  routing_ptr table_;
  bool detail_ = false; ///< The inspector gets features and model scores.

private:
  /// What will be said, and what is kept of it.
  struct recommendation {
    explicit recommendation(const boost::json::storage_ptr& in)
        : items(in), degraded(in), stages(in), features(in), short_page(in) {}

    boost::json::array items, degraded, stages, features;
    /// Why there are fewer items than asked for; empty: there are as many, or no list was looked at.
    boost::json::object short_page;
    std::vector<shown_item> slate; ///< Empty also where there is no user: nobody was shown anything.
    std::vector<std::string> shown;
    chunk reply; ///< What the ranker answered; empty for a fallback.
  };

  void choose_arm();
  void fall_back(const error& why);
  /// What the caller has hidden or deleted since the list was made; says what cannot be known.
  std::unordered_map<std::string_view, item_change> heed_writes(const fallback_list& list);
  void show(std::string item, double propensity);
  /// The slate as it goes to the log; empty where nobody was shown anything.
  chunk encoded_slate();
  void respond();
  std::string inspection() const;
  std::string body() const;

  boost::json::monotonic_resource memory_; ///< Of the JSON of one answer, let go of at once.
  recommendation made_{&memory_};
  bool hurried_ = false;       ///< Its caller gives it less time than it may take.
  std::uint64_t asked_us_ = 0; ///< When the ranker was asked; then how long it took.
  std::string body_;
};

/// The wire form of what a request and its filters say.
std::vector<flatbuffers::Offset<wire::Filter>> encode_filters(flatbuffers::FlatBufferBuilder& out,
                                                              const std::vector<filter>& from);

/// What a token says of items; empty for one that is about none.
flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::WrittenItem>>>
encode_written(flatbuffers::FlatBufferBuilder& out, const consistency_token& after);

/// The offsets of a token; empty where it has none.
flatbuffers::Offset<flatbuffers::Vector<const wire::PartitionOffset*>>
encode_offsets(flatbuffers::FlatBufferBuilder& out, const consistency_token& after);

/// n, explain, exclude and filter of an address.
expected<recommend_request> parse_query(const http::query_values& query);

} // namespace troupe::gateway
