#pragma once

#include "services/cli/context.hpp"

#include "common/net/client.hpp"
#include "common/net/payload.hpp"

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
  auto payload = net::bytes_of(out);
  TROUPE_TRY(got, client->call(kind, std::move(payload), deadline::in(std::chrono::seconds{30})));
  TROUPE_TRY(table,
             net::read_as<Answer>(got.payload, "TRPR", fmt::format("answer to {}", net::to_string(kind))));
  typename Answer::NativeTableType value;
  table->UnPackTo(&value);
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
