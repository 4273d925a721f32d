#include "common/store/database.hpp"

#include "common/core/resource_limits.hpp"

#include <rocksdb/cache.h>
#include <rocksdb/comparator.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/iterator.h>
#include <rocksdb/options.h>
#include <rocksdb/slice.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

namespace troupe::store {

namespace {

rocksdb::Slice slice(std::string_view text) noexcept {
  return {text.data(), text.size()};
}
std::string_view view(const rocksdb::Slice& from) noexcept {
  return {from.data(), from.size()};
}

/// Lets a batch be filled before it meets its database: a WriteBatch asks a handle for nothing but the two
/// things below.
class numbered_family final : public rocksdb::ColumnFamilyHandle {
public:
  explicit numbered_family(family_id family) : id_{static_cast<std::uint32_t>(family + 1)} {}
  const std::string& GetName() const override { return name_; }
  std::uint32_t GetID() const override { return id_; }
  rocksdb::Status GetDescriptor(rocksdb::ColumnFamilyDescriptor*) override {
    return rocksdb::Status::NotSupported();
  }
  const rocksdb::Comparator* GetComparator() const override { return rocksdb::BytewiseComparator(); }

private:
  std::uint32_t id_;
  std::string name_;
};

ec code_of(const rocksdb::Status& status) noexcept {
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kNoSpace ||
      status.subcode() == rocksdb::Status::kSpaceLimit)
    return ec::disk_full;
  if (status.IsNotFound())
    return ec::not_found;
  if (status.IsCorruption())
    return ec::corrupt;
  if (status.IsInvalidArgument() || status.IsNotSupported())
    return ec::internal;
  return ec::io_failed;
}

bool is_one_of(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

rocksdb::ColumnFamilyOptions family_options(const options& opts, const std::string& name,
                                            const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions to;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.format_version = 5;
  table.checksum = rocksdb::kXXH3; // CRC32C is computed in software in Debian's build.
  // Of feature states zstd makes 26 bytes where LZ4 leaves 37 (21 in blocks of 16 KiB), and takes twice as
  // long to open a block. A dictionary saves another 5 % and costs more than it saves.
  if (is_one_of(opts.point_lookups, name)) {
    table.block_size = 4096;
    table.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
    to.compression = rocksdb::kLZ4Compression;
  } else {
    table.block_size = 16384;
    to.compression = rocksdb::kZSTD;
    to.compression_opts.level = 1;
  }
  to.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  to.write_buffer_size = opts.write_buffer_bytes;
  to.memtable_prefix_bloom_size_ratio = 0.05;
  to.memtable_whole_key_filtering = true;
  to.level_compaction_dynamic_level_bytes = true;
  if (is_one_of(opts.large_values, name)) {
    to.enable_blob_files = true;
    to.min_blob_size = 4096;
    to.blob_compression_type = rocksdb::kLZ4Compression;
    // It writes the oldest quarter of what is held anew, again and again. Of values that go in the order in
    // which they came a file goes when its last one does.
    to.enable_blob_garbage_collection = !is_one_of(opts.first_in_first_out, name);
  }
  return to;
}

rocksdb::DBOptions database_options(const options& opts) {
  rocksdb::DBOptions to;
  to.create_if_missing = opts.create;
  to.create_missing_column_families = true;
  to.db_write_buffer_size = opts.write_buffer_bytes;
  to.max_total_wal_size = 4 * opts.write_buffer_bytes;
  to.max_background_jobs = 2;
  // Where there are few descriptors most of them are for sockets; files are opened anew when they are needed.
  to.max_open_files = static_cast<int>(std::clamp<std::uint64_t>(descriptor_limit() / 8, 32, 512));
  to.keep_log_file_num = 2;
  to.max_log_file_size = std::size_t{4} << 20;
  to.info_log_level = rocksdb::WARN_LEVEL;
  to.allow_fallocate = false;      // so that the free space is what it seems
  to.max_bgerror_resume_count = 0; // `write` resumes by itself, when there is room.
  return to;
}

/// Kept free for manifests, table footers and small compactions.
constexpr std::uint64_t slack_bytes = 4 << 20;

constexpr std::string_view layout_key = "troupe.layout";

} // namespace

write_batch::write_batch() : impl_{std::make_unique<rocksdb::WriteBatch>()} {}
write_batch::~write_batch() = default;
write_batch::write_batch(write_batch&&) noexcept = default;
write_batch& write_batch::operator=(write_batch&&) noexcept = default;

void write_batch::put(family_id family, std::string_view key, std::string_view value) {
  numbered_family handle{family};
  impl_->Put(&handle, slice(key), slice(value)).PermitUncheckedError();
}

void write_batch::erase(family_id family, std::string_view key) {
  numbered_family handle{family};
  impl_->Delete(&handle, slice(key)).PermitUncheckedError();
}

void write_batch::erase_range(family_id family, std::string_view from, std::string_view to) {
  numbered_family handle{family};
  impl_->DeleteRange(&handle, slice(from), slice(to)).PermitUncheckedError();
}

std::size_t write_batch::bytes() const noexcept {
  return impl_->GetDataSize();
}
std::size_t write_batch::count() const noexcept {
  return static_cast<std::size_t>(impl_->Count());
}
void write_batch::clear() {
  impl_->Clear();
}

struct cursor::bounds {
  std::string lower, upper;
  rocksdb::Slice lower_slice, upper_slice;
  std::shared_ptr<const void> pinned;
};

cursor::cursor(std::unique_ptr<bounds> limits, std::unique_ptr<rocksdb::Iterator> impl, std::string path)
    : bounds_{std::move(limits)}, impl_{std::move(impl)}, path_{std::move(path)} {}
cursor::~cursor() = default;
cursor::cursor(cursor&&) noexcept = default;
cursor& cursor::operator=(cursor&& other) noexcept {
  impl_ = std::move(other.impl_); // before the bounds that it points to
  bounds_ = std::move(other.bounds_);
  path_ = std::move(other.path_);
  return *this;
}

bool cursor::valid() const {
  return impl_->Valid();
}
std::string_view cursor::key() const {
  return view(impl_->key());
}
std::string_view cursor::value() const {
  return view(impl_->value());
}
void cursor::next() {
  impl_->Next();
}
void cursor::previous() {
  impl_->Prev();
}
void cursor::seek(std::string_view key) {
  impl_->Seek(slice(key));
}
void cursor::seek_at_or_before(std::string_view key) {
  impl_->SeekForPrev(slice(key));
}

expected<void> cursor::check() const {
  if (auto status = impl_->status(); !status.ok())
    return fail(code_of(status), "cannot scan the store at {}: {}", path_, status.ToString());
  return {};
}

struct database::state {
  std::filesystem::path path;
  std::string where;
  std::shared_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> handles; // [0] is RocksDB's default family
  std::atomic<bool> halted = false;
  std::mutex resuming;

