// Reads of 200 entities x 20 features: in process, through the service's socket, beside RocksDB MultiGet of
// packed values and Redis MGET over a unix socket, with the same entities in the same order.
#include "tests/bench/report.hpp"

#include "services/feature_store/client/feature_client.hpp"
#include "services/feature_store/online/feature_reads.hpp"
#include "services/feature_store/online/reader.hpp"
#include "services/feature_store/online/state_engine.hpp"

#include "common/net/client.hpp"
#include "common/net/endpoint.hpp"
#include "common/testing/temp_dir.hpp"

#include <fcntl.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace troupe;
using namespace troupe::feature_store;

namespace {

constexpr std::size_t entities_per_read = 200, features_per_read = 20;

[[noreturn]] void die(const std::string& text) {
  std::fprintf(stderr, "feature_read_bench: %s\n", text.c_str());
  std::exit(1);
}

template <class T>
T must(expected<T> result) {
  if (!result)
    die(render(result.error()));
  if constexpr (!std::is_void_v<T>)
    return std::move(*result);
}

std::string views_toml() {
  std::string out = "[[view]]\nname = \"u\"\nentity = \"user\"\nsource = [\"rating\", \"click\"]\n";
  int number = 0;
  auto add = [&](const std::string& body) {
    out += fmt::format("[[view.feature]]\nname = \"f{:02}\"\n{}", number++, body);
  };
  for (std::string window : {"", "window = \"1d\"\n", "window = \"7d\"\n", "window = \"30d\"\n"}) {
    add("operator = \"count\"\n" + window);
    add("operator = \"mean\"\n" + window);
    add("operator = \"max\"\n" + window);
    add("operator = \"rate\"\nnumerator = \"click\"\ndenominator = \"rating\"\n" + window);
  }
  add("operator = \"last\"\nof = \"value\"\n");
  add("operator = \"time_since\"\n");
  add("operator = \"distinct_count\"\nof = \"item\"\nwindow = \"7d\"\n");
  add("operator = \"decayed_count\"\nhalf_life = \"7d\"\n");
  return out;
}

/// A Redis of our own on a unix socket, spoken to in its protocol.
class redis {
public:
  explicit redis(const std::filesystem::path& folder) {
    auto path = (folder / "redis.sock").string();
    child_ = ::fork();
    if (child_ == 0) {
      int null = ::open("/dev/null", O_RDWR);
      ::dup2(null, 1);
      ::dup2(null, 2);
      auto dir = folder.string();
      ::execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path.c_str(), "--save", "",
               "--appendonly", "no", "--dir", dir.c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    for (int tries = 0; tries < 100 && !up_; ++tries) {
      socket_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
      up_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
      if (!up_) {
        ::close(socket_);
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
      }
    }
  }
  ~redis() {
    if (up_)
      ::close(socket_);
    ::kill(child_, SIGTERM);
    ::waitpid(child_, nullptr, 0);
  }

  bool up() const noexcept { return up_; }

  static void bulk(std::string& to, std::string_view part) {
    to += fmt::format("${}\r\n", part.size());
    to.append(part) += "\r\n";
  }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      auto sent = ::write(socket_, bytes.data(), bytes.size());
      if (sent <= 0)
        die("redis closed the connection");
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  /// Reads one reply whole: a line, or an array of bulk strings; gives how many of those are not nil.
  std::size_t receive() {
    auto head = line();
    if (head.empty() || head[0] != '*')
      return 0;
    auto count = std::strtoul(head.c_str() + 1, nullptr, 10);
    std::size_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
      auto size = std::strtol(line().c_str() + 1, nullptr, 10);
      if (size < 0)
        continue;
      while (buffer_.size() - at_ < static_cast<std::size_t>(size) + 2)
        fill();
      at_ += static_cast<std::size_t>(size) + 2;
      ++found;
    }
    return found;
  }

private:
  std::string line() {
    for (;;) {
      auto end = buffer_.find("\r\n", at_);
      if (end != std::string::npos) {
        auto text = buffer_.substr(at_, end - at_);
        at_ = end + 2;
        return text;
      }
      fill();
    }
  }
  void fill() {
    if (at_ > 1 << 20) {
      buffer_.erase(0, at_);
      at_ = 0;
    }
    char more[65536];
    auto got = ::read(socket_, more, sizeof more);
    if (got <= 0)
      die("redis closed the connection");
    buffer_.append(more, static_cast<std::size_t>(got));
  }

