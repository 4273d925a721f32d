#include "services/ingest/log/dedup_run.hpp"

#include "common/core/file_sync.hpp"
#include "common/core/hash.hpp"
#include "common/core/raw_file.hpp"
#include "common/core/regular_file.hpp"
#include "common/store/codec.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>

namespace troupe::ingest {

namespace {

constexpr std::uint64_t run_magic = 0x31736469'70727474; // "ttrpids1"
constexpr std::size_t entry_bytes = 12;
constexpr std::uint64_t entries_per_block = 40; // 12 bits of the filter each.

/// At the head of the file, of the size of a block.
struct run_head {
  std::uint64_t kind = run_magic;
  std::uint64_t entries = 0;
  std::uint64_t blocks = 0;
  std::uint64_t unused[4] = {};
  std::uint64_t check = 0; // Hash of what is before.

  std::uint64_t hash() const {
    return hash64(byte_view{reinterpret_cast<const std::byte*>(this), offsetof(run_head, check)});
  }
};
static_assert(sizeof(run_head) == 64);

/// A part of the filter: blocks divide the range of ids evenly, so that they come in the order of the ids.
struct filter_block {
  std::uint32_t first = 0; // Number of its first entry.
  std::uint32_t bits[15] = {};

  static constexpr std::uint32_t size = 15 * 32;

  template <class Visit>
  static bool each_bit(std::uint64_t id, Visit visit) {
    // the low bits of an id say nothing of its block. Five places of nine bits.
    for (int i = 0; i < 5; ++i, id >>= 9) {
      auto bit = static_cast<std::uint32_t>((id & 511) * size >> 9);
      if (!visit(bit / 32, std::uint32_t{1} << (bit % 32)))
        return false;
    }
    return true;
  }
  void add(std::uint64_t id) {
    each_bit(id, [this](auto word, auto mask) {
      bits[word] |= mask;
      return true;
    });
  }
  bool may_hold(std::uint64_t id) const {
    return each_bit(id, [this](auto word, auto mask) { return (bits[word] & mask) != 0; });
  }
};
static_assert(sizeof(filter_block) == 64);

std::uint64_t blocks_for(std::uint64_t entries) {
  return entries / entries_per_block + 1;
}

std::uint64_t scaled(std::uint64_t id, std::uint64_t blocks) {
  return static_cast<std::uint64_t>((static_cast<store::uint128>(id) * blocks) >> 64);
}

dedup_entry read_entry(const char* at) {
  dedup_entry entry;
  std::memcpy(&entry.id, at, 8);
  std::memcpy(&entry.content, at + 8, 4);
  return entry;
}

void append_entry(std::string& to, dedup_entry entry) {
  to.append(reinterpret_cast<const char*>(&entry.id), 8);
  to.append(reinterpret_cast<const char*>(&entry.content), 4);
}

/// Bytes that are written one behind the other, in pieces.
class piece_writer {
public:
  piece_writer(const raw_file& file, std::uint64_t offset) : file_{file}, offset_{offset} {
    buffer.reserve(piece + 64);
  }
  std::string buffer;

  expected<void> flush(bool all) {
    if (buffer.size() < (all ? 1 : piece))
      return {};
    TROUPE_CHECK(file_.write(offset_, as_bytes(buffer)));
    offset_ += buffer.size();
    buffer.clear();
    return {};
  }

private:
  static constexpr std::size_t piece = std::size_t{1} << 20;
  const raw_file& file_;
  std::uint64_t offset_;
};

class run_writer {
public:
  run_writer(const raw_file& file, std::uint64_t entries)
      : file_{file}, count_{entries}, blocks_{blocks_for(entries)}, filter_{file, sizeof(run_head)},
        entries_{file, sizeof(run_head) + blocks_ * sizeof(filter_block)} {}

  expected<void> add(dedup_entry entry) {
    for (auto at = scaled(entry.id, blocks_); block_ < at;)
      TROUPE_CHECK(end_block());
    current_.add(entry.id);
    append_entry(entries_.buffer, entry);
    ++written_;
    return entries_.flush(false);
  }

  expected<void> finish() {
    while (block_ < blocks_)
      TROUPE_CHECK(end_block());
    TROUPE_CHECK(filter_.flush(true));
    TROUPE_CHECK(entries_.flush(true));
    run_head first;
    first.entries = count_;
    first.blocks = blocks_;
    first.check = first.hash();
    TROUPE_CHECK(file_.write(0, byte_view{reinterpret_cast<const std::byte*>(&first), sizeof first}));
    return file_.sync();
  }

private:
  expected<void> end_block() {
    filter_.buffer.append(reinterpret_cast<const char*>(&current_), sizeof current_);
    current_ = {};
    current_.first = static_cast<std::uint32_t>(written_);
    ++block_;
    return filter_.flush(false);
  }

  const raw_file& file_;
  std::uint64_t count_, blocks_, block_ = 0, written_ = 0;
  filter_block current_;
  piece_writer filter_, entries_;
};

/// The entries of a run in their order, read in pieces.
class run_reader {
public:
  explicit run_reader(const raw_file& file) : file_{file} {}

  expected<void> start() {
    TROUPE_TRY(bytes, file_.read(0, sizeof(run_head)));
    run_head first;
    std::memcpy(&first, bytes.data(), std::min(bytes.size(), sizeof first));
    left_ = first.entries;
    offset_ = sizeof(run_head) + first.blocks * sizeof(filter_block);
    return next();
  }

  bool valid() const noexcept { return valid_; }
  dedup_entry current() const noexcept { return current_; }

