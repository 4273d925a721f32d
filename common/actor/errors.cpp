#include "common/actor/errors.hpp"

#include <caf/atom.hpp>
#include <caf/exit_reason.hpp>
#include <caf/message.hpp>
#include <caf/sec.hpp>
#include <caf/string_algorithms.hpp>

namespace troupe {

namespace {

constexpr auto category = caf::atom("troupe");

} // namespace

caf::error to_caf(const error& err) {
  return {static_cast<std::uint8_t>(err.code), category, caf::make_message(err.text)};
}

error from_caf(const caf::error& err) {
  if (err.category() == category && err.code() >= 1 &&
      err.code() <= static_cast<std::uint8_t>(ec::internal)) {
    auto& context = err.context();
    return {static_cast<ec>(err.code()),
            context.match_elements<std::string>() ? context.get_as<std::string>(0) : std::string{}};
  }
  if (err == caf::sec::request_timeout)
    return {ec::too_late, "an actor did not answer in time"};
  if (err == caf::sec::request_receiver_down || err.category() == caf::atom("exit"))
    return {ec::stopping, "the actor asked has ended"};
  return {ec::internal, fmt::format("an actor failed: {} {}", caf::to_string(err.category()), err.code())};
}

} // namespace troupe
