#pragma once

#include "services/ingest/admission/admission.hpp"
#include "services/ingest/lake.hpp"
#include "services/ingest/log/event_log.hpp"
#include "services/ingest/upload_handler.hpp"

#include "common/actor/blocking_pool.hpp"
#include "common/net/request.hpp"

#include <memory>

namespace troupe::ingest {

struct request_handler_deps {
  std::shared_ptr<event_log> log;
  std::shared_ptr<lake> into;
  validate_function validate;
  std::shared_ptr<upload_handler> uploads;
  blocking_pool* servers = nullptr;      ///< Outlives the handler: its tasks hold that.
  blocking_pool* lake_readers = nullptr; ///< For reads of the lake's files.
  blocking_pool* slow = nullptr;         ///< One thread for what takes long: replay and seal.
};

/// Answers what needs no memory between two requests: append, log_info, fetch_columns, the quarantine and the
/// lake. Each function takes the request to a pool and returns at once, or refuses it where the pool is full;
/// any thread.
class request_handler : public std::enable_shared_from_this<request_handler> {
public:
  explicit request_handler(request_handler_deps deps) : deps_{std::move(deps)} {}

  void append(net::request request);
  void log_info(net::request request);
  void fetch_columns(net::request request);
  void quarantine_list(net::request request);
  void quarantine_replay(net::request request);
  void lake_seal(net::request request);

private:
  struct append_job;
  expected<void> read(append_job& job) const;
  void validate(std::shared_ptr<append_job> job);
  void commit(std::shared_ptr<append_job> job);
  expected<chunk> info() const;
  expected<chunk> list(const chunk& payload) const;
  expected<chunk> replay(const chunk& payload, deadline until);
  expected<chunk> seal(const chunk& payload, deadline until);

  request_handler_deps deps_;
};

} // namespace troupe::ingest
