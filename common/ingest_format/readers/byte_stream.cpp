#include "common/ingest_format/readers/byte_stream.hpp"

#include "common/core/regular_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cerrno>
#include <string>

namespace troupe::ingest_format {

namespace {

class disk_file {
public:
  disk_file(std::string path, int fd, std::shared_ptr<const std::atomic<bool>> stop)
      : path_{std::move(path)}, fd_{fd}, stop_{std::move(stop)} {}
  disk_file(disk_file&& other) noexcept
      : path_{std::move(other.path_)}, fd_{std::exchange(other.fd_, -1)}, stop_{std::move(other.stop_)},
        size_{other.size_}, read_{other.read_} {}
  ~disk_file() {
    if (fd_ >= 0)
      ::close(fd_);
  }

  static expected<disk_file> open(const std::filesystem::path& path,
                                  std::shared_ptr<const std::atomic<bool>> stop) {
    TROUPE_TRY(fd, open_regular(path, O_RDONLY));
    disk_file file{path.string(), fd, std::move(stop)};
    struct stat about {};
    if (::fstat(fd, &about) != 0)
      return fail(errno_code(errno), "cannot read the size of {}: {}", path.string(), errno_text(errno));
    file.size_ = static_cast<std::uint64_t>(about.st_size);
    return file;
  }

  expected<std::size_t> read(std::span<char> to) {
    if (stop_ && *stop_)
      return fail(ec::canceled, "reading {} was stopped at byte {}", path_, read_);
    while (true) {
      auto got = ::read(fd_, to.data(), to.size());
      if (got >= 0) {
        read_ += static_cast<std::uint64_t>(got);
        return static_cast<std::size_t>(got);
      }
      if (errno != EINTR)
        return fail(errno_code(errno), "cannot read {} at byte {}: {}", path_, read_, errno_text(errno));
    }
  }

  expected<void> seek(std::uint64_t offset) {
    if (offset > size_)
      return fail(ec::conflict,
                  "cannot go on reading {} at byte {}: it has only {} bytes now, so it was changed", path_,
                  offset, size_);
    if (::lseek(fd_, static_cast<off_t>(offset), SEEK_SET) < 0)
      return fail(errno_code(errno), "cannot go to byte {} of {}: {}", offset, path_, errno_text(errno));
    read_ = offset;
    return {};
  }

  const std::string& path() const noexcept { return path_; }
  std::uint64_t size() const noexcept { return size_; }
  std::uint64_t bytes_read() const noexcept { return read_; }

private:
  std::string path_;
  int fd_;
  std::shared_ptr<const std::atomic<bool>> stop_;
  std::uint64_t size_ = 0;
  std::uint64_t read_ = 0;
};

class plain_stream final : public byte_stream {
public:
  explicit plain_stream(disk_file file) : file_{std::move(file)} {}

  expected<std::size_t> read(std::span<char> to) override { return file_.read(to); }
  expected<bool> seek(std::uint64_t offset) override {
    TROUPE_CHECK(file_.seek(offset));
    return true;
  }
  std::uint64_t disk_bytes_read() const noexcept override { return file_.bytes_read(); }
  std::uint64_t disk_bytes_total() const noexcept override { return file_.size(); }

private:
  disk_file file_;
};

constexpr std::size_t input_bytes = 128 << 10;

class compressed_stream : public byte_stream {
public:
  explicit compressed_stream(disk_file file) : file_{std::move(file)}, input_(input_bytes) {}

  expected<bool> seek(std::uint64_t) override { return false; }
  std::uint64_t disk_bytes_read() const noexcept override { return file_.bytes_read(); }
  std::uint64_t disk_bytes_total() const noexcept override { return file_.size(); }

protected:
  unexpected<error> truncated(std::string_view kind) const {
    return fail(ec::corrupt,
                "{} is cut off: its {} stream breaks off at byte {} of the file, after {} bytes of content",
                file_.path(), kind, file_.bytes_read(), produced_);
  }
  unexpected<error> damaged(std::string_view kind, std::size_t unread, std::string_view why) const {
    return fail(ec::corrupt, "{} is damaged: {} at byte {} of the file, after {} bytes of content: {}",
                file_.path(), kind, file_.bytes_read() - unread, produced_, why);
  }