  pid_t child_ = -1;
  int socket_ = -1;
  bool up_ = false;
  std::string buffer_;
  std::size_t at_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  auto quick = bench::quick(argc, argv);
  std::size_t users = quick ? 5'000 : 50'000, events_per_user = 20;
  int reads = quick ? 200 : 2'000;
  troupe::testing::temp_dir folder;

  engine_options options;
  options.cache_bytes = std::size_t{2} << 30;
  std::shared_ptr<state_engine> engine =
      must(state_engine::open(folder / "state", must(parse_views(views_toml(), "bench")), options));
  std::mt19937_64 random{1};
  constexpr std::int64_t start = 1'600'000'000'000'000, day = 86'400'000'000;
  std::vector<record> block;
  std::uint64_t offset = 0;
  std::uint32_t view = 0;
  for (std::size_t i = 0; i < users * events_per_user; ++i) {
    record each;
    each.id = "e";
    each.type = random() % 4 ? "rating" : "click";
    each.user = fmt::format("user-{}", random() % users);
    each.item = fmt::format("item-{}", random() % 1000);
    each.value = static_cast<double>(random() % 10) / 2;
    each.event_time = from_micros(start + static_cast<std::int64_t>(random() % 40) * day +
                                  static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(day)));
    block.push_back(std::move(each));
    if (block.size() == 2000) {
      must(engine->apply({&view, 1}, batch::trusted(encode_batch(block, 0, offset))));
      offset += block.size();
      block.clear();
    }
  }
  must(engine->flush());
  auto at = engine->watermark();

  feature_query query;
  query.at = at;
  for (std::size_t f = 0; f < features_per_read; ++f)
    query.features.push_back(fmt::format("u.f{:02}", f));
  std::vector<std::string_view> names{query.features.begin(), query.features.end()};
  auto plan = must(plan_read(*engine, entity_kind::user, names));
  // The same entities for everybody.
  std::vector<std::vector<std::string>> asked(static_cast<std::size_t>(reads));
  for (auto& ids : asked)
    for (std::size_t i = 0; i < entities_per_read; ++i)
      ids.push_back(fmt::format("user-{}", random() % users));

  rocksdb::Options raw_options;
  raw_options.create_if_missing = true;
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.block_cache = rocksdb::NewLRUCache(std::size_t{512} << 20);
  raw_options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  rocksdb::DB* raw = nullptr;
  if (!rocksdb::DB::Open(raw_options, (folder / "raw").string(), &raw).ok())
    die("cannot open RocksDB");
  std::string packed(features_per_read * 8, 'x');
  for (std::size_t u = 0; u < users; ++u)
    raw->Put({}, fmt::format("user-{}", u), packed);
  raw->Flush({});
  bench::samples multiget;
  for (int round = 0; round < 2; ++round)
    for (auto& ids : asked) {
      std::vector<rocksdb::Slice> keys{ids.begin(), ids.end()};
      std::vector<rocksdb::PinnableSlice> values(keys.size());
      std::vector<rocksdb::Status> states(keys.size());
      auto read = [&] {
        raw->MultiGet({}, raw->DefaultColumnFamily(), keys.size(), keys.data(), values.data(), states.data());
      };
      if (round == 0)
        read();
      else
        multiget.time(read);
    }
  delete raw;

