#include "services/feature_store/client/training_fetch.hpp"

#include "common/core/file_sync.hpp"
#include "common/core/time.hpp"
#include "common/net/payload.hpp"

#include "schemas/feature_store_generated.h"

#include <cerrno>
#include <fstream>
#include <thread>

namespace troupe::feature_store {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t page_bytes = 4 << 20;
constexpr auto page_timeout = 10s;
constexpr auto ask_again_after = 500ms;
constexpr auto tell_every = 100ms;
constexpr std::uint64_t most_manifest_bytes = 64 << 20;

unexpected<error> no_disk(const fs::path& path, std::error_code problem) {
  return fail(errno_code(problem.value()), "cannot write {}: {}", path.string(), problem.message());
}

/// One fetch: asks for pages, and waits for a feature store that is away.
class fetcher {
public:
  fetcher(net::client& store, std::string name, std::string content_sha256, const fetch_options& options)
      : store_{store}, name_{std::move(name)}, content_{std::move(content_sha256)}, options_{options} {}

  /// Reads a file from `offset` to its end; `take` gets the pages in order.
  expected<void> read(const std::string& file, std::uint64_t offset,
                      const std::function<expected<void>(std::string_view bytes, std::uint64_t size)>& take) {
    for (std::uint64_t size = offset + 1; offset < size;) {
      TROUPE_TRY(got, page(file, offset));
      TROUPE_TRY(answer, net::read_as<wire::TrainingPage>(got.payload, "TRPF", "TrainingPage"));
      size = answer->size();
      progress_.bytes_total = answer->set_bytes();
      auto* bytes = answer->bytes();
      std::string_view view;
      if (bytes != nullptr)
        view = {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
      if (answer->offset() != offset || offset + view.size() > size || (view.empty() && offset < size))
        return fail(ec::corrupt, "the feature store's answer is not the page of {} of training set {} at {}",
                    file, name_, offset);
      TROUPE_CHECK(take(view, size));
      offset += view.size();
      TROUPE_CHECK(came(view.size()));
    }
    return {};
  }

  /// Counts bytes that are here.
  expected<void> came(std::uint64_t bytes) {
    progress_.bytes += bytes;
    return tell({});
  }
  void start_over() { progress_.bytes = 0; }

private:
  expected<void> tell(const std::string& waits_for) {
    progress_.waits_for = waits_for;
    if (options_.tell && !options_.tell(progress_))
      return fail(ec::canceled, "fetching training set {} was canceled; the next fetch goes on", name_);
    return {};
  }

  expected<net::reply> page(const std::string& file, std::uint64_t offset) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateTrainingReadDirect(out, name_.c_str(), file.c_str(), offset, page_bytes,
                                              content_.c_str()),
               "TRPF");
    auto payload = net::bytes_of(out);
    for (auto give_up = deadline::in(options_.patience);;) {
      auto got =
          store_.call_to(training_builder, wire::Kind::training_read, payload, deadline::in(page_timeout));
      if (got)
        return got;
      if (disposition_of(got.error().code) != error_disposition::retry_later || give_up.passed())
        return with_context(fmt::format("fetching {} of training set {} at {}", file, name_, offset),
                            std::move(got).error());
      for (auto again = deadline::in(ask_again_after); !again.passed();
           std::this_thread::sleep_for(tell_every))
        TROUPE_CHECK(tell(got.error().text));
    }
  }

  net::client& store_;
  const std::string name_, content_;
  const fetch_options& options_;
  fetch_progress progress_;
};

/// Makes `folder`/.fetch ready: what an earlier fetch of the same set left is kept, all else goes.
expected<void> prepare(const fs::path& folder, const training_manifest& of) {
  auto work = folder / ".fetch";
  std::error_code problem;
  if (auto begun = read_training_manifest(work); begun && begun->text == of.text) {
    for (auto& part : of.parts) // Those that were in their place already when it was cut off.
      if (!fs::exists(work / part) && fs::exists(folder / part)) {
        fs::rename(folder / part, work / part, problem);
        if (problem)
          return no_disk(work / part, problem);
      }
    return {};
  }
  fs::remove_all(work, problem);
  fs::create_directories(work, problem);
  if (problem)
    return no_disk(work, problem);
  std::ofstream out{work / training_manifest_file, std::ios::binary};
  out << of.text;
  out.close();
  if (!out)
    return fail(errno_code(errno), "cannot write {}: {}", (work / training_manifest_file).string(),
                errno_text(errno));
  return {};
}

