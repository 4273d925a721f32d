#include "tests/contract/message_table.hpp"
#include "tests/contract/sample_batch.hpp"
#include "tests/contract/service_messages.hpp"

#include "schemas/validator_generated.h"

namespace troupe::contract {

void add_validator(std::vector<message>& all) {
  constexpr auto id = "TRPV";
  all.push_back(table<wire::Validate>(
      "validate", id,
      [](builder& out) {
        auto batch = sample_batch_bytes();
        return wire::CreateValidateDirect(out, "a.csv", 2'000, &batch);
      },
      [](auto& m) {
        return is(m.source(), "a.csv") && m.first_row() == 2'000 && is_sample_batch(m.batch());
      }));
  all.push_back(table<wire::RowViolations>(
      "verdicts", id,
      [](builder& out) {
        std::vector refused{wire::CreateRowViolationDirect(out, 5, "range", "value", "6 is above 5")};
        return wire::CreateRowViolationsDirect(out, &refused);
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

} // namespace troupe::contract
