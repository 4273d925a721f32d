#pragma once

#include "services/ranker/actors.hpp"
#include "services/ranker/test_releases.hpp"

#include "common/actor/actor_fixture.hpp"
#include "common/net/payload.hpp"
#include "common/testing/temp_dir.hpp"

#include "schemas/ranker_generated.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <future>
#include <memory>
#include <string>
#include <vector>

/// What the actors of the ranker are tested with.
namespace troupe::ranker::testing {

/// The feature store as the ranker sees it: what was asked waits until the test answers.
struct feature_store_stub {
  struct question {
    std::uint32_t replica;
    wire::Kind kind;
    chunk payload;
    net::client::done then;

    void answer(chunk payload) {
      net::reply made;
      made.payload = std::move(payload);
      then(std::move(made));
    }
    void fail(ec code, std::string why) { then(unexpected<error>{error{code, std::move(why)}}); }

    std::vector<std::string> features() const {
      std::vector<std::string> out;
      auto add = [&](auto* names) {
        for (auto* each : *names)
          out.push_back(each->str());
      };
      if (kind == wire::Kind::read_features)
        add(flatbuffers::GetRoot<wire::ReadFeatures>(payload.data())->features());
      else if (kind == wire::Kind::feature_changes)
        add(changes()->features());
      else
        add(flatbuffers::GetRoot<wire::FeatureScan>(payload.data())->features());
      return out;
    }
    std::string after() const {
      return flatbuffers::GetRoot<wire::FeatureScan>(payload.data())->after()->str();
    }
    const wire::FeatureChanges* changes() const {
      return flatbuffers::GetRoot<wire::FeatureChanges>(payload.data());
    }
  };
  std::deque<question> asked;

  net::ask_function function() {
    return [this](std::uint32_t replica, wire::Kind kind, chunk payload, deadline, net::client::done then) {
      asked.push_back({replica, kind, std::move(payload), std::move(then)});
    };
  }
  question next() {
    REQUIRE(!asked.empty());
    auto first = std::move(asked.front());
    asked.pop_front();
    return first;
  }
  /// The first of a kind; the others wait on.
  question next(wire::Kind kind) {
    auto found = std::ranges::find(asked, kind, &question::kind);
    REQUIRE(found != asked.end());
    auto first = std::move(*found);
    asked.erase(found);
    return first;
  }
  bool is_asked(wire::Kind kind) const {
    return std::ranges::find(asked, kind, &question::kind) != asked.end();
  }
};

inline flatbuffers::Offset<wire::FeatureColumn>
column_of(flatbuffers::FlatBufferBuilder& out, const std::string& name,
          const std::vector<std::optional<attribute_value>>& values) {
  std::vector<wire::FeatureStatus> status;
  std::vector<std::int64_t> ages;
  std::vector<double> numbers;
  std::vector<flatbuffers::Offset<flatbuffers::String>> texts;
  std::vector<flatbuffers::Offset<wire::TextList>> lists;
  for (auto& each : values) {
    status.push_back(each ? wire::FeatureStatus::present : wire::FeatureStatus::missing);
    ages.push_back(each ? 50 : -1);
    auto* number = each ? std::get_if<double>(&*each) : nullptr;
    auto* text = each ? std::get_if<std::string>(&*each) : nullptr;
    auto* list = each ? std::get_if<text_list>(&*each) : nullptr;
    numbers.push_back(number ? *number : 0);
    texts.push_back(out.CreateString(text ? *text : ""));
    lists.push_back(wire::CreateTextList(out, out.CreateVectorOfStrings(list ? *list : text_list{})));
  }
  auto is = [&](auto* kind) {
    using wanted = std::remove_pointer_t<decltype(kind)>;
    return std::any_of(values.begin(), values.end(),
                       [](auto& each) { return each && std::holds_alternative<wanted>(*each); });
  };
  auto name_at = out.CreateString(name);
  auto status_at = out.CreateVector(status);
  auto ages_at = out.CreateVector(ages);
  flatbuffers::Offset<flatbuffers::Vector<double>> numbers_at;
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>> texts_at;
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::TextList>>> lists_at;
  if (is(static_cast<std::string*>(nullptr)))
    texts_at = out.CreateVector(texts);
  else if (is(static_cast<text_list*>(nullptr)))
    lists_at = out.CreateVector(lists);
  else
    numbers_at = out.CreateVector(numbers);
  return wire::CreateFeatureColumn(out, name_at, status_at, ages_at, numbers_at, texts_at, lists_at);
}

/// The answer to a read of one user: the history, then the same number for every other feature.
inline chunk user_answer(const std::vector<std::string>& names, text_list history, double number = 5,
                         bool deleted = false) {
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::FeatureColumn>> columns;
  for (std::size_t i = 0; i < names.size(); ++i)
    columns.push_back(
        column_of(out, names[i], {i == 0 ? attribute_value{history} : attribute_value{number}}));
  auto columns_at = out.CreateVector(columns);
  auto deleted_at = out.CreateVector(std::vector<std::uint8_t>{static_cast<std::uint8_t>(deleted)});
  wire::FeaturesBuilder made{out};
  made.add_columns(columns_at);
  made.add_deleted(deleted_at);
  out.Finish(made.Finish(), "TRPF");
  return net::bytes_of(out);
}

/// The answer to a read of items: each is what `hidden` or `deleted` says, with the title "New title".
inline chunk items_answer(const std::vector<std::string>& names, const std::vector<bool>& hidden,
                          const std::vector<std::uint8_t>& deleted) {
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::FeatureColumn>> columns;
  for (auto& name : names) {
    std::vector<std::optional<attribute_value>> values;
    for (bool each : hidden)
      if (name == "item_card.hidden")
        values.emplace_back(each ? 1.0 : 0.0);
      else if (name == "item_card.title")
        values.emplace_back(std::string{"New title"});
      else
        values.emplace_back(std::nullopt);
    columns.push_back(column_of(out, name, values));
  }
  auto columns_at = out.CreateVector(columns);
  auto deleted_at = out.CreateVector(deleted);
  wire::FeaturesBuilder made{out};
  made.add_columns(columns_at);
  made.add_deleted(deleted_at);
  out.Finish(made.Finish(), "TRPF");
  return net::bytes_of(out);
}

/// Gives work to the test, which decides when it is done.
struct work_stub {
  std::deque<std::function<void()>> queued;
  bool full = false;