  expected<void> next() {
    if (at_ == piece_.size() && left_ > 0) {
      auto count = std::min<std::uint64_t>(left_, 1 << 15);
      TROUPE_TRY(bytes, file_.read(offset_, count * entry_bytes));
      if (bytes.size() != count * entry_bytes)
        return fail(ec::corrupt, "a run of known ids is shorter than it says");
      piece_ = std::move(bytes);
      offset_ += piece_.size();
      left_ -= count;
      at_ = 0;
    }
    valid_ = at_ < piece_.size();
    if (valid_) {
      current_ = read_entry(piece_.data() + at_);
      at_ += entry_bytes;
    }
    return {};
  }

private:
  const raw_file& file_;
  std::string piece_;
  std::size_t at_ = 0;
  std::uint64_t left_ = 0, offset_ = 0;
  dedup_entry current_;
  bool valid_ = false;
};

/// Writes a file by `fill`, which gets a run_writer, beside its place, and gives it its name when it is
/// whole.
template <class Fill>
expected<void> write_whole(const std::filesystem::path& path, std::uint64_t entries, Fill fill) {
  if (entries > std::numeric_limits<std::uint32_t>::max())
    return fail(ec::internal, "{} ids are too many for one run", entries);
  auto beside = path;
  beside += ".new";
  auto written = [&]() -> expected<void> {
    TROUPE_TRY(file, raw_file::open(beside, O_RDWR | O_CREAT | O_TRUNC));
    run_writer to{file, entries};
    TROUPE_CHECK(fill(to));
    return to.finish();
  }();
  std::error_code problem;
  if (written) {
    std::filesystem::rename(beside, path, problem);
    if (!problem)
      return sync_file(path.parent_path());
    written = fail(errno_code(problem.value()), "cannot rename {}: {}", beside.string(), problem.message());
  }
  std::filesystem::remove(beside, problem);
  return written;
}

} // namespace

expected<std::shared_ptr<const dedup_run>> dedup_run::open(const std::filesystem::path& path) {
  TROUPE_TRY(file, raw_file::open(path, O_RDONLY));
  TROUPE_TRY(bytes, file.size());
  TROUPE_TRY(begin, file.read(0, sizeof(run_head)));
  run_head first;
  if (begin.size() == sizeof first)
    std::memcpy(&first, begin.data(), sizeof first);
  if (first.kind != run_magic || first.check != first.hash() || first.blocks != blocks_for(first.entries) ||
      bytes != sizeof first + first.blocks * sizeof(filter_block) + first.entries * entry_bytes)
    return fail(ec::corrupt, "{} is not a whole run of known ids", path.string());
  std::shared_ptr<dedup_run> run{new dedup_run};
  run->path_ = path;
  TROUPE_TRY(fd, open_regular(path, O_RDONLY));
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  int number = errno;
  ::close(fd); // The mapping stays.
  if (memory == MAP_FAILED)
    return fail(errno_code(number), "cannot map {}: {}", path.string(), errno_text(number));
  ::madvise(memory, bytes, MADV_RANDOM);
  run->data_ = static_cast<const char*>(memory);
  run->bytes_ = bytes;
  run->entries_ = first.entries;
  run->blocks_ = first.blocks;
  return run;
}

dedup_run::~dedup_run() {
  if (data_)
    ::munmap(const_cast<char*>(data_), bytes_);
}

std::uint64_t dedup_run::block_of(std::uint64_t id) const noexcept {
  return sizeof(run_head) + scaled(id, blocks_) * sizeof(filter_block);
}

void dedup_run::prefetch(std::uint64_t id) const noexcept {
  __builtin_prefetch(data_ + block_of(id));
}

std::optional<std::uint32_t> dedup_run::find(std::uint64_t id) const noexcept {
  auto at = block_of(id);
  auto* here = reinterpret_cast<const filter_block*>(data_ + at);
  if (!here->may_hold(id))
    return std::nullopt;
  auto entries = sizeof(run_head) + blocks_ * sizeof(filter_block);
  auto end = at + sizeof(filter_block) == entries ? entries_ : (here + 1)->first;
  for (std::uint64_t i = here->first; i < end; ++i)
    if (auto entry = read_entry(data_ + entries + i * entry_bytes); entry.id == id)
      return entry.content;
  return std::nullopt;
}

expected<void> write_run(const std::filesystem::path& path, std::span<const dedup_entry> entries) {
  return write_whole(path, entries.size(), [&](run_writer& to) -> expected<void> {
    for (auto& each : entries)
      TROUPE_CHECK(to.add(each));
    return {};
  });
}

expected<void> merge_runs(const std::filesystem::path& path,
                          std::span<const std::shared_ptr<const dedup_run>> runs) {
  std::uint64_t entries = 0;
  std::vector<raw_file> files;
  files.reserve(runs.size());
  std::vector<run_reader> from;
  for (auto& each : runs) {
    entries += each->size();
    TROUPE_TRY(file, raw_file::open(each->path(), O_RDONLY));
    TROUPE_CHECK(from.emplace_back(files.emplace_back(std::move(file))).start());
  }
  return write_whole(path, entries, [&](run_writer& to) -> expected<void> {
    for (;;) {
      run_reader* least = nullptr;
      for (auto& each : from)
        if (each.valid() && (!least || each.current().id < least->current().id))
          least = &each;
      if (!least)
        return {};
      TROUPE_CHECK(to.add(least->current()));
      TROUPE_CHECK(least->next());
    }
  });
}

} // namespace troupe::ingest
