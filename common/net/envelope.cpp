#include "common/net/envelope.hpp"

#include "common/net/payload.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace troupe::net {

namespace {

using namespace std::chrono;

constexpr std::size_t max_caller = 256;
constexpr std::size_t max_error = 2048;
constexpr microseconds max_time_left = hours{24 * 366};

/// FlatBuffers reads structs in place, so the bytes must lie where 64-bit numbers may lie.
class aligned_bytes {
public:
  explicit aligned_bytes(byte_view bytes) : view_{bytes} {
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(std::uint64_t) == 0)
      return;
    copy_.resize((bytes.size() + 7) / 8);
    std::memcpy(copy_.data(), bytes.data(), bytes.size());
    view_ = {reinterpret_cast<const std::byte*>(copy_.data()), bytes.size()};
  }

  const std::uint8_t* data() const noexcept { return reinterpret_cast<const std::uint8_t*>(view_.data()); }
  std::size_t size() const noexcept { return view_.size(); }

private:
  std::vector<std::uint64_t> copy_;
  byte_view view_;
};

const wire::Envelope* verified(const aligned_bytes& bytes) {
  if (bytes.size() < 8 || bytes.size() > max_envelope_bytes)
    return nullptr;
  flatbuffers::Verifier verifier{bytes.data(), bytes.size(), 16, 64};
  return wire::VerifyEnvelopeBuffer(verifier) ? wire::GetEnvelope(bytes.data()) : nullptr;
}

std::string_view view_of(const flatbuffers::String* text) noexcept {
  return text ? std::string_view{text->data(), text->size()} : std::string_view{};
}

ec code_of(std::uint8_t status) noexcept {
  return status <= static_cast<std::uint8_t>(ec::internal) ? static_cast<ec>(status) : ec::internal;
}

} // namespace

chunk encode(const envelope& from) {
  thread_local flatbuffers::FlatBufferBuilder out{512};
  out.Clear();
  auto text = [](std::string_view whole, std::size_t limit) {
    auto part = whole.substr(0, limit);
    return part.empty() ? 0 : out.CreateString(part.data(), part.size());
  };
  auto caller = text(from.caller, max_caller);
  auto reason = from.failure ? text(from.failure->text, max_error) : 0;
  wire::Trace trace{from.trace.trace_high, from.trace.trace_low, from.trace.span, from.trace.flags};
  wire::EnvelopeBuilder head{out};
  head.add_version(envelope_version);
  head.add_kind(from.kind);
  head.add_reply(from.reply);
  head.add_request_id_high(from.request_id.high);
  head.add_request_id_low(from.request_id.low);
  if (from.trace != trace_context{})
    head.add_trace(&trace);
  head.add_time_left_us(static_cast<std::uint64_t>(std::max<microseconds::rep>(0, from.time_left.count())));
  head.add_caller(caller);
  if (from.failure)
    head.add_status(static_cast<std::uint8_t>(from.failure->code));
  head.add_error(reason);
  head.add_retry_after_ms(
      static_cast<std::uint32_t>(std::clamp<milliseconds::rep>(from.retry_after.count(), 0, UINT32_MAX)));
  out.Finish(head.Finish(), wire::EnvelopeIdentifier());
  return bytes_of(out);
}

expected<envelope> decode_envelope(byte_view bytes) {
  aligned_bytes held{bytes};
  auto* from = verified(held);
  if (from == nullptr)
    return fail(ec::corrupt, "{} bytes are not an envelope", bytes.size());
  if (from->version() == 0 || from->version() > envelope_version)
    return fail(ec::unsupported_version, "envelope version {} came, this program reads up to {}",
                from->version(), envelope_version);
  envelope to;
  to.kind = from->kind();
  to.reply = from->reply();
  to.request_id = {from->request_id_high(), from->request_id_low()};
  if (auto* trace = from->trace())
    to.trace = {trace->trace_high(), trace->trace_low(), trace->span(), trace->flags()};
  to.time_left = microseconds{static_cast<std::int64_t>(
      std::min(from->time_left_us(), static_cast<std::uint64_t>(max_time_left.count())))};
  to.caller = view_of(from->caller());
  if (from->reply() && from->status() != 0)
    to.failure = error{code_of(from->status()), std::string{view_of(from->error())}};
  to.retry_after = milliseconds{from->retry_after_ms()};
  return to;
}

std::optional<hash128> request_id_of(byte_view bytes) {
  aligned_bytes held{bytes};
  auto* from = verified(held);
  if (from == nullptr || from->reply())
    return std::nullopt;
  return hash128{from->request_id_high(), from->request_id_low()};
}

bool idempotent(wire::Kind kind) noexcept {
  switch (kind) {
  case wire::Kind::status:
  case wire::Kind::import_start: // The same path and mapping are the same import.
  case wire::Kind::import_status:
  case wire::Kind::import_cancel:
  case wire::Kind::append: // The log knows every record id.
  case wire::Kind::fetch:
  case wire::Kind::fetch_columns:
  case wire::Kind::log_info:
  case wire::Kind::quarantine_list:
  case wire::Kind::validate: // The same rows of the same source get the same violations and are profiled
                             // once.
  case wire::Kind::profile:
  case wire::Kind::schemas:
  case wire::Kind::read_features:
  case wire::Kind::views:
  case wire::Kind::training_start: // The same specification and folder, or name, are the same training set.
  case wire::Kind::upload_put:     // The same bytes at the same place.
  case wire::Kind::training_status:
  case wire::Kind::training_cancel:
  case wire::Kind::dump_state:
  case wire::Kind::scan_features:
  case wire::Kind::feature_changes: // The place is the caller's: nothing is taken away.
  case wire::Kind::training_read:
  case wire::Kind::training_list:
  case wire::Kind::training_remove: // What is gone is not there.
  case wire::Kind::train_start:     // The same run id is the same run.
  case wire::Kind::train_status:
  case wire::Kind::train_cancel:
  case wire::Kind::run_create: // As train_start.
  case wire::Kind::run_update: // Numbered: what was taken already changes nothing.
  case wire::Kind::run_list:
  case wire::Kind::run_show:
  case wire::Kind::metric_read:
  case wire::Kind::blob_put: // The same bytes at the same place.
  case wire::Kind::blob_get:
  case wire::Kind::model_register: // The same manifest is the same version.
  case wire::Kind::model_list:
  case wire::Kind::model_show:
  case wire::Kind::model_change: // Sets what it names, whatever was there.
  case wire::Kind::release_register:
  case wire::Kind::release_list:
  case wire::Kind::release_show:
  case wire::Kind::routing:
  case wire::Kind::rollout_start: // The same id is the same rollout.
  case wire::Kind::rollout_list:
  case wire::Kind::rollout_show:
  case wire::Kind::rollout_change: // Asks for a state; asking twice is asking once.
  case wire::Kind::arm_report:     // Numbered.
  case wire::Kind::rank:
  case wire::Kind::similar:
  case wire::Kind::prepare:
  case wire::Kind::loaded:
  case wire::Kind::inspect:
    return true;
  case wire::Kind::none:
  case wire::Kind::quarantine_replay:
  case wire::Kind::lake_seal:
    return false;
  }
  return false;
}

std::string to_string(wire::Kind kind) {
  std::string_view name = wire::EnumNameKind(kind);
  return name.empty() ? fmt::format("kind {}", static_cast<unsigned>(kind)) : std::string{name};
}

} // namespace troupe::net
