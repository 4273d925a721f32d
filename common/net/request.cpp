#include "common/net/request.hpp"

#include <utility>

namespace troupe::net {

namespace {

class function_sink final : public detail::reply_sink {
public:
  explicit function_sink(std::function<void(expected<chunk>)> tell) : tell_{std::move(tell)} {}

  void send(std::string, envelope head, chunk payload) override {
    if (head.failure)
      tell_(unexpected<error>{std::move(*head.failure)});
    else
      tell_(std::move(payload));
  }

private:
  std::function<void(expected<chunk>)> tell_;
};

} // namespace

responder::responder(std::shared_ptr<detail::reply_sink> sink, std::string route, wire::Kind kind,
                     hash128 request_id, trace_context trace, deadline until)
    : sink_{std::move(sink)}, route_{std::move(route)}, kind_{kind},
      request_id_{request_id}, trace_{trace}, until_{until} {}

responder responder::to(std::function<void(expected<chunk>)> tell) {
  responder made;
  made.sink_ = std::make_shared<function_sink>(std::move(tell));
  return made;
}

responder& responder::operator=(responder&& other) noexcept {
  if (this != &other) {
    responder dropped{std::move(*this)};
    sink_ = std::move(other.sink_);
    route_ = std::move(other.route_);
    kind_ = other.kind_;
    request_id_ = other.request_id_;
    trace_ = other.trace_;
    until_ = other.until_;
  }
  return *this;
}

responder::~responder() {
  if (sink_)
    fail({ec::internal, fmt::format("the {} request was given up without an answer", to_string(kind_))});
}

void responder::reply(chunk payload) {
  if (!sink_)
    return;
  if (until_.passed())
    return fail({ec::too_late, fmt::format("{} was done after its deadline", to_string(kind_))});
  send({}, std::move(payload));
}

void responder::fail(error err, std::chrono::milliseconds retry_after) {
  if (!sink_)
    return;
  envelope head;
  head.failure = std::move(err);
  head.retry_after = retry_after;
  send(std::move(head), {});
}

void responder::finish(expected<chunk> result) {
  if (result)
    reply(*std::move(result));
  else
    fail(std::move(result).error());
}

void responder::send(envelope head, chunk payload) {
  head.kind = kind_;
  head.reply = true;
  head.request_id = request_id_;
  head.trace = trace_;
  auto sink = std::exchange(sink_, nullptr);
  sink->send(std::move(route_), std::move(head), std::move(payload));
}

} // namespace troupe::net
