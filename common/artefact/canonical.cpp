#include "common/artefact/canonical.hpp"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <vector>

namespace troupe::artefact {

namespace json = boost::json;

namespace {

void write(std::string& out, const json::value& from) {
  if (auto* object = from.if_object()) {
    std::vector<const json::key_value_pair*> members;
    for (auto& each : *object)
      members.push_back(&each);
    std::ranges::sort(members, {}, [](auto* member) { return std::string_view{member->key()}; });
    out += '{';
    for (auto* each : members) {
      if (each != members.front())
        out += ',';
      out += json::serialize(json::string_view{each->key()});
      out += ':';
      write(out, each->value());
    }
    out += '}';
  } else if (auto* array = from.if_array()) {
    out += '[';
    for (auto& each : *array) {
      if (&each != array->data())
        out += ',';
      write(out, each);
    }
    out += ']';
  } else {
    out += json::serialize(from);
  }
}

} // namespace

std::string canonical(const json::value& from) {
  std::string out;
  write(out, from);
  return out;
}

bool is_sha256(std::string_view text) noexcept {
  return text.size() == 64 && std::ranges::all_of(text, [](char each) {
           return (each >= '0' && each <= '9') || (each >= 'a' && each <= 'f');
         });
}

} // namespace troupe::artefact
