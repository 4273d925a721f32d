#pragma once

#include "tests/support/fleet.hpp"

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

namespace troupe::testing {

/// A model folder in which item i<n> has score n of `scores`: the order of its answers is known beforehand.
inline std::filesystem::path popularity_model(const fleet& services, const std::string& name,
                                              const std::vector<float>& scores) {
  static_assert(std::endian::native == std::endian::little);
  auto folder = services.temp() / name;
  std::filesystem::create_directories(folder);
  std::string bytes, names;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    bytes.append(reinterpret_cast<const char*>(&scores[i]), sizeof scores[i]);
    names += "i" + std::to_string(i) + "\n";
  }
  std::string header = R"({"item_score":{"dtype":"F32","shape":[)" + std::to_string(scores.size()) +
                       R"(],"data_offsets":[0,)" + std::to_string(bytes.size()) + "]}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::uint64_t length = header.size();
  write_file(folder / "weights.safetensors",
             std::string{reinterpret_cast<const char*>(&length), 8} + header + bytes);
  write_file(folder / "items.txt", names);
  write_file(folder / "model.json",
             R"({"format":1,"kind":"popularity","items":)" + std::to_string(scores.size()) +
                 R"(,"users":0,"metrics":{},"weights":{"file":"weights.safetensors"}})");
  return folder;
}

/// A registered release of that one model; its id.
inline std::string popularity_release(const fleet& services, const std::string& name,
                                      const std::vector<float>& scores, bool filter_seen = true) {
  services.ask({"models", "register", popularity_model(services, name, scores).string(), "--name", name});
  auto rules = services.temp() / (name + ".rules.toml");
  write_file(rules, std::string{"[candidates]\nsources = [{name = 'popular', n = "} +
                        std::to_string(scores.size()) +
                        "}]\n[seen]\nfilter = " + (filter_seen ? "true\n" : "false\n"));
  auto made = services.ask({"releases", "build", "--name", name, "--model", name, "--rules", rules.string()});
  return std::string{made.at("id").as_string()};
}

} // namespace troupe::testing
