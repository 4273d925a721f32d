#include "services/cli/synthetic_data/output.hpp"

#include "common/core/json_string.hpp"
#include "common/core/time.hpp"

#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>

namespace troupe::synthetic_data {

namespace {

struct attribute_writer {
  std::string& to;

  void operator()(const std::string& text) const { append_json_string(to, text); }
  void operator()(double number) const { fmt::format_to(std::back_inserter(to), "{}", number); }
  void operator()(bool flag) const { to += flag ? "true" : "false"; }
  void operator()(const text_list& list) const {
    to += '[';
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (i != 0)
        to += ',';
      append_json_string(to, list[i]);
    }
    to += ']';
  }
};

void append_attributes(std::string& to, const std::vector<attribute>& attributes) {
  to += '{';
  for (std::size_t i = 0; i < attributes.size(); ++i) {
    if (i != 0)
      to += ',';
    append_json_string(to, attributes[i].name);
    to += ':';
    std::visit(attribute_writer{to}, attributes[i].value);
  }
  to += '}';
}

enum class packing { plain, gzip, zstd };

/// JSON lines, packed or not, in blocks of 256 KiB.
class json_lines_file final : public record_file {
public:
  json_lines_file(std::filesystem::path path, std::FILE* file, packing compression)
      : path_{std::move(path)}, file_{file}, compression_{compression} {}

  ~json_lines_file() override {
    if (file_)
      std::fclose(file_);
    if (gzip_ready_)
      deflateEnd(&gzip_);
    ZSTD_freeCCtx(zstd_);
  }

  expected<void> start() {
    if (compression_ == packing::gzip) {
      if (deflateInit2(&gzip_, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return fail(ec::internal, "cannot start gzip for {}", path_.string());
      gzip_ready_ = true;
    }
    if (compression_ == packing::zstd) {
      zstd_ = ZSTD_createCCtx();
      if (!zstd_)
        return fail(ec::internal, "cannot start zstd for {}", path_.string());
      ZSTD_CCtx_setParameter(zstd_, ZSTD_c_checksumFlag, 1);
    }
    return {};
  }

  expected<void> write(const record& rec) override {
    append_json_line(buffer_, rec);
    return buffer_.size() >= block_size ? flush(false) : expected<void>{};
  }

  expected<void> close() override {
    TROUPE_CHECK(flush(true));
    auto* file = std::exchange(file_, nullptr);
    if (std::fclose(file) != 0)
      return fail(errno_code(errno), "cannot finish {}: {}", path_.string(), errno_text(errno));
    return {};
  }

private:
  static constexpr std::size_t block_size = 256 << 10;

  expected<void> put(const char* data, std::size_t size) {
    if (size != 0 && std::fwrite(data, 1, size, file_) != size)
      return fail(errno_code(errno), "cannot write {}: {}", path_.string(), errno_text(errno));
    return {};
  }

  expected<void> flush(bool last) {
    switch (compression_) {
    case packing::plain:
      TROUPE_CHECK(put(buffer_.data(), buffer_.size()));
      break;
    case packing::gzip:
      TROUPE_CHECK(flush_gzip(last));
      break;
    case packing::zstd:
      TROUPE_CHECK(flush_zstd(last));
      break;
    }
    buffer_.clear();
    return {};
  }

  expected<void> flush_gzip(bool last) {
    gzip_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
    gzip_.avail_in = static_cast<uInt>(buffer_.size());
    do {
      packed_.resize(block_size);
      gzip_.next_out = reinterpret_cast<Bytef*>(packed_.data());
      gzip_.avail_out = static_cast<uInt>(packed_.size());
      deflate(&gzip_, last ? Z_FINISH : Z_NO_FLUSH);
      TROUPE_CHECK(put(packed_.data(), packed_.size() - gzip_.avail_out));
    } while (gzip_.avail_out == 0);
    return {};
  }

  expected<void> flush_zstd(bool last) {
    ZSTD_inBuffer in{buffer_.data(), buffer_.size(), 0};
    for (;;) {
      packed_.resize(block_size);
      ZSTD_outBuffer out{packed_.data(), packed_.size(), 0};
      auto left = ZSTD_compressStream2(zstd_, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left))
        return fail(ec::internal, "cannot pack {}: {}", path_.string(), ZSTD_getErrorName(left));
      TROUPE_CHECK(put(packed_.data(), out.pos));
      if (last ? left == 0 : in.pos == in.size)
        return {};
    }
  }

  std::filesystem::path path_;
  std::FILE* file_;
  packing compression_;
  std::string buffer_;
  std::string packed_;
  z_stream gzip_{};
  bool gzip_ready_ = false;
  ZSTD_CCtx* zstd_ = nullptr;
};

} // namespace

std::string attributes_json(const std::vector<attribute>& attributes) {
  std::string out;
  append_attributes(out, attributes);
  return out;
}

void append_json_line(std::string& to, const record& rec) {
  auto field = [&](std::string_view name, std::string_view text) {
    if (text.empty())
      return;
    to += ",\"";
    to += name;
    to += "\":";
    append_json_string(to, text);
  };
  to += "{\"kind\":\"";
  to += to_string(rec.kind);
  to += '"';
  field("id", rec.id);
  field("type", rec.type);
  field("user", rec.user);
  field("item", rec.item);
  field("event_time", to_rfc3339(rec.event_time));
  if (rec.value)
    fmt::format_to(std::back_inserter(to), ",\"value\":{}", *rec.value);
  field("request_id", rec.request_id);
  if (!rec.attributes.empty()) {
    to += ",\"attributes\":";
    append_attributes(to, rec.attributes);
  }
  if (!rec.shown.empty()) {
    to += ",\"shown\":";
    for (std::size_t i = 0; i < rec.shown.size(); ++i) {
      to += i == 0 ? "[{\"item\":" : ",{\"item\":";
      append_json_string(to, rec.shown[i].item);
      fmt::format_to(std::back_inserter(to), ",\"position\":{},\"propensity\":{}}}", rec.shown[i].position,
                     rec.shown[i].propensity);
    }
    to += ']';
  }
  to += "}\n";
}

expected<std::unique_ptr<record_file>> create_json_lines(const std::filesystem::path& path) {
  auto extension = path.extension();
  auto compression = extension == ".gz"    ? packing::gzip
                     : extension == ".zst" ? packing::zstd
                                           : packing::plain;
  auto* file = std::fopen(path.c_str(), "wb");
  if (!file)
    return fail(errno_code(errno), "cannot create {}: {}", path.string(), errno_text(errno));
  auto out = std::make_unique<json_lines_file>(path, file, compression);
  TROUPE_CHECK(out->start());
  return out;
}

} // namespace troupe::synthetic_data
