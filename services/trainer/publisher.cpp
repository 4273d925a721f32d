#include "services/trainer/publisher.hpp"

#include "schemas/registry_generated.h"

#include <boost/json/parse.hpp>

#include <fstream>

namespace troupe::trainer {

namespace {

using namespace std::chrono_literals;
using builder = flatbuffers::FlatBufferBuilder;

constexpr std::size_t most_points = 100'000;
constexpr std::size_t points_an_update = 10'000;
constexpr std::size_t part_bytes = 4 << 20;
constexpr auto identifier = "TRPR";

chunk bytes_of(const builder& out) {
  return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
}

template <class T>
expected<const T*> answer(const chunk& payload, const char* name) {
  flatbuffers::Verifier verifier{reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()};
  if (!verifier.VerifyBuffer<T>(nullptr))
    return fail(ec::corrupt, "the registry's answer is no {}", name);
  return flatbuffers::GetRoot<T>(payload.data());
}

} // namespace

void publisher::add(std::string name, std::uint64_t step, double value) {
  if (points_.size() >= most_points)
    ++dropped_;
  else
    points_.push_back({std::move(name), step, value, micros_of(wall_now())});
}

expected<net::reply> publisher::ask(wire::Kind kind, const chunk& payload) {
  return registry_->call(kind, payload, deadline::in(10s));
}

expected<void> publisher::create() {
  if (created_)
    return {};
  builder out;
  auto named = [&](const char* name, const std::string& text) {
    return wire::CreateNamedTextDirect(out, name, text.c_str());
  };
  std::vector parameters{named("config", order_.worker_config),
                         named("ranks", std::to_string(order_.run.ranks)),
                         named("seed", std::to_string(order_.seed)), named("data", order_.run.data)};
  std::vector tags{named("parent", order_.parent)};
  out.Finish(wire::CreateRunCreateDirect(out, order_.id.c_str(), order_.run.experiment.c_str(),
                                         order_.model_name.c_str(), &parameters, &tags),
             identifier);
  TROUPE_TRY(got, ask(wire::Kind::run_create, bytes_of(out)));
  TROUPE_TRY(reply, answer<wire::RunReply>(got.payload, "RunReply"));
  number_ = reply->run() ? reply->run()->last_update() : 0;
  created_ = true;
  return {};
}

expected<void> publisher::send(int state, const std::string& error) {
  TROUPE_CHECK(create());
  if (pending_.size() == 0) {
    builder out;
    auto count = std::min(points_.size(), points_an_update);
    std::vector<flatbuffers::Offset<wire::MetricPoint>> points;
    for (std::size_t i = 0; i < count; ++i) {
      auto& each = points_[i];
      points.push_back(wire::CreateMetricPointDirect(out, each.name.c_str(), each.step, each.value, each.at));
    }
    std::vector<flatbuffers::Offset<wire::NamedText>> artefacts;
    for (auto& [name, sha256] : artefacts_)
      artefacts.push_back(wire::CreateNamedTextDirect(out, name.c_str(), sha256.c_str()));
    auto of_state = state < 0 ? flatbuffers::Optional<wire::RunState>{flatbuffers::nullopt}
                              : flatbuffers::Optional<wire::RunState>{static_cast<wire::RunState>(state)};
    out.Finish(wire::CreateRunUpdateDirect(out, order_.id.c_str(), number_ + 1, of_state, error.c_str(),
                                           nullptr, nullptr, &points, &artefacts),
               identifier);
    pending_ = bytes_of(out);
    points_.erase(points_.begin(), points_.begin() + static_cast<std::ptrdiff_t>(count));
    artefacts_.clear();
  }
  TROUPE_TRY(got, ask(wire::Kind::run_update, pending_));
  TROUPE_TRY(reply, answer<wire::RunReply>(got.payload, "RunReply"));
  (void)reply;
  ++number_;
  pending_ = chunk{};
  return {};
}

expected<void> publisher::flush() {
  while (pending_.size() != 0 || !points_.empty() || !artefacts_.empty())
    TROUPE_CHECK(send(-1, {}));
  return {};
}

expected<void> publisher::end(int state, std::string error) {
  TROUPE_CHECK(flush());
  return send(state, error);
}

expected<void> publisher::upload(const std::filesystem::path& file, const std::string& sha256,
                                 std::uint64_t bytes) {
  std::ifstream in{file, std::ios::binary};
  if (!in)
    return fail(ec::not_found, "cannot read {}", file.string());
  std::vector<std::uint8_t> buffer;
  std::uint64_t offset = 0;
  for (;;) {
    buffer.resize(static_cast<std::size_t>(std::min<std::uint64_t>(part_bytes, bytes - offset)));
    in.clear();
    in.seekg(static_cast<std::streamoff>(offset));
    in.read(reinterpret_cast<char*>(buffer.data()), static_cast<std::streamsize>(buffer.size()));
    if (static_cast<std::size_t>(in.gcount()) != buffer.size())
      return fail(ec::io_failed, "{} has become shorter", file.string());
    builder out{buffer.size() + 1024};
    out.Finish(wire::CreateBlobPutDirect(out, sha256.c_str(), bytes, offset, &buffer), identifier);
    TROUPE_TRY(got, ask(wire::Kind::blob_put, bytes_of(out)));
    TROUPE_TRY(status, answer<wire::BlobStatus>(got.payload, "BlobStatus"));
    if (status->complete())
      return {};
    if (status->next_offset() > bytes || (status->next_offset() == offset && !buffer.empty()) ||
        status->next_offset() == bytes)
      return fail(ec::corrupt, "the registry does not take {}: it asks for byte {} of {}", file.string(),
                  status->next_offset(), bytes);
    offset = status->next_offset();
  }
}

expected<std::string> publisher::production_config() {
  builder out;
  out.Finish(wire::CreateModelQueryDirect(out, order_.model_name.c_str(), "production"), identifier);
  auto got = ask(wire::Kind::model_show, bytes_of(out));
  if (!got && got.error().code == ec::not_found)
    return std::string{};
  if (!got)
    return unexpected<error>{std::move(got).error()};
  TROUPE_TRY(version, answer<wire::ModelVersion>(got->payload, "ModelVersion"));
  boost::system::error_code problem;
  auto text = version->manifest() ? version->manifest()->string_view() : std::string_view{};
  auto manifest = boost::json::parse({text.data(), text.size()}, problem);
  auto* config = !problem && manifest.is_object() ? manifest.get_object().if_contains("config") : nullptr;
  return config != nullptr && config->is_string() ? std::string{config->get_string()} : std::string{};
}

expected<std::uint64_t> publisher::register_model(const std::string& manifest) {
  builder out;
  std::vector tags{wire::CreateNamedTextDirect(out, "run", order_.id.c_str())};
  out.Finish(wire::CreateModelRegisterDirect(out, order_.model_name.c_str(), manifest.c_str(), &tags,
                                             order_.run.skip_gate),
             identifier);
  TROUPE_TRY(got, ask(wire::Kind::model_register, bytes_of(out)));
  TROUPE_TRY(version, answer<wire::ModelVersion>(got.payload, "ModelVersion"));
  return version->version();
}

} // namespace troupe::trainer
