#include "services/feature_store/operators/keys.hpp"
#include "services/feature_store/operators/sql.hpp"
#include "services/feature_store/operators/tiles.hpp"

#include <bit>
#include <cmath>
#include <cstring>

namespace troupe::feature_store {

namespace {

/// Of a hash that many bits are kept: enough that of 1,024 values two meet in one of two million sketches.
constexpr std::size_t hash_bytes = 5;
constexpr std::uint64_t kept_bits = ~std::uint64_t{0} << (64 - 8 * hash_bytes);

static_assert(std::endian::native == std::endian::little); // Low bytes first, as they lie in memory.

void write_hashes(const std::vector<std::uint64_t>& hashes, store::encoder& out) {
  static thread_local std::string bytes;
  bytes.resize(hashes.size() * hash_bytes);
  auto* at = bytes.data();
  for (auto hash : hashes) {
    hash >>= 64 - 8 * hash_bytes;
    std::memcpy(at, &hash, hash_bytes);
    at += hash_bytes;
  }
  out.octet(0).whole(hashes.size()).raw(bytes);
}

/// The bytes of hashes, where that is what follows.
std::optional<std::string_view> read_hashes(store::decoder& in) {
  auto at = in;
  if (at.octet() != 0)
    return std::nullopt;
  in = at;
  return in.raw(in.count_of(hash_bytes) * hash_bytes);
}

template <class Use>
void each_hash(std::string_view bytes, Use&& use) {
  for (; !bytes.empty(); bytes.remove_prefix(hash_bytes)) {
    std::uint64_t hash = 0;
    std::memcpy(&hash, bytes.data(), hash_bytes);
    use(hash << (64 - 8 * hash_bytes));
  }
}

/// Distinct values: exact up to 1,024 per tile, then by HyperLogLog (1.6 %).
class distinct_count_class final : public feature_operator {
public:
  std::string_view name() const noexcept override { return "distinct_count"; }
  std::span<const std::string_view> keys() const noexcept override { return number_keys; }
  expected<void> parse(const toml::table& table, const feature_view&, std::string_view where,
                       feature_definition& into) const override {
    TROUPE_CHECK(parse_of(table, where, into));
    return parse_window(table, where, into);
  }
  void apply(const feature_definition& def, const feature_event& from, std::int64_t newest,
             slot& into) const override {
    static thread_local std::vector<std::uint64_t> hashes;
    hashes.clear();
    add_hashes(from, def.of, hashes);
    if (hashes.empty())
      return;
    into.touch(from.event_time);
    auto hop = def.hop.count();
    auto index = tile_of(def, from.event_time);
    if (hop && newest != never && index < first_tile(def, newest))
      return;
    auto& seen = tile_at(into.seen, index).seen;
    for (auto hash : hashes)
      seen.add(hash & kept_bits);
  }
  bool read(const feature_definition& def, store::decoder& in, std::int64_t newest, const reading& when,
            double& number, std::string&) const override {
    static thread_local std::vector<std::uint64_t> all;
    all.clear();
    std::size_t exact = 0, single = 0;
    std::optional<sketch::distinct> merged;
    each_tile(def, in, newest, [&](std::int64_t index) {
      if (auto hashes = read_hashes(in)) {
        if (index < when.first)
          return;
        ++exact;
        single = hashes->size() / hash_bytes;
        each_hash(*hashes, [](std::uint64_t hash) { all.push_back(hash); });
      } else {
        auto sketch = sketch::distinct::load(in);
        if (index < when.first)
          return;
        if (merged)
          merged->merge(sketch);
        else
          merged = std::move(sketch);
      }
    });
    if (exact == 0 && !merged)
      return false;
    if (merged) {
      for (auto hash : all)
        merged->add(hash);
      number = std::round(merged->estimate());
    } else if (exact == 1) {
      number = static_cast<double>(single);
    } else {
      std::ranges::sort(all);
      number = static_cast<double>(std::unique(all.begin(), all.end()) - all.begin());
    }
    return true;
  }
  void encode(const feature_definition& def, const slot& from, form, store::encoder& out) const override {
    out.whole(from.seen.size());
    if (from.seen.empty())
      return;
    auto before = from.seen.front().index;
    out.whole(static_cast<std::uint64_t>(tile_of(def, from.newest) - before));
    for (auto& each : from.seen) {
      out.whole(static_cast<std::uint64_t>(each.index - before));
      before = each.index;
      if (each.seen.exact())
        write_hashes(each.seen.hashes(), out);
      else
        each.seen.save(out);
    }
  }
  bool decode(const feature_definition& def, slot& into, store::decoder& in) const override {
    each_tile(def, in, into.newest, [&](std::int64_t index) {
      auto& tile = into.seen.emplace_back();
      tile.index = index;
      if (auto bytes = read_hashes(in)) {
        std::vector<std::uint64_t> hashes;
        hashes.reserve(bytes->size() / hash_bytes + 1);
        each_hash(*bytes, [&](std::uint64_t hash) { hashes.push_back(hash); });
        if (hashes.size() > sketch::distinct::exact_limit || !std::ranges::is_sorted(hashes))
          return in.give_up();
        tile.seen = sketch::distinct::of(std::move(hashes));
      } else {
        tile.seen = sketch::distinct::load(in);
      }
    });
    return in.ok();
  }
  std::optional<std::int64_t> oldest_tile(const feature_definition& def, std::int64_t newest,
                                          std::string_view encoded) const override {
    store::decoder in{encoded};
    if (in.whole() == 0)
      return std::nullopt;
    return tile_of(def, newest) - static_cast<std::int64_t>(in.whole());
  }
  std::string sql(const feature_definition& def) const override {
    return fmt::format("nullif(count(DISTINCT {}) {}, 0)::DOUBLE", sql_column(def.of), sql_filter(def));
  }

private:
  /// Calls `use(index)` where the content of a tile begins, from the oldest to the newest; it reads that.
  template <class Use>
  static void each_tile(const feature_definition& def, store::decoder& in, std::int64_t newest, Use&& use) {
    auto size = in.whole();
    if (size == 0)
      return;
    auto index = tile_of(def, newest) - static_cast<std::int64_t>(in.whole());
    for (; size > 0 && in.ok(); --size) {
      index += static_cast<std::int64_t>(in.whole());
      use(index);
    }
  }
};

} // namespace

const feature_operator& distinct_count_operator() {
  static const distinct_count_class made;
  return made;
}

} // namespace troupe::feature_store