  post_function function() {
    return [this](std::function<void()> work) -> expected<void> {
      if (full)
        return fail(ec::overloaded, "the pool is full");
      queued.push_back(std::move(work));
      return {};
    };
  }
};

/// One request and its answer, which may come from another thread.
class asked_request {
public:
  asked_request(wire::Kind kind, const flatbuffers::FlatBufferBuilder& out,
                deadline until = deadline::in(std::chrono::minutes{5}))
      : made_{std::make_shared<net::request>()} {
    made_->info.kind = kind;
    made_->payload = net::bytes_of(out);
    made_->until = until;
    made_->respond =
        net::responder::to([got = answer_](expected<chunk> answer) { got->set_value(std::move(answer)); });
  }

  const net::request_ptr& request() const { return made_; }
  bool answered() { return future_.wait_for(std::chrono::seconds{0}) == std::future_status::ready; }
  expected<chunk> wait() { return future_.get(); }
  error failure() {
    auto got = wait();
    REQUIRE(!got);
    return got.error();
  }

private:
  std::shared_ptr<std::promise<expected<chunk>>> answer_ = std::make_shared<std::promise<expected<chunk>>>();
  std::future<expected<chunk>> future_ = answer_->get_future();
  net::request_ptr made_;
};

/// What both fixtures of the ranker's actors have.
struct ranker_fixture : troupe::testing::actor_fixture {
  troupe::testing::temp_dir dir;
  metrics::registry registry;
  std::shared_ptr<service_metrics> counts = std::make_shared<service_metrics>(registry);
  std::shared_ptr<ranker::config> settings = std::make_shared<ranker::config>();
  std::shared_ptr<published<item_snapshot>> items =
      std::make_shared<published<item_snapshot>>(std::make_shared<const item_snapshot>(test_space()));
  std::shared_ptr<published<release_table>> releases =
      std::make_shared<published<release_table>>(std::make_shared<const release_table>());
  std::shared_ptr<health> well = health::make("ranker", 0);
  feature_store_stub features;
  work_stub pool;

  /// Runs the actors and the pool until there is nothing left to do for either.
  void settle() {
    for (run(); !pool.queued.empty(); run()) {
      auto work = std::move(pool.queued.front());
      pool.queued.pop_front();
      work();
    }
  }

  bool counted(const std::string& line) { return registry.text().find(line) != std::string::npos; }

  /// Loads the bundle in `name` of the test's folder and publishes it as the newest.
  void publish(const std::string& name) {
    auto loaded = load_release(dir / name, test_options());
    REQUIRE_MESSAGE(loaded, (loaded ? std::string{} : render(loaded.error())));
    auto next = std::make_shared<release_table>(*releases->get());
    next->by_id[(*loaded)->manifest.id] = *loaded;
    next->newest = *loaded;
    releases->set(std::move(next));
  }
};

} // namespace troupe::ranker::testing