  disk_file file_;
  std::vector<char> input_;
  std::uint64_t produced_ = 0;
};

class gzip_stream final : public compressed_stream {
public:
  explicit gzip_stream(disk_file file) : compressed_stream{std::move(file)} {
    inflateInit2(&state_, 16 + MAX_WBITS);
  }
  ~gzip_stream() override { inflateEnd(&state_); }

  expected<std::size_t> read(std::span<char> to) override {
    state_.next_out = reinterpret_cast<Bytef*>(to.data());
    state_.avail_out = static_cast<uInt>(to.size());
    while (state_.avail_out == to.size()) {
      if (state_.avail_in == 0) {
        TROUPE_TRY(got, file_.read(input_));
        if (got == 0)
          return between_ ? expected<std::size_t>{0} : truncated("gzip");
        state_.next_in = reinterpret_cast<Bytef*>(input_.data());
        state_.avail_in = static_cast<uInt>(got);
      }
      if (between_ && !first_ && *state_.next_in == 0) { // Padding of tapes and blocks.
        ++state_.next_in;
        --state_.avail_in;
        continue;
      }
      between_ = first_ = false;
      int code = inflate(&state_, Z_NO_FLUSH);
      if (code == Z_STREAM_END) { // Another member may follow.
        inflateReset(&state_);
        between_ = true;
      } else if (code != Z_OK && code != Z_BUF_ERROR) {
        if (state_.avail_out != to.size())
          break; // Give what was good first; the same error comes again.
        return damaged("gzip", state_.avail_in, state_.msg ? state_.msg : "bad data");
      }
    }
    auto got = to.size() - state_.avail_out;
    produced_ += got;
    return got;
  }

private:
  z_stream state_{};
  bool between_ = false; // Behind the end of a member.
  bool first_ = true;
};

class zstd_stream final : public compressed_stream {
public:
  explicit zstd_stream(disk_file file) : compressed_stream{std::move(file)}, state_{ZSTD_createDStream()} {
    ZSTD_initDStream(state_);
  }
  ~zstd_stream() override { ZSTD_freeDStream(state_); }

  expected<std::size_t> read(std::span<char> to) override {
    ZSTD_outBuffer out{to.data(), to.size(), 0};
    while (out.pos == 0) {
      if (in_.pos == in_.size && !pending_) {
        TROUPE_TRY(got, file_.read(input_));
        if (got == 0)
          return between_ ? expected<std::size_t>{0} : truncated("zstd");
        in_ = {input_.data(), got, 0};
      }
      auto left = ZSTD_decompressStream(state_, &out, &in_);
      if (ZSTD_isError(left)) {
        if (out.pos > 0)
          break;
        return damaged("zstd", in_.size - in_.pos, ZSTD_getErrorName(left));
      }
      between_ = left == 0;
      pending_ = out.pos == out.size && !between_; // The decoder may still hold content.
    }
    produced_ += out.pos;
    return out.pos;
  }

private:
  ZSTD_DStream* state_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  bool between_ = false;
  bool pending_ = false;
};

} // namespace

expected<std::unique_ptr<byte_stream>> open_stream(const std::filesystem::path& path,
                                                   std::shared_ptr<const std::atomic<bool>> stop) {
  TROUPE_TRY(file, disk_file::open(path, std::move(stop)));
  std::array<char, 4> first{};
  TROUPE_TRY(got, file.read(first));
  TROUPE_CHECK(file.seek(0));
  std::string_view magic{first.data(), got};
  auto extension = path.extension();
  if (magic.starts_with("\x1f\x8b"))
    return std::make_unique<gzip_stream>(std::move(file));
  if (magic == "\x28\xb5\x2f\xfd")
    return std::make_unique<zstd_stream>(std::move(file));
  if (extension == ".gz" || extension == ".zst")
    return fail(ec::corrupt, "cannot read {}: it is named {} but does not begin like one", path.string(),
                extension.string());
  return std::make_unique<plain_stream>(std::move(file));
}

} // namespace troupe::ingest_format
