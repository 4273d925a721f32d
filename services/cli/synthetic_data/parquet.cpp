#include "common/table/parquet.hpp"

#include "services/cli/synthetic_data/output.hpp"

#include "common/ingest_format/shown_column.hpp"

namespace troupe::synthetic_data {

namespace {

class parquet_file final : public record_file {
public:
  explicit parquet_file(std::unique_ptr<table::parquet_writer> to) : to_{std::move(to)} {}

  expected<void> write(const record& rec) override {
    to_->add(to_string(rec.kind));
    add(rec.id);
    add(rec.type);
    add(rec.user);
    add(rec.item);
    to_->add(rec.event_time);
    if (rec.value)
      to_->add(*rec.value);
    else
      to_->add_null();
    add(rec.request_id);
    add(rec.attributes.empty() ? std::string{} : attributes_json(rec.attributes));
    ingest_format::add_shown(*to_, rec.shown);
    return to_->end_row();
  }

  expected<void> close() override {
    TROUPE_TRY(size, to_->finish());
    static_cast<void>(size);
    return {};
  }

private:
  void add(const std::string& text) {
    if (text.empty())
      to_->add_null();
    else
      to_->add(text);
  }

  std::unique_ptr<table::parquet_writer> to_;
};

} // namespace

expected<std::unique_ptr<record_file>> create_record_file(const std::filesystem::path& path) {
  if (path.extension() != ".parquet")
    return create_json_lines(path);
  using table::cell;
  std::vector<table::column_spec> columns{
      {"kind", cell::text},     {"id", cell::text},         {"type", cell::text},
      {"user", cell::text},     {"item", cell::text},       {"event_time", cell::timestamp},
      {"value", cell::float64}, {"request_id", cell::text}, {"attributes", cell::text}};
  ingest_format::append_shown_columns(columns);
  TROUPE_TRY(to, table::parquet_writer::open(path, std::move(columns),
                                             {.select = ingest_format::select_with_shown()}));
  return std::make_unique<parquet_file>(std::move(to));
}

} // namespace troupe::synthetic_data
