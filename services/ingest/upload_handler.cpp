#include "services/ingest/upload_handler.hpp"

#include "services/ingest/wire.hpp"

#include "common/log/log.hpp"

#include "schemas/ingest_generated.h"

namespace troupe::ingest {

namespace {

constexpr std::size_t largest_part = std::size_t{8} << 20;

expected<chunk> take(upload_store& into, const net::request& request) {
  if (request.until.passed())
    return fail(ec::too_late, "the deadline passed while the part waited; nothing was done");
  TROUPE_TRY(query, message<wire::UploadPut>::open(request.payload));
  auto* bytes = query->bytes();
  if (bytes && bytes->size() > largest_part)
    return fail(ec::invalid_argument, "a part of {} bytes is above the limit of {}", bytes->size(),
                largest_part);
  upload_store::part given;
  given.upload = query->upload()->string_view();
  given.file = query->file()->string_view();
  given.size = query->size();
  given.total = query->total();
  given.modified = query->modified();
  given.offset = query->offset();
  given.more = query->more();
  if (bytes)
    given.bytes = {reinterpret_cast<const std::byte*>(bytes->data()), bytes->size()};
  TROUPE_TRY(now, into.put(given));
  return build_message(
      [&](auto& out) { return wire::CreateUploadStatus(out, now.next_offset, now.complete); });
}

/// The uploads of which rows wait in quarantine: they are replayed from their file.
expected<std::set<std::string>> uploads_waiting(const event_log& log, const upload_store& store) {
  std::set<std::string> found;
  row_quarantine::query page;
  page.limit = 1'000;
  page.open_only = true;
  for (;;) {
    TROUPE_TRY(rows, log.quarantine().list(page));
    if (rows.empty())
      return found;
    page.after = rows.back().number;
    for (auto& each : rows)
      if (auto upload = store.upload_of(each.source); !upload.empty())
        found.insert(std::move(upload));
  }
}

} // namespace

void upload_handler::put(net::request request) {
  auto asked = std::make_shared<net::request>(std::move(request));
  auto posted = thread_.post([store = store_, asked] { asked->respond.finish(take(*store, *asked)); });
  if (!posted)
    asked->respond.fail(posted.error(), std::chrono::milliseconds{200});
}

void upload_handler::sweep() {
  auto posted = thread_.post([store = store_, log = log_] {
    if (auto swept = store->sweep([&] { return uploads_waiting(*log, *store); }); !swept)
      log::warn("uploads-stay", "ingest cannot look for uploads to remove: {}", render(swept.error()));
  });
  if (!posted)
    log::warn("uploads-stay", "ingest does not look for uploads to remove now: {}", render(posted.error()));
}

} // namespace troupe::ingest
