#include "services/gateway/http/request_body.hpp"

#include <cstdlib>

/// Whatever the body of a request: rows, a request, or an error; a row that is taken holds by itself.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace troupe;
  using namespace troupe::gateway;
  std::string_view body{reinterpret_cast<const char*>(data), size};
  for (auto kind : {record_kind::event, record_kind::user, record_kind::item}) {
    row_rules rules{kind, "key", 100, from_micros(1'700'000'000'000'000)};
    if (auto rows = parse_rows(body, rules))
      for (const auto& each : *rows)
        if (each.refused.empty() && !check(each.what))
          std::abort();
    if (kind != record_kind::event)
      (void)parse_entity(body, "x", rules);
  }
  (void)parse_recommend_request(body);
  (void)parse_filter(body);
  (void)parse_reason(body);
  return 0;
}