expected<void> fetch_part(fetcher& from, const std::string& part, const fs::path& to) {
  std::error_code problem;
  std::uint64_t have = fs::exists(to) ? fs::file_size(to, problem) : 0;
  TROUPE_CHECK(from.came(have));
  std::ofstream file{to, std::ios::binary | std::ios::app};
  auto written = [&]() -> expected<void> {
    if (!file)
      return fail(errno_code(errno), "cannot write {}: {}", to.string(), errno_text(errno));
    return {};
  };
  TROUPE_CHECK(written());
  TROUPE_CHECK(from.read(part, have, [&](std::string_view bytes, std::uint64_t) {
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return written();
  }));
  file.close();
  return written();
}

/// The verified set takes its place, the manifest last: with it the folder is a training set.
expected<void> publish(const fs::path& folder, const training_manifest& of) {
  auto work = folder / ".fetch";
  std::error_code problem;
  auto files = of.parts;
  files.emplace_back(training_manifest_file);
  for (auto& each : files) {
    TROUPE_CHECK(sync_file(work / each));
    if (each == training_manifest_file)
      TROUPE_CHECK(sync_file(folder));
    fs::rename(work / each, folder / each, problem);
    if (problem)
      return no_disk(folder / each, problem);
  }
  TROUPE_CHECK(sync_file(folder));
  fs::remove_all(work, problem);
  return {};
}

/// What is in the folder already, hashed again; nothing where it has to be fetched.
expected<std::optional<training_check>> finished_before(const fs::path& folder, const training_manifest& of) {
  auto have = read_training_manifest(folder);
  if (!have && have.error().code == ec::not_found)
    return std::nullopt;
  if (!have)
    return unexpected<error>{std::move(have).error()};
  if (have->content_sha256 != of.content_sha256)
    return fail(ec::conflict,
                "cannot fetch training set {} into {}: the folder holds one with the content hash {}, the "
                "feature store has {}; name another folder, or remove this one",
                of.name, folder.string(), have->content_sha256, of.content_sha256);
  TROUPE_TRY(check, verify_training_set(folder));
  if (!check.same)
    return fail(ec::corrupt,
                "the training set in {} has the content hash {}, its manifest says {}: remove the folder and "
                "fetch it again",
                folder.string(), check.computed, check.stated);
  return check;
}

} // namespace

expected<training_manifest> kept_manifest(net::client& store, const std::string& name,
                                          const fetch_options& options) {
  fetcher from{store, name, {}, options};
  std::string text;
  TROUPE_CHECK(
      from.read(training_manifest_file, 0, [&](std::string_view bytes, std::uint64_t size) -> expected<void> {
        if (size > most_manifest_bytes)
          return fail(ec::corrupt, "the manifest of training set {} has {} bytes", name, size);
        text += bytes;
        return {};
      }));
  return parse_training_manifest(std::move(text), fmt::format("the manifest of training set {}", name));
}

expected<training_check> fetch_training_set(net::client& store, const training_manifest& of,
                                            const fs::path& folder, const fetch_options& options) {
  TROUPE_TRY(before, finished_before(folder, of));
  if (before)
    return *before;
  auto work = folder / ".fetch";
  fetcher from{store, of.name, of.content_sha256, options};
  auto fetch_all = [&]() -> expected<void> {
    TROUPE_CHECK(prepare(folder, of));
    for (auto& part : of.parts)
      TROUPE_CHECK(fetch_part(from, part, work / part));
    return {};
  };
  // Pages that were half on disk when the machine went down are found by the hash, and fetched again.
  for (bool again = false;; again = true) {
    auto all = fetch_all();
    if (!all && all.error().code != ec::corrupt && all.error().code != ec::invalid_argument)
      return unexpected<error>{std::move(all).error()};
    auto check = all ? verify_training_set(work) : unexpected<error>{all.error()};
    if (check && check->same) {
      TROUPE_CHECK(publish(folder, of));
      return check;
    }
    std::error_code problem;
    fs::remove_all(work, problem);
    if (!again) {
      from.start_over();
      continue;
    }
    if (!check)
      return with_context(fmt::format("checking what came of training set {}", of.name),
                          std::move(check).error());
    return fail(ec::corrupt,
                "what came of training set {} has the content hash {}, its manifest says {}: remove it from "
                "the feature store and build it again",
                of.name, check->computed, check->stated);
  }
}

} // namespace troupe::feature_store
