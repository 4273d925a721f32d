#include "tests/bench/report.hpp"

#include "services/validator/profile.hpp"
#include "services/validator/rule_book.hpp"

#include <cstdlib>
#include <cstring>

/// Judging rows beside a plain scan of the same bytes in memory.
namespace {

using namespace troupe;
using namespace troupe::validator;

constexpr std::size_t rows_per_batch = 2000;

constexpr auto simple_rules = R"([[schema]]
kind = "event"
type = "rating"
[[schema.field]]
name = "user"
required = true
[[schema.field]]
name = "item"
required = true
[[schema.field]]
name = "value"
required = true
min = 0.5
max = 5
[[schema.field]]
name = "event_time"
min = 1995-01-01T00:00:00Z
)";

constexpr auto full_rules = R"([[schema]]
kind = "event"
type = "rating"
[[schema.field]]
name = "user"
required = true
pattern = "u[0-9]+"
[[schema.field]]
name = "item"
required = true
max_length = 20
[[schema.field]]
name = "value"
required = true
one_of = [1, 2, 3, 4, 5]
[[schema.field]]
name = "context.position"
type = "integer"
min = 1
max = 50
[[schema.field]]
name = "context.device"
type = "text"
one_of = ["phone", "desk", "tablet"]
[[schema.compare]]
left = "context.position"
op = "<="
right = "context.slots"
)";

std::vector<batch> make_batches(std::size_t many) {
  std::vector<batch> all;
  std::uint64_t state = 42;
  auto draw = [&](std::uint64_t below) {
    return (state = state * 6364136223846793005u + 1442695040888963407u) / 8589934592u % below;
  };
  constexpr const char* devices[] = {"phone", "desk", "tablet"};
  for (std::size_t b = 0; b < many; ++b) {
    std::vector<record> rows;
    for (std::size_t i = 0; i < rows_per_batch; ++i) {
      record rec;
      rec.id = fmt::format("{:016x}{:016x}", draw(~0ull), b * rows_per_batch + i);
      rec.type = "rating";
      rec.user = fmt::format("u{}", draw(100'000));
      rec.item = fmt::format("i{}", draw(20'000));
      rec.event_time =
          from_micros(1'600'000'000'000'000 + static_cast<std::int64_t>(b * rows_per_batch + i) * 1000);
      rec.value = static_cast<double>(1 + draw(5));
      rec.attributes = {{"device", std::string{devices[draw(3)]}},
                        {"position", static_cast<double>(1 + draw(10))},
                        {"slots", 10.0}};
      rows.push_back(std::move(rec));
    }
    all.push_back(batch::trusted(encode_batch(rows)));
  }
  return all;
}

rule_book book(const char* toml) {
  auto made = rule_book::compile(*parse_schemas(toml, "bench"));
  if (!made)
    std::abort();
  return std::move(*made);
}

/// Reads every byte once.
std::uint64_t scan(byte_view bytes) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t part;
    std::memcpy(&part, bytes.data() + i, 8);
    sum += part;
  }
  return sum;
}

} // namespace

int main(int argc, char** argv) {
  auto batches = make_batches(bench::quick(argc, argv) ? 20 : 500);
  std::uint64_t sink = 0;
  bench::samples scanned, verified, simple, full, profiled;
  auto simple_book = book(simple_rules), full_book = book(full_rules);
  std::size_t lines = 0;
  profile seen;
  for (auto& each : batches) {
    scanned.time([&] { sink += scan(each.bytes().view()); });
    verified.time([&] { sink += batch::open(each.bytes())->size(); });
    simple.time([&] { lines += simple_book.validate(each, {"bench", 0})->lines.size(); });
    full.time([&] { lines += full_book.validate(each, {"bench", 0})->lines.size(); });
    profiled.time([&] {
      for (std::size_t i = 0; i < each.size(); ++i)
        seen.add(each[i]);
    });
  }
  if (lines != 0 || sink == 0)
    return 1;
  auto per = static_cast<double>(rows_per_batch);
  auto show = [&](const char* name, const bench::samples& of, double aim) {
    bench::report({.name = name,
                   .unit = "rows/s",
                   .value = of.rate(per),
                   .limit_name = "plain scan of the bytes",
                   .limit = scanned.rate(per),
                   .aim = aim,
                   .p50_us = of.p50_us(),
                   .p99_us = of.p99_us()});
  };
  show("validate, simple schema", simple, 0);
  show("validate, six rules with pattern and sets", full, 0);
  show("verify a batch of the wire", verified, 0);
  show("profile, eight columns", profiled, 0);
  // The promise: a million rows a second by a simple schema.
  bench::report({.name = "validate against the aim",
                 .unit = "rows/s",
                 .value = simple.rate(per),
                 .limit_name = "1,000,000 rows/s",
                 .limit = 1e6,
                 .aim = 1,
                 .p50_us = simple.p50_us(),
                 .p99_us = simple.p99_us()});
  return 0;
}
