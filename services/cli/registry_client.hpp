#pragma once

#include "services/cli/context.hpp"

#include "common/net/client.hpp"

#include "schemas/registry_generated.h"

#include <chrono>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace troupe::cli {

/// Asks the registry; tables go in and come out as values.
template <class Answer, class Question>
expected<typename Answer::NativeTableType> ask_registry(context& with, wire::Kind kind,
                                                        const typename Question::NativeTableType& question) {
  TROUPE_TRY(client, with.client("registry"));
  flatbuffers::FlatBufferBuilder out;
  out.Finish(Question::Pack(out, &question), "TRPR");
  auto payload = chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
  TROUPE_TRY(got, client->call(kind, std::move(payload), deadline::in(std::chrono::seconds{30})));
  auto* data = reinterpret_cast<const std::uint8_t*>(got.payload.data());
  flatbuffers::Verifier verifier{data, got.payload.size(), 64, 1u << 24};
  if (got.payload.size() < 8 || !verifier.VerifyBuffer<Answer>("TRPR"))
    return fail(ec::corrupt, "the registry's answer to {} is not what was asked for", net::to_string(kind));
  typename Answer::NativeTableType value;
  flatbuffers::GetRoot<Answer>(data)->UnPackTo(&value);
  return value;
}

/// `name`, `name:version`, `name:alias`, `name:hash`: the name, and what comes after the last colon.
inline std::pair<std::string, std::string> split_version(const std::string& text) {
  auto colon = text.rfind(':');
  if (colon == text.npos)
    return {text, {}};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

inline expected<wire::ModelVersionT> model_version(context& with, const std::string& text) {
  wire::ModelQueryT question;
  std::tie(question.name, question.version) = split_version(text);
  return ask_registry<wire::ModelVersion, wire::ModelQuery>(with, wire::Kind::model_show, question);
}

} // namespace troupe::cli
