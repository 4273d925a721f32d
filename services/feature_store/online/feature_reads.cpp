#include "services/feature_store/online/feature_reads.hpp"

#include "services/feature_store/online/reader.hpp"

#include "common/net/payload.hpp"

namespace troupe::feature_store {

namespace {

expected<const wire::ReadFeatures*> read_of(const net::request& asked) {
  return net::read_as<wire::ReadFeatures>(asked.payload, "TRPF", "ReadFeatures");
}

} // namespace

bool feature_reads::reached(const net::request& asked) const {
  auto payload = read_of(asked);
  return !payload || offsets_reached(*engine_, **payload);
}

void feature_reads::refuse(net::request& asked, error why) {
  metrics_->read_failures.add();
  asked.respond.fail(std::move(why));
}

void feature_reads::serve(net::request_ptr asked) {
  auto pool = pool_.lock();
  if (!pool)
    return refuse(*asked, {ec::stopping, "the feature store is draining"});
  auto posted = pool->post([self = shared_from_this(), asked] { self->answer(asked); });
  if (!posted)
    refuse(*asked, std::move(posted).error());
}

void feature_reads::answer(const net::request_ptr& asked) {
  auto began = std::chrono::steady_clock::now();
  auto payload = read_of(*asked);
  if (!payload)
    return refuse(*asked, std::move(payload).error());
  if (asked->until.passed())
    return refuse(*asked, {ec::too_late, "the read waited past its deadline"});
  if (!offsets_reached(*engine_, **payload))
    return park_(asked);
  auto& read = **payload;
  auto values = read.ids() && read.features() ? read.ids()->size() * std::size_t{read.features()->size()} : 0;
  auto result = answer_read(*engine_, read, now_());
  if (result) {
    metrics_->reads.add();
    metrics_->values.add(static_cast<double>(values));
  } else {
    metrics_->read_failures.add();
  }
  asked->respond.finish(std::move(result));
  metrics_->read_seconds.observe(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
}

} // namespace troupe::feature_store
