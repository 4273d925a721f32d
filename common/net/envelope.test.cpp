#include "common/net/envelope.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace troupe;
using namespace troupe::net;
using namespace std::chrono_literals;

namespace {

envelope sample() {
  envelope head;
  head.kind = wire::Kind::read_features;
  head.request_id = {0x0123456789abcdef, 42};
  head.trace = {1, 2, 3, 1};
  head.time_left = 250ms;
  head.caller = "ranker/1";
  return head;
}

chunk of_version(std::uint16_t version) {
  flatbuffers::FlatBufferBuilder out;
  wire::EnvelopeBuilder head{out};
  head.add_version(version);
  head.add_request_id_high(7);
  head.add_request_id_low(8);
  head.add_time_left_us(1000);
  out.Finish(head.Finish(), wire::EnvelopeIdentifier());
  return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
}

} // namespace

TEST_CASE("an envelope survives the way through its bytes") {
  auto request = sample();
  auto answer = sample();
  answer.reply = true;
  answer.time_left = 0us;
  answer.failure = error{ec::overloaded, "ingest/0 has 1024 requests under way"};
  answer.retry_after = 50ms;

  CHECK(*decode_envelope(encode(request).view()) == request);
  CHECK(*decode_envelope(encode(answer).view()) == answer);
}

TEST_CASE("an envelope of a later version is refused but its request id can be answered") {
  auto bytes = of_version(envelope_version + 1);

  auto read = decode_envelope(bytes.view());

  REQUIRE(!read);
  CHECK(read.error().code == ec::unsupported_version);
  CHECK(request_id_of(bytes.view()) == hash128{7, 8});
  CHECK(decode_envelope(of_version(0).view()).error().code == ec::unsupported_version);
}

TEST_CASE("bytes that are no envelope are refused wherever they are cut or changed") {
  auto whole = encode(sample());
  std::mt19937_64 random{1};

  for (std::size_t length = 0; length + 8 <= whole.size(); ++length)
    CHECK(decode_envelope(whole.view().first(length)).error().code == ec::corrupt);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes{whole.text()};
    for (int k = 0; k < 3; ++k)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    (void)decode_envelope(as_bytes(bytes)); // Must not crash; the sanitizers look.
    (void)request_id_of(as_bytes(bytes));
  }
}

TEST_CASE("an envelope is read from bytes that lie badly") {
  std::string shifted = "x" + std::string{encode(sample()).text()};

  CHECK(*decode_envelope(as_bytes(shifted).subspan(1)) == sample());
}

TEST_CASE("a long error text is cut so that an envelope stays small") {
  envelope head = sample();
  head.reply = true;
  head.failure = error{ec::internal, std::string(100'000, 'x')};

  auto bytes = encode(head);

  CHECK(bytes.size() <= max_envelope_bytes);
  CHECK(decode_envelope(bytes.view())->failure->text.size() == 2048);
}

TEST_CASE("only kinds that do no more when asked twice are idempotent") {
  CHECK(idempotent(wire::Kind::validate));
  CHECK(idempotent(wire::Kind::append));
  CHECK(!idempotent(wire::Kind::quarantine_replay));
  CHECK(!idempotent(static_cast<wire::Kind>(4711)));
  CHECK(to_string(static_cast<wire::Kind>(4711)) == "kind 4711");
}
