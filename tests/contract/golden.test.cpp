#include "tests/contract/messages.hpp"

#include "common/net/envelope.hpp"

#include "schemas/ingest_generated.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>

using namespace troupe;
namespace fs = std::filesystem;

namespace {

const fs::path golden{TROUPE_GOLDEN};

std::string content(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

} // namespace

TEST_CASE("every released message has golden bytes, and no golden bytes are without their message") {
  std::set<std::string> known;
  for (auto& each : contract::released_messages()) {
    known.insert(each.file);
    // A new message: run once with TROUPE_WRITE_GOLDEN=1. Bytes that exist are never written again.
    if (std::getenv("TROUPE_WRITE_GOLDEN") != nullptr && !fs::exists(golden / each.file))
      std::ofstream{golden / each.file, std::ios::binary} << each.write().text();
    CHECK_MESSAGE(fs::exists(golden / each.file), each.file);
  }

  for (auto& entry : fs::directory_iterator{golden})
    if (entry.path().extension() == ".bin")
      CHECK_MESSAGE(known.contains(entry.path().filename().string()), entry.path().string());
}

TEST_CASE("this program writes the golden bytes of every released message") {
  for (auto& each : contract::released_messages())
    CHECK_MESSAGE(each.write().text() == content(golden / each.file), each.file);
}

TEST_CASE("this program reads the golden bytes of every released message, field by field") {
  for (auto& each : contract::released_messages()) {
    auto bytes = chunk::own(content(golden / each.file));
    CHECK_MESSAGE(each.read(bytes.view()), each.file);
  }
}

TEST_CASE("a golden message that is cut short is refused, never read past its end") {
  for (auto& each : contract::released_messages()) {
    auto bytes = chunk::own(content(golden / each.file));
    for (std::size_t length = 8; length + 8 <= bytes.size(); ++length)
      CHECK_MESSAGE(!each.read(chunk::copy(bytes.view().first(length)).view()), each.file, " at ", length);
  }
}

TEST_CASE("an old reader reads a message of a writer that knows one more field") {
  flatbuffers::FlatBufferBuilder out;
  auto text = out.CreateString("from the future");
  auto start = out.StartTable();
  out.AddElement<std::uint32_t>(wire::Fetch::VT_PARTITION, 3, 0);
  out.AddElement<std::uint64_t>(wire::Fetch::VT_OFFSET, 1'000, 0);
  out.AddOffset(wire::Fetch::VT_WAIT_US + 2, text);
  out.Finish(flatbuffers::Offset<wire::Fetch>{out.EndTable(start)}, "TRPI");

  flatbuffers::Verifier verifier{out.GetBufferPointer(), out.GetSize()};
  REQUIRE(verifier.VerifyBuffer<wire::Fetch>("TRPI"));
  auto* read = flatbuffers::GetRoot<wire::Fetch>(out.GetBufferPointer());
  CHECK(read->partition() == 3);
  CHECK(read->offset() == 1'000);
  CHECK(read->max_bytes() == 0);
}

TEST_CASE("an envelope of a future version is refused as such") {
  for (std::uint16_t version : {2, 3, 65'535}) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateEnvelopeDirect(out, version), wire::EnvelopeIdentifier());

    auto read =
        net::decode_envelope({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});

    REQUIRE(!read);
    CHECK(read.error().code == ec::unsupported_version);
  }
}

TEST_CASE("the numbers of kinds never change") {
  using wire::Kind;
  auto number = [](Kind kind) { return static_cast<unsigned>(kind); };
  CHECK(number(Kind::status) == 1);
  CHECK(number(Kind::import_start) == 100);
  CHECK(number(Kind::append) == 103);
  CHECK(number(Kind::fetch) == 104);
  CHECK(number(Kind::log_info) == 105);
  CHECK(number(Kind::lake_seal) == 108);
  CHECK(number(Kind::validate) == 200);
  CHECK(number(Kind::schemas) == 202);
  CHECK(number(Kind::read_features) == 300);
  CHECK(number(Kind::dump_state) == 305);
  CHECK(number(Kind::scan_features) == 306);
  CHECK(number(Kind::training_remove) == 309);
  CHECK(number(Kind::feature_changes) == 310);
  CHECK(number(Kind::rank) == 700);
  CHECK(number(Kind::similar) == 701);
  CHECK(number(Kind::prepare) == 702);
  CHECK(number(Kind::loaded) == 703);
}
