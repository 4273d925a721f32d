#pragma once

#include "services/ingest/event_log.hpp"
#include "services/ingest/judge.hpp"
#include "services/ingest/lake.hpp"
#include "services/ingest/upload_desk.hpp"
#include "services/ingest/worker_pool.hpp"

#include "common/net/request.hpp"

#include <memory>

namespace troupe::ingest {

/// Answers what needs no memory between two requests: append, log_info, the quarantine and the lake. Each
/// function takes the request to the pool and returns at once; any thread.
class request_desk : public std::enable_shared_from_this<request_desk> {
public:
  request_desk(std::shared_ptr<event_log> log, std::shared_ptr<lake> into, judge_function judge,
               std::shared_ptr<upload_desk> uploads, std::shared_ptr<worker_pool> servers,
               std::shared_ptr<worker_pool> slow)
      : log_{std::move(log)}, lake_{std::move(into)}, judge_{std::move(judge)}, uploads_{std::move(uploads)},
        servers_{std::move(servers)}, slow_{std::move(slow)} {}

  void append(net::request request);
  void log_info(net::request request);
  void quarantine_list(net::request request);
  void quarantine_replay(net::request request);
  void lake_seal(net::request request);

private:
  struct append_job;
  void judge_append(std::shared_ptr<append_job> job);
  void commit_append(std::shared_ptr<append_job> job);
  expected<chunk> info() const;
  expected<chunk> list(const chunk& payload) const;
  expected<chunk> replay(const chunk& payload, deadline until);
  expected<chunk> seal(const chunk& payload, deadline until);

  std::shared_ptr<event_log> log_;
  std::shared_ptr<lake> lake_;
  judge_function judge_;
  std::shared_ptr<upload_desk> uploads_;
  std::shared_ptr<worker_pool> servers_;
  std::shared_ptr<worker_pool> slow_; ///< One thread for what takes long: replay and seal.
};

} // namespace troupe::ingest