  ~state() {
    if (!db)
      return;
    for (auto* handle : handles)
      db->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
    db->Close().PermitUncheckedError();
  }

  rocksdb::ColumnFamilyHandle* family(family_id id) const { return handles.at(id + 1); }

  unexpected<error> failed(std::string_view doing, const rocksdb::Status& status) const {
    return fail(code_of(status), "cannot {} the store at {}: {}", doing, where, status.ToString());
  }

  /// Refuses a write while there is still room for it and for flushing what is in memory. Debian's RocksDB
  /// has its assertions on and ends the process when it goes on after a write that hit the end of the disk:
  /// it must never get there.
  expected<void> room_for(std::size_t bytes) const {
    std::error_code problem;
    auto space = std::filesystem::space(path, problem);
    if (problem)
      return {};
    std::uint64_t unflushed = 0;
    db->GetAggregatedIntProperty(rocksdb::DB::Properties::kCurSizeAllMemTables, &unflushed);
    auto needed = unflushed + 3 * bytes + slack_bytes;
    if (space.available >= needed)
      return {};
    return fail(ec::disk_full,
                "cannot write {} bytes to the store at {}: the disk is full, {} bytes are free, {} are "
                "needed; make room",
                bytes, where, space.available, needed);
  }

  /// After a failed write RocksDB refuses all writes until somebody resumes it.
  expected<void> resume() {
    std::lock_guard lock{resuming};
    if (!halted)
      return {};
    auto status = db->Resume();
    // Busy: RocksDB's own watcher of free space is at it already; it looks every five seconds.
    for (int i = 0; i < 100 && status.IsBusy(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds{100});
      status = db->Resume();
    }
    if (!status.ok())
      return failed("resume", status);
    halted = false;
    return {};
  }
};

database::database(std::unique_ptr<state> impl) : impl_{std::move(impl)} {}
database::~database() = default;

expected<std::unique_ptr<database>> database::open(const std::filesystem::path& path, options opts) {
  auto impl = std::make_unique<state>();
  impl->path = path;
  impl->where = path.string();
  std::error_code problem;
  if (opts.create && !opts.read_only)
    std::filesystem::create_directories(path, problem);
  if (problem)
    return fail(errno_code(problem.value()), "cannot create the folder {} of a store: {}", impl->where,
                problem.message());
  bool there = std::filesystem::exists(path / "CURRENT", problem);
  if (problem)
    return fail(errno_code(problem.value()), "cannot look into the store at {}: {}", impl->where,
                problem.message());
  if (!there && (!opts.create || opts.read_only))
    return fail(ec::not_found, "there is no store at {}", impl->where);

  auto cache = rocksdb::NewLRUCache(opts.cache_bytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  families.emplace_back(rocksdb::kDefaultColumnFamilyName,
                        family_options(opts, rocksdb::kDefaultColumnFamilyName, cache));
  for (auto& name : opts.families)
    families.emplace_back(name, family_options(opts, name, cache));
  rocksdb::DB* raw = nullptr;
  auto status =
      opts.read_only
          ? rocksdb::DB::OpenForReadOnly(database_options(opts), impl->where, families, &impl->handles, &raw)
          : rocksdb::DB::Open(database_options(opts), impl->where, families, &impl->handles, &raw);
  if (!status.ok())
    return impl->failed("open", status);
  impl->db.reset(raw);
  for (std::size_t i = 1; i < impl->handles.size(); ++i)
    if (impl->handles[i]->GetID() != i)
      return fail(ec::unsupported_version,
                  "cannot open the store at {}: its family {} has number {}, this program expects {}",
                  impl->where, impl->handles[i]->GetName(), impl->handles[i]->GetID(), i);

  std::string layout;
  auto found = raw->Get({}, slice(layout_key), &layout);
  if (found.IsNotFound() && !opts.read_only) {
    rocksdb::WriteOptions options;
    options.sync = true;
    if (auto put = raw->Put(options, slice(layout_key), opts.layout); !put.ok())
      return impl->failed("name the layout of", put);
  } else if (!found.ok()) {
    return impl->failed("read the layout of", found);
  } else if (is_one_of(opts.older_layouts, layout)) {
    rocksdb::WriteOptions options;
    options.sync = true;
    if (opts.read_only)
      return std::unique_ptr<database>{new database{std::move(impl)}};
    if (auto put = raw->Put(options, slice(layout_key), opts.layout); !put.ok())
      return impl->failed("rename the layout of", put);
  } else if (layout != opts.layout) {
    return fail(ec::unsupported_version,
                "cannot open the store at {}: it holds layout '{}', this program reads '{}'", impl->where,
                layout, opts.layout);
  }
  return std::unique_ptr<database>{new database{std::move(impl)}};
}

namespace {

rocksdb::ReadOptions read_at(const void* at) {
  rocksdb::ReadOptions options;
  options.snapshot = static_cast<const rocksdb::Snapshot*>(at);
  return options;
}

} // namespace

expected<std::optional<std::string>> database::find(family_id family, std::string_view key,
                                                    const snapshot* at) const {
  std::string value;
  auto status =
      impl_->db->Get(read_at(at ? at->impl_.get() : nullptr), impl_->family(family), slice(key), &value);
  if (status.IsNotFound())
    return std::optional<std::string>{};
  if (!status.ok())
    return impl_->failed("read", status);
  return std::optional{std::move(value)};
}

expected<void> database::visit_many(family_id family, std::span<const std::string_view> keys,
                                    const std::function<void(std::size_t, std::string_view)>& visit,
                                    const snapshot* at) const {
  constexpr std::size_t step = 256;
  auto options = read_at(at ? at->impl_.get() : nullptr);
  std::vector<rocksdb::Slice> slices(std::min(step, keys.size()));
  std::vector<rocksdb::PinnableSlice> values(slices.size());
  std::vector<rocksdb::Status> statuses(slices.size());
  for (std::size_t from = 0; from < keys.size(); from += step) {
    auto count = std::min(step, keys.size() - from);
    for (std::size_t i = 0; i < count; ++i)
      slices[i] = slice(keys[from + i]);
    impl_->db->MultiGet(options, impl_->family(family), count, slices.data(), values.data(), statuses.data());
    for (std::size_t i = 0; i < count; ++i) {
      if (statuses[i].ok())
        visit(from + i, view(values[i]));
      else if (!statuses[i].IsNotFound())
        return impl_->failed("read", statuses[i]);
      values[i].Reset();
    }
  }
  return {};
}

expected<std::vector<std::optional<std::string>>>
database::find_many(family_id family, std::span<const std::string_view> keys, const snapshot* at) const {
  std::vector<std::optional<std::string>> found(keys.size());
  TROUPE_CHECK(visit_many(
      family, keys, [&](std::size_t index, std::string_view value) { found[index].emplace(value); }, at));
  return found;
}

expected<void> database::write(write_batch& batch, durability mode) {
  if (batch.empty())
    return {};
  TROUPE_CHECK(impl_->room_for(batch.bytes()));
  if (impl_->halted)
    TROUPE_CHECK(impl_->resume());
  rocksdb::WriteOptions options;
  options.sync = mode == durability::synced;
  auto status = impl_->db->Write(options, batch.impl_.get());
  if (status.ok())
    return {};
  impl_->halted = true;
  return impl_->failed(fmt::format("write {} bytes to", batch.bytes()), status);
}

expected<void> database::put(family_id family, std::string_view key, std::string_view value,
                             durability mode) {
  write_batch batch;
  batch.put(family, key, value);
  return write(batch, mode);
}

cursor database::scan(family_id family, std::string_view from, std::string_view to,
                      scan_options options) const {
  auto limits = std::make_unique<cursor::bounds>();
  auto read_options = read_at(options.at ? options.at->impl_.get() : nullptr);
  read_options.fill_cache = options.fill_cache;
  read_options.readahead_size = options.read_ahead;
  if (options.at)
    limits->pinned = options.at->impl_;
  if (!from.empty()) {
    limits->lower = from;
    limits->lower_slice = limits->lower;
    read_options.iterate_lower_bound = &limits->lower_slice;
  }
  if (!to.empty()) {
    limits->upper = to;
    limits->upper_slice = limits->upper;
    read_options.iterate_upper_bound = &limits->upper_slice;
  }
  std::unique_ptr<rocksdb::Iterator> impl{impl_->db->NewIterator(read_options, impl_->family(family))};
  impl->SeekToFirst();
  return {std::move(limits), std::move(impl), impl_->where};
}

snapshot database::take_snapshot() const {
  snapshot taken;
  auto db = impl_->db;
  taken.impl_ = std::shared_ptr<const void>{db->GetSnapshot(), [db](const void* at) {
                                              db->ReleaseSnapshot(static_cast<const rocksdb::Snapshot*>(at));
                                            }};
  return taken;
}

expected<void> database::flush() {
  if (auto status = impl_->db->Flush({}, impl_->handles); !status.ok())
    return impl_->failed("flush", status);
  return {};
}

expected<void> database::compact(family_id family, std::string_view from, std::string_view to) {
  rocksdb::CompactRangeOptions options;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  auto first = slice(from), last = slice(to);
  auto status = impl_->db->CompactRange(options, impl_->family(family), from.empty() ? nullptr : &first,
                                        to.empty() ? nullptr : &last);
  if (!status.ok())
    return impl_->failed("compact", status);
  return {};
}

std::uint64_t database::disk_bytes() const {
  std::uint64_t tables = 0, blobs = 0;
  impl_->db->GetAggregatedIntProperty(rocksdb::DB::Properties::kLiveSstFilesSize, &tables);
  impl_->db->GetAggregatedIntProperty(rocksdb::DB::Properties::kLiveBlobFileSize, &blobs);
  return tables + blobs;
}

std::uint64_t database::estimated_keys(family_id family) const {
  std::uint64_t keys = 0;
  impl_->db->GetIntProperty(impl_->family(family), rocksdb::DB::Properties::kEstimateNumKeys, &keys);
  return keys;
}

const std::filesystem::path& database::path() const noexcept {
  return impl_->path;
}

void append_u32(std::string& key, std::uint32_t number) {
  for (int shift = 24; shift >= 0; shift -= 8)
    key.push_back(static_cast<char>(number >> shift));
}

void append_u64(std::string& key, std::uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8)
    key.push_back(static_cast<char>(number >> shift));
}

std::uint32_t read_u32(std::string_view bytes, std::size_t at) noexcept {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4 && at + i < bytes.size(); ++i)
    number = number << 8 | static_cast<unsigned char>(bytes[at + i]);
  return number;
}

std::uint64_t read_u64(std::string_view bytes, std::size_t at) noexcept {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < 8 && at + i < bytes.size(); ++i)
    number = number << 8 | static_cast<unsigned char>(bytes[at + i]);
  return number;
}

std::string prefix_end(std::string_view prefix) {
  std::string end{prefix};
  while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xff)
    end.pop_back();
  if (!end.empty())
    end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

} // namespace troupe::store
