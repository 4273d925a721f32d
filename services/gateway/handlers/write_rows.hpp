#pragma once

#include "services/gateway/handlers/handler.hpp"
#include "services/gateway/http/request_body.hpp"

#include "schemas/ingest_generated.h"

#include <vector>

namespace troupe::gateway {

/// How the rows of a request are told.
enum class row_source : std::uint8_t {
  rows,   ///< The body: many rows, or one.
  entity, ///< The body: the attributes of the entity in the address.
  gone    ///< The entity in the address is deleted.
};

/// Events, items and users: read, named, timed, appended to the log, answered with a verdict per row when
/// they are durable.
class write_rows final : public handler {
public:
  write_rows(request_context& in, record_kind kind, row_source from)
      : handler{in}, kind_{kind}, from_{from} {}

  void begin() override;
  void on_reply(std::uint64_t tag, const expected<net::reply>& got) override;
  void on_listed() override;

private:
  bool parse();
  void give_times();
  void respond(const wire::AppendReply* reply);

  record_kind kind_;
  row_source from_;
  std::vector<row> rows_;
  http::response made_;
};

} // namespace troupe::gateway
