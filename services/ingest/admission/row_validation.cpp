#include "services/ingest/admission/row_validation.hpp"

#include "services/ingest/wire.hpp"

#include "common/event/record.hpp"
#include "common/net/client.hpp"

#include "schemas/validator_generated.h"

#include <future>

namespace troupe::ingest {

namespace {

validation_result read_violations(chunk payload, std::size_t records) {
  TROUPE_TRY(answer, message<wire::RowViolations>::open(std::move(payload), validator_identifier));
  std::vector<row_violation> found;
  if (answer->refused())
    for (auto* each : *answer->refused()) {
      if (each->record() >= records)
        return fail(ec::corrupt, "the validator refuses record {} of a batch of {}", each->record(), records);
      found.push_back({each->record(), std::string{text_of(each->rule())},
                       std::string{text_of(each->field())}, std::string{text_of(each->reason())}});
    }
  return found;
}

} // namespace

validate_function validate_by_service(std::shared_ptr<net::client> validator,
                                      std::chrono::milliseconds timeout) {
  return [validator = std::move(validator), timeout](validation_request request, validation_done done) {
    auto records = batch::trusted(request.batch).size();
    auto payload = build_message(
        [&](auto& out) {
          out.ForceVectorAlignment(request.batch.size(), 1, 8);
          auto batch = out.CreateVector(reinterpret_cast<const std::uint8_t*>(request.batch.data()),
                                        request.batch.size());
          auto source = out.CreateString(request.source);
          return wire::CreateValidate(out, source, request.first_record, batch, micros_of(request.accepted),
                                      request.max_ahead ? request.max_ahead->count() : -1);
        },
        validator_identifier, request.batch.size() + 256);
    validator->call_async(wire::Kind::validate, std::move(payload), deadline::in(timeout),
                          [done = std::move(done), records](expected<net::reply> reply) {
                            if (!reply)
                              return done(unexpected{reply.error()});
                            done(read_violations(reply->payload, records));
                          });
  };
}

validate_function validate_alone() {
  return [](const validation_request& request, const validation_done& done) {
    auto rows = batch::trusted(request.batch);
    auto most = request.max_ahead.value_or(default_max_ahead);
    std::vector<row_violation> found;
    for (std::uint32_t i = 0; i < rows.size(); ++i)
      if (auto why = too_far_ahead(from_micros(rows[i].event_time()), request.accepted, most))
        found.push_back({i, "max_ahead", "event_time", std::move(*why)});
    done(std::move(found));
  };
}

validation_result validate_now(const validate_function& validate, validation_request request) {
  auto promise = std::make_shared<std::promise<validation_result>>();
  auto future = promise->get_future();
  validate(std::move(request),
           [promise](validation_result result) { promise->set_value(std::move(result)); });
  return future.get();
}

} // namespace troupe::ingest
