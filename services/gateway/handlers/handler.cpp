#include "services/gateway/handlers/handler.hpp"

namespace troupe::gateway {

void handler::on_reply(std::uint64_t, const expected<net::reply>&) {
  one().reply_error({ec::internal, "an answer came that nobody asked for"});
}

void handler::on_kept(bool) {
  one().reply_error({ec::internal, "a slate was kept that nobody was shown"});
}

void handler::on_listed() {
  one().reply_error({ec::internal, "rows were listed that nobody wrote"});
}

} // namespace troupe::gateway
