#include "services/ingest/client/log_reader.hpp"

#include <algorithm>
#include <utility>

namespace troupe::ingest {

using namespace std::chrono_literals;

void log_reader::begin() {
  ask(0, positions_[0]);
}

void log_reader::place(cursor_id cursor, std::uint32_t partition, std::uint64_t offset) {
  auto& at = positions_[cursor];
  at.partition = partition;
  at.offset = offset;
}

void log_reader::read(cursor_id cursor, std::uint32_t partition, std::uint64_t offset) {
  place(cursor, partition, offset);
  auto& at = positions_.at(cursor);
  worked(at);
  ask(cursor, at);
}

void log_reader::ask(std::uint64_t tag, const position& at) {
  if (tag == 0)
    return hooks_.call(tag, wire::Kind::log_info, log_info_query(), deadline::in(10s));
  hooks_.call(tag, wire::Kind::fetch,
              fetch_query(at.partition, at.offset, options_.fetch_bytes, options_.fetch_wait),
              deadline::in(options_.fetch_wait + 10s));
}

void log_reader::on_reply(std::uint64_t tag, const expected<net::reply>& reply) {
  if (!positions_.contains(tag))
    return;
  auto done = !reply ? expected<void>{unexpected<error>{reply.error()}} : expected<void>{};
  if (done && tag == 0) {
    done = on_ends(reply->payload);
  } else if (done) {
    done = on_records(tag, reply->payload);
  }
  if (!done)
    failed(tag, done.error());
}

expected<void> log_reader::on_ends(const chunk& payload) {
  TROUPE_TRY(ends, read_log_ends(payload));
  TROUPE_CHECK(hooks_.ends(ends));
  worked(positions_.at(0));
  return {};
}

expected<void> log_reader::on_records(cursor_id cursor, const chunk& payload) {
  auto& at = positions_.at(cursor);
  TROUPE_TRY(found, read_log_records(payload, at.partition, at.offset));
  if (log_ == 0)
    log_ = found.log;
  if (found.log != 0 && found.log != log_)
    return fail(ec::conflict, "partition {} is that of another log than was read so far: it was replaced",
                at.partition);
  if (found.next > at.offset)
    return hooks_.records(cursor, std::move(found));
  worked(at); // Nothing new within the wait.
  ask(cursor, at);
  return {};
}

void log_reader::failed(std::uint64_t tag, const error& why) {
  auto found = positions_.find(tag);
  if (found == positions_.end())
    return;
  auto count = ++found->second.failures;
  hooks_.failing(why, count);
  hooks_.wait(tag, std::min<std::chrono::milliseconds>(100ms * count, 2'000ms));
}

void log_reader::forget(cursor_id cursor) {
  auto found = positions_.find(cursor);
  if (found == positions_.end())
    return;
  worked(found->second);
  positions_.erase(found);
}

void log_reader::on_wait_over(std::uint64_t tag) {
  if (auto found = positions_.find(tag); found != positions_.end())
    ask(tag, found->second);
}

void log_reader::worked(position& at) {
  if (std::exchange(at.failures, 0) == 0)
    return;
  if (std::ranges::all_of(positions_, [](auto& each) { return each.second.failures == 0; }))
    hooks_.recovered();
}

} // namespace troupe::ingest
