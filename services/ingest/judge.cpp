#include "services/ingest/judge.hpp"

#include "services/ingest/wire.hpp"

#include "common/net/client.hpp"

#include "schemas/event_generated.h"
#include "schemas/validator_generated.h"

#include <future>

namespace troupe::ingest {

namespace {

std::string text(const flatbuffers::String* from) {
  return from ? from->str() : std::string{};
}

expected<std::vector<verdict>> read_verdicts(chunk payload, std::size_t records) {
  TROUPE_TRY(answer, message<wire::Verdicts>::open(std::move(payload), validator_identifier));
  std::vector<verdict> verdicts;
  if (answer->refused())
    for (auto* each : *answer->refused()) {
      if (each->record() >= records)
        return fail(ec::corrupt, "the validator refuses record {} of a batch of {}", each->record(), records);
      verdicts.push_back({each->record(), text(each->rule()), text(each->field()), text(each->reason())});
    }
  return verdicts;
}

} // namespace

judge_function judge_by_validator(std::shared_ptr<net::client> validator, std::chrono::milliseconds timeout) {
  return [validator = std::move(validator), timeout](judge_question question, judge_answer answer) {
    auto* root = wire::GetBatch(question.batch.data());
    auto records = root->records() ? root->records()->size() : 0;
    auto payload = build_message(
        [&](auto& out) {
          out.ForceVectorAlignment(question.batch.size(), 1, 8);
          auto batch = out.CreateVector(reinterpret_cast<const std::uint8_t*>(question.batch.data()),
                                        question.batch.size());
          auto source = out.CreateString(question.source);
          return wire::CreateJudge(out, source, question.first_row, batch);
        },
        validator_identifier, question.batch.size() + 256);
    validator->call_async(wire::Kind::judge, std::move(payload), deadline::in(timeout),
                          [answer = std::move(answer), records](expected<net::reply> reply) {
                            if (!reply)
                              return answer(unexpected{reply.error()});
                            answer(read_verdicts(reply->payload, records));
                          });
  };
}

judge_function judge_nothing() {
  return [](judge_question, judge_answer answer) { answer(std::vector<verdict>{}); };
}

expected<std::vector<verdict>> judge_now(const judge_function& judge, judge_question question) {
  auto promise = std::make_shared<std::promise<expected<std::vector<verdict>>>>();
  auto future = promise->get_future();
  judge(std::move(question),
        [promise](expected<std::vector<verdict>> verdicts) { promise->set_value(std::move(verdicts)); });
  return future.get();
}

} // namespace troupe::ingest
