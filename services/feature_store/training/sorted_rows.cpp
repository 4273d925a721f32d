#include "services/feature_store/training/sorted_rows.hpp"

#include "common/core/file_sync.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

// A row is its place, the size of its payload and the payload, filled up to eight bytes.

namespace troupe::feature_store {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view prefix = "rows-";

struct row_head {
  replay_place place;
  std::uint64_t size;
};
static_assert(sizeof(row_head) % 8 == 0);

std::size_t filled_up(std::size_t size) noexcept {
  return (size + 7) / 8 * 8;
}

auto failed(std::string_view doing, const fs::path& file) {
  auto why = errno;
  return fail(why == ENOSPC ? ec::disk_full : ec::io_failed, "cannot {} {}: {}", doing, file.string(),
              std::error_code{why, std::generic_category()}.message());
}

expected<std::vector<fs::path>> files_in(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code code;
  for (auto& each : fs::directory_iterator{folder, code})
    if (each.path().filename().string().starts_with(prefix))
      out.push_back(each.path());
  if (code)
    return fail(ec::io_failed, "cannot list {}: {}", folder.string(), code.message());
  return out;
}

} // namespace

row_sorter::row_sorter(fs::path folder, std::size_t memory_bytes)
    : folder_{std::move(folder)}, memory_bytes_{memory_bytes} {
  bytes_.reserve(memory_bytes_); // The system gives it when it is used.
}

expected<row_sorter> row_sorter::open(fs::path folder, std::size_t memory_bytes) {
  TROUPE_TRY(left, files_in(folder));
  std::error_code code;
  for (auto& each : left)
    fs::remove(each, code);
  if (code)
    return fail(ec::io_failed, "cannot clear {}: {}", folder.string(), code.message());
  return row_sorter{std::move(folder), memory_bytes};
}

expected<void> row_sorter::add(const replay_place& place, std::string_view payload) {
  auto size = sizeof(row_head) + filled_up(payload.size());
  if (!rows_.empty() && bytes_.size() + size + (rows_.size() + 1) * sizeof(row) > memory_bytes_)
    TROUPE_CHECK(write_run());
  rows_.push_back({place.visible, bytes_.size()});
  row_head head{place, payload.size()};
  auto at = bytes_.size();
  bytes_.resize(at + size);
  std::memcpy(bytes_.data() + at, &head, sizeof head);
  if (!payload.empty())
    std::memcpy(bytes_.data() + at + sizeof head, payload.data(), payload.size());
  return {};
}

expected<void> row_sorter::write_run() {
  auto head_of = [this](const row& of) {
    row_head head;
    std::memcpy(&head, bytes_.data() + of.at, sizeof head);
    return head;
  };
  std::sort(rows_.begin(), rows_.end(), [&](auto& a, auto& b) {
    return a.visible != b.visible ? a.visible < b.visible : head_of(a).place < head_of(b).place;
  });
  auto file = folder_ / fmt::format("{}{:05}", prefix, runs_++);
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> out{std::fopen(file.c_str(), "wb"), std::fclose};
  if (!out)
    return failed("create", file);
  for (auto& each : rows_) {
    auto size = sizeof(row_head) + filled_up(head_of(each).size);
    if (std::fwrite(bytes_.data() + each.at, 1, size, out.get()) != size)
      return failed("write", file);
  }
  if (std::fflush(out.get()) != 0)
    return failed("write", file);
  written_ += rows_.size();
  rows_.clear();
  bytes_.clear();
  return {};
}

expected<std::uint64_t> row_sorter::finish() {
  TROUPE_CHECK(write_run());
  TROUPE_TRY(files, files_in(folder_));
  for (auto& each : files)
    TROUPE_CHECK(sync_file(each));
  TROUPE_CHECK(sync_file(folder_));
  return written_;
}

expected<std::uint64_t> size_of_rows(const fs::path& folder) {
  TROUPE_TRY(files, files_in(folder));
  std::uint64_t size = 0;
  for (auto& each : files) {
    std::error_code code;
    size += fs::file_size(each, code);
    if (code)
      return fail(ec::io_failed, "cannot look at {}: {}", each.string(), code.message());
  }
  return size;
}

struct sorted_rows::run {
  void* memory = nullptr;
  std::size_t size = 0;
  const char* at = nullptr;
  fs::path file;

  ~run() {
    if (memory)
      ::munmap(memory, size);
  }
  const row_head& head() const noexcept { return *reinterpret_cast<const row_head*>(at); }
  std::size_t left() const noexcept {
    return size - static_cast<std::size_t>(at - static_cast<const char*>(memory));
  }
  bool holds_row() const noexcept {
    return left() >= sizeof(row_head) && head().size <= left() - sizeof(row_head) &&
           filled_up(head().size) <= left() - sizeof(row_head);
  }
  void next() noexcept { at += sizeof(row_head) + filled_up(head().size); }
};

sorted_rows::sorted_rows() = default;
sorted_rows::sorted_rows(sorted_rows&&) noexcept = default;
sorted_rows::~sorted_rows() = default;

expected<sorted_rows> sorted_rows::open(const fs::path& folder) {
  sorted_rows made;
  TROUPE_TRY(files, files_in(folder));
  for (auto& each : files) {
    int file = ::open(each.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0)
      return failed("open", each);
    auto fresh = std::make_unique<run>();
    fresh->file = each;
    struct stat about {};
    if (::fstat(file, &about) == 0 && about.st_size > 0) {
      fresh->size = static_cast<std::size_t>(about.st_size);
      auto* memory = ::mmap(nullptr, fresh->size, PROT_READ, MAP_PRIVATE, file, 0);
      if (memory != MAP_FAILED) {
        ::madvise(memory, fresh->size, MADV_SEQUENTIAL);
        fresh->memory = memory;
        fresh->at = static_cast<const char*>(memory);
      }
    }
    ::close(file);
    if (fresh->memory)
      made.runs_.push_back(std::move(fresh));
    else if (about.st_size > 0)
      return failed("map", each);
  }
  return made;
}

expected<bool> sorted_rows::next() {
  if (at_) {
    at_->next();
    if (at_->left() == 0)
      std::erase_if(runs_, [this](auto& each) { return each.get() == at_; });
  }
  // There are few: one for as many rows as fit into the memory of a build.
  at_ = nullptr;
  for (auto& each : runs_) {
    if (!each->holds_row())
      return fail(ec::corrupt,
                  "{} ends within a row: remove it and build again, which collects its rows anew",
                  each->file.string());
    if (!at_ || each->head().place < at_->head().place)
      at_ = each.get();
  }
  return at_ != nullptr;
}

const replay_place& sorted_rows::place() const noexcept {
  return at_->head().place;
}

std::string_view sorted_rows::payload() const noexcept {
  return {at_->at + sizeof(row_head), at_->head().size};
}

} // namespace troupe::feature_store