  redis store{folder.path()};
  bench::samples mget_packed, mget_single;
  if (store.up()) {
    for (std::size_t u = 0; u < users; ++u) {
      std::string command = fmt::format("*{}\r\n", 3 + 2 * features_per_read);
      redis::bulk(command, "MSET");
      redis::bulk(command, fmt::format("user-{}", u));
      redis::bulk(command, packed);
      for (std::size_t f = 0; f < features_per_read; ++f) {
        redis::bulk(command, fmt::format("user-{}:f{:02}", u, f));
        redis::bulk(command, "12345.67");
      }
      store.send(command);
      store.receive();
    }
    for (auto& ids : asked) {
      std::string command = fmt::format("*{}\r\n", 1 + ids.size());
      redis::bulk(command, "MGET");
      for (auto& id : ids)
        redis::bulk(command, id);
      mget_packed.time([&] {
        store.send(command);
        if (store.receive() != ids.size())
          die("redis does not have all keys");
      });
    }
    for (std::size_t i = 0; i < asked.size(); i += 4) {
      std::string command = fmt::format("*{}\r\n", 1 + asked[i].size() * features_per_read);
      redis::bulk(command, "MGET");
      for (auto& id : asked[i])
        for (std::size_t f = 0; f < features_per_read; ++f)
          redis::bulk(command, fmt::format("{}:f{:02}", id, f));
      mget_single.time([&] {
        store.send(command);
        store.receive();
      });
    }
  } else {
    std::fprintf(stderr, "feature_read_bench: redis-server does not start; its figures are left out\n");
  }

  bench::samples in_process;
  for (int round = 0; round < 2; ++round)
    for (auto& ids : asked) {
      std::vector<std::string_view> views{ids.begin(), ids.end()};
      auto read = [&] {
        if (must(read_features(*engine, plan, views, at)).size() != features_per_read)
          die("columns are missing");
      };
      if (round == 0)
        read();
      else
        in_process.time(read);
    }

  metrics::registry registry;
  auto pool = std::make_shared<blocking_pool>(blocking_pool::options{"feature-read", 2}, registry);
  auto server = std::make_shared<feature_reads>(engine, std::make_shared<service_metrics>(registry), pool,
                                                [at] { return at; });
  net::endpoint_options listen;
  listen.address = "ipc://" + (folder / "features.sock").string();
  listen.identity = "feature-store/0";
  net::handler_map handlers;
  handlers[wire::Kind::read_features] = [server](net::request asked_now) {
    server->serve(std::make_shared<net::request>(std::move(asked_now)));
  };
  auto endpoint = must(net::endpoint::open(std::move(listen), std::move(handlers)));
  net::client_options connect;
  connect.service = "feature-store";
  connect.addresses = {endpoint->address()};
  connect.caller = "bench";
  auto client = must(net::client::open(std::move(connect)));
  bench::samples by_socket;
  for (auto& ids : asked) {
    query.ids = ids;
    auto request = encode(query);
    by_socket.time([&] {
      auto got =
          must(client->call(wire::Kind::read_features, request, deadline::in(std::chrono::seconds{10})));
      if (got.payload.size() < entities_per_read * features_per_read * 8)
        die("the answer is too short");
    });
  }
  client.reset();
  endpoint->stop();
  pool.reset();

  auto line = [&](const char* name, const bench::samples& ours, const char* limit,
                  const bench::samples& theirs, double aim) {
    bench::report({.name = name,
                   .unit = "us",
                   .value = ours.p50_us(),
                   .limit_name = limit,
                   .limit = theirs.p50_us(),
                   .aim = aim,
                   .p50_us = ours.p50_us(),
                   .p99_us = ours.p99_us()});
  };
  line("features 200x20, in process", in_process, "RocksDB MultiGet, 200 packed", multiget, 0.5);
  line("features 200x20, service socket", by_socket, "RocksDB MultiGet, 200 packed", multiget, 0.5);
  if (store.up()) {
    line("features 200x20, in process", in_process, "Redis MGET, 200 packed", mget_packed, 1);
    line("features 200x20, service socket", by_socket, "Redis MGET, 200 packed", mget_packed, 1);
    line("features 200x20, service socket", by_socket, "Redis MGET, 4000 single", mget_single, 1);
  }
}
