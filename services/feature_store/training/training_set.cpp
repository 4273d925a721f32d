#include "services/feature_store/training/training_set.hpp"

#include "services/feature_store/client/training_columns.hpp"
#include "services/feature_store/client/training_manifest.hpp"
#include "services/feature_store/online/state_engine.hpp"
#include "services/feature_store/training/replay_rows.hpp"

#include "common/core/file.hpp"
#include "common/json/fields.hpp"
#include "common/json/parse.hpp"
#include "common/table/parquet.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <map>
#include <set>

namespace troupe::feature_store {

namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

/// Of the rows that a build sorts: a build that is resumed begins again where it has others.
constexpr std::uint64_t rows_format = 3;

/// Rows replayed between two words of how far it is.
constexpr std::uint64_t rows_per_report = 2'048;

/// Manifests are read by people: one key a line.
std::string pretty(const json::object& from) {
  std::string out = "{\n";
  for (auto& [key, value] : from)
    out += fmt::format("{}  {}: {}", out.size() > 2 ? ",\n" : "", json::serialize(json::string{key}),
                       json::serialize(value));
  return out + "\n}\n";
}

/// The views whose features the training set holds, in their order.
std::vector<feature_view> used_views(const training_spec& spec, const std::vector<feature_view>& views) {
  std::set<std::string> used;
  for (auto& name : spec.features)
    used.insert(name.substr(0, name.find('.')));
  std::vector<feature_view> out;
  for (auto& view : views)
    if (used.contains(view.name))
      out.push_back(view);
  return out;
}

class builder {
public:
  builder(const training_spec& spec, const std::vector<feature_view>& views, ingest::record_stream& log,
          fs::path out, const training_options& options)
      : spec_{spec}, log_{log}, out_{std::move(out)}, work_{out_ / ".work"}, options_{options} {
    views_ = used_views(spec, views);
  }

  expected<std::string> build() {
    TROUPE_CHECK(resolve());
    if (auto manifest = read_training_manifest(out_)) {
      if (manifest->identity != identity_)
        return fail(ec::conflict, "cannot build {} in {}: the folder holds another training set", spec_.name,
                    out_.string());
      return manifest->text;
    }
    std::error_code code;
    fs::create_directories(work_, code);
    if (code)
      return fail(ec::io_failed, "cannot create {}: {}", work_.string(), code.message());
    TROUPE_CHECK(plan());
    TROUPE_CHECK(collect());
    TROUPE_CHECK(replay());
    TROUPE_CHECK(check_matches());
    return finish();
  }

private:
  struct output {
    std::uint32_t view = 0;
    std::uint32_t feature = 0;
    value_type type = value_type::number;
  };

  expected<void> resolve() {
    identity_ = training_set_identity(spec_, views_);
    columns_ = {{"label_time", column_type::time}, {"user", column_type::text}, {"item", column_type::text}};
    if (spec_.entity_rows.empty())
      columns_.push_back({"label_value", column_type::number});
    for (auto& name : spec_.kept_columns)
      columns_.push_back({name, column_type::text});
    std::set<std::string> names;
    for (auto& name : spec_.features) {
      if (!names.insert(name).second)
        return fail(ec::invalid_argument, "feature {} is asked for twice", name);
      auto dot = name.find('.');
      std::uint32_t v = 0;
      while (v < views_.size() &&
             (dot == std::string::npos || views_[v].name != std::string_view{name}.substr(0, dot)))
        ++v;
      auto feature =
          v < views_.size() ? views_[v].find(std::string_view{name}.substr(dot + 1)) : std::nullopt;
      if (!feature)
        return fail(ec::not_found, "there is no feature {}", name);
      auto type = views_[v].features[*feature].type;
      outputs_.push_back({v, *feature, type});
      columns_.push_back({name, type == value_type::number ? column_type::number
                                : type == value_type::text ? column_type::text
                                                           : column_type::list});
      if (spec_.ages)
        columns_.push_back({name + ".age_us", column_type::whole});
    }
    values_.resize(outputs_.size());
    outputs_of_.resize(views_.size());
    for (std::size_t i = 0; i < outputs_.size(); ++i)
      outputs_of_[outputs_[i].view].push_back(i);
    for (auto& of : outputs_of_)
      std::sort(of.begin(), of.end(),
                [&](auto a, auto b) { return outputs_[a].feature < outputs_[b].feature; });
    return {};
  }

  /// Fixes up to where the log is read, once: a resumed build reads the same.
  expected<void> plan() {
    auto file = work_ / "plan.json";
    if (auto known = read_json_object(file)) {
      if (text_or(*known, "identity") != identity_)
        return fail(ec::conflict,
                    "cannot build {} in {}: another training set was begun there; remove {} to give it up",
                    spec_.name, out_.string(), work_.string());
      for (auto& each : known->at("offsets").as_array())
        ends_.push_back(each.to_number<std::uint64_t>());
      if (whole_or(*known, "rows", 1) == rows_format)
        return {};
      // What another version has collected is collected again, up to the same offsets.
      std::error_code code;
      fs::remove_all(work_, code);
      fs::create_directories(work_, code);
      return write_plan();
    }
    TROUPE_TRY(ends, log_.ends());
    ends_ = ends;
    if (!spec_.offsets.empty()) {
      if (spec_.offsets.size() != ends_.size())
        return fail(ec::invalid_argument, "offsets names {} partitions, the log has {}", spec_.offsets.size(),
                    ends_.size());
      for (std::size_t p = 0; p < ends_.size(); ++p) {
        if (spec_.offsets[p] > ends_[p])
          return fail(ec::invalid_argument, "offsets asks for {} of partition {}, the log ends at {}",
                      spec_.offsets[p], p, ends_[p]);
        ends_[p] = spec_.offsets[p];
      }
    }
    return write_plan();
  }

  expected<void> write_plan() const {
    json::object fresh{
        {"identity", identity_}, {"rows", rows_format}, {"offsets", json::array(ends_.begin(), ends_.end())}};
    return write_file_atomically(work_ / "plan.json", as_bytes(json::serialize(fresh)));
  }

  expected<void> tell(const char* stage) {
    progress_.stage = stage;
    if (options_.tell && !options_.tell(progress_))
      return fail(ec::canceled, "training set {} was canceled while {}; it can be resumed", spec_.name,
                  stage);
    return {};
  }

  expected<void> collect() {
    for (auto end : ends_)
      progress_.records_total += end;
    auto done_file = work_ / "collected";
    // Rows that were lost or cut off meanwhile are collected again.
    if (auto known = read_json_object(done_file)) {
      TROUPE_TRY(size, size_of_rows(work_));
      if (known->contains("bytes") && whole_or(*known, "bytes", 0) == size) {
        collected_ = whole_or(*known, "rows", 0);
        return {};
      }
    }
    TROUPE_TRY(rows, row_sorter::open(work_, options_.memory_bytes / 2));
    replay_rows into{spec_, views_, rows};
    if (!spec_.entity_rows.empty())
      TROUPE_CHECK(into.add_entity_rows());
    for (std::uint32_t p = 0; p < ends_.size(); ++p)
      for (std::uint64_t next = 0; next < ends_[p];) {
        TROUPE_TRY(batches, log_.read(p, next, 4u << 20));
        if (batches.empty())
          return fail(ec::unavailable, "partition {} of the log has no record at {} any more", p, next);
        for (auto& each : batches) {
          auto base = each.base_offset();
          if (base > next)
            return fail(ec::corrupt, "partition {} of the log jumps from {} to {}", p, next, base);
          for (auto i = next - base; i < each.size() && base + i < ends_[p]; ++i) {
            TROUPE_CHECK(into.add(each[i], p, base + i));
            ++progress_.records_done;
          }
          next = std::max<std::uint64_t>(next, base + each.size());
        }
        TROUPE_CHECK(tell("sorting"));
      }
    TROUPE_TRY(count, rows.finish());
    TROUPE_TRY(size, size_of_rows(work_));
    collected_ = count;
    json::object collected{{"rows", count}, {"bytes", size}};
    return write_file_atomically(done_file, as_bytes(json::serialize(collected)));
  }

  expected<void> replay() {
    engine_options options;
    options.cache_bytes = options_.memory_bytes / 3;
    TROUPE_TRY(engine, state_engine::open(work_ / "state", views_, options));
    engine_ = std::move(engine);
    TROUPE_TRY(known, engine_->database().find(1, "xposition"));
    std::optional<replay_place> after;
    if (known) {
      auto parsed = parse_json(*known);
      if (!parsed || !parsed->is_object())
        return fail(ec::corrupt, "the checkpoint in {} cannot be read", work_.string());
      auto& at = parsed->get_object();
      progress_.rows = whole_or(at, "rows", 0);
      unmatched_ = whole_or(at, "unmatched", 0);
      first_unmatched_ = text_or(at, "first_unmatched");
      replayed_ = whole_or(at, "replayed", 0);
      for (auto& each : at.at("parts").as_array())
        parts_.push_back({text_or(each.as_object(), "file"), whole_or(each.as_object(), "rows", 0),
                          text_or(each.as_object(), "sha256")});
      std::vector<std::int64_t> key;
      for (auto& each : at.at("key").as_array())
        key.push_back(each.to_number<std::int64_t>());
      if (key.size() == 6)
        after = {key[0], key[1], key[2], key[3], key[4], key[5]};
    }
    progress_.records_total = collected_;
    progress_.records_done = replayed_;
    TROUPE_CHECK(tell("sorting"));
    TROUPE_TRY(sorted, sorted_rows::open(work_));
    for (;;) {
      TROUPE_TRY(found, sorted.next());
      if (!found)
        break;
      auto& at = sorted.place();
      if (after && at <= *after)
        continue;
      auto& rec = *flatbuffers::GetRoot<wire::Record>(sorted.payload().data());
      auto from = feature_event_of(rec, static_cast<std::uint32_t>(at.partition),
                                   static_cast<std::uint64_t>(at.offset));
      from.index = static_cast<std::uint32_t>(at.index);
      if (auto* shown = rec.shown())
        from.shown = shown->Get(0);
      ++replayed_;
      TROUPE_CHECK(at.label ? write_row(from) : engine_->apply(from));
      if (part_rows_ >= spec_.rows_per_part || engine_->changed() >= options_.flush_states)
        TROUPE_CHECK(seal(at));
      if (replayed_ % rows_per_report == 0) {
        progress_.records_done = replayed_;
        TROUPE_CHECK(tell("replaying"));
      }
    }
    progress_.records_done = replayed_;
    TROUPE_CHECK(tell("replaying"));
    if (writer_ || parts_.empty()) {
      TROUPE_CHECK(open_part());
      TROUPE_CHECK(seal({std::numeric_limits<std::int64_t>::max(), 1, 0, 0, 0, 0}));
    }
    return tell("writing");
  }

  expected<void> open_part() {
    if (writer_)
      return {};
    std::vector<table::column_spec> specs;
    for (auto& each : columns_)
      specs.push_back({each.name, cell_of(each.type)});
    part_name_ = fmt::format("part-{:05}.parquet", parts_.size());
    TROUPE_TRY(writer, table::parquet_writer::open(out_ / part_name_, std::move(specs)));
    writer_ = std::move(writer);
    part_rows_ = 0;
    return {};
  }

  void put_text(std::string_view text) {
    if (text.empty()) {
      writer_->add_null();
      hasher_.null();
    } else {
      writer_->add(text);
      hasher_.text(text);
    }
  }

  expected<void> write_row(const feature_event& label) {
    TROUPE_CHECK(open_part());
    writer_->add(from_micros(label.event_time));
    hasher_.whole(label.event_time);
    put_text(label.user);
    put_text(label.item);
    if (spec_.entity_rows.empty()) {
      if (label.value) {
        writer_->add(*label.value);
        hasher_.number(*label.value);
      } else {
        writer_->add_null();
        hasher_.null();
      }
    }
    for (auto& name : spec_.kept_columns)
      put_text(feature_store::text_of(label, field{field::part::context, name}).value_or(""));
    for (auto& each : values_)
      each.status = status::missing, each.age_us = -1;
    bool matched = false;
    for (std::uint32_t v = 0; v < views_.size(); ++v) {
      auto id = label.entity(views_[v].entity);
      if (id.empty())
        continue;
      auto read = [&](std::size_t, std::size_t, std::string_view state) -> expected<void> {
        matched = true;
        state_reader from{views_[v], state};
        for (auto i : outputs_of_[v])
          if (auto feature = outputs_[i].feature;
              !from.read(feature, {views_[v].features[feature], label.event_time}, values_[i]))
            return from.why(feature);
        return {};
      };
      TROUPE_CHECK(engine_->visit({&v, 1}, {&id, 1}, std::ref(read)));
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      auto& value = values_[i];
      if (value.status != status::present) {
        writer_->add_null();
        hasher_.null();
      } else if (outputs_[i].type == value_type::number) {
        writer_->add(value.number);
        hasher_.number(value.number);
      } else if (outputs_[i].type == value_type::text) {
        writer_->add(std::string_view{value.words});
        hasher_.text(value.words);
      } else {
        words_.clear();
        each_word(value.words, [&](std::string_view word) { words_.push_back(word); });
        writer_->add(std::span<const std::string_view>{words_});
        hasher_.list(words_);
      }
      if (!spec_.ages)
        continue;
      if (value.status == status::missing) {
        writer_->add_null();
        hasher_.null();
      } else {
        writer_->add(value.age_us);
        hasher_.whole(value.age_us);
      }
    }
    if (!matched && unmatched_++ == 0)
      first_unmatched_ = fmt::format("user `{}`, item `{}` at {}", label.user, label.item,
                                     to_rfc3339(from_micros(label.event_time)));
    hasher_.end_row();
    ++part_rows_;
    ++progress_.rows;
    return writer_->end_row();
  }

  /// Completes the part in work and makes a checkpoint: states, position and parts in one atomic write.
  expected<void> seal(const replay_place& at) {
    if (writer_) {
      TROUPE_TRY(bytes, writer_->finish());
      static_cast<void>(bytes);
      writer_.reset();
      parts_.push_back({part_name_, part_rows_, hasher_.finish()});
      part_rows_ = 0;
    }
    json::object position{{"rows", progress_.rows},
                          {"unmatched", unmatched_},
                          {"first_unmatched", first_unmatched_},
                          {"replayed", replayed_},
                          {"key", {at.visible, at.label, at.time, at.partition, at.offset, at.index}},
                          {"parts", parts_json()}};
    std::pair<std::string, std::string> extra{"position", json::serialize(position)};
    return engine_->flush({&extra, 1});
  }

  json::array parts_json() const {
    json::array out;
    for (auto& each : parts_)
      out.push_back(json::object{{"file", each.file}, {"rows", each.rows}, {"sha256", each.sha256}});
    return out;
  }

  /// Rows of nobody are all NULL: a few are new users, many are identities of another system. What was built
  /// is dropped, so that rows that were mended are read again.
  expected<void> check_matches() {
    auto rows = static_cast<double>(progress_.rows), none = static_cast<double>(unmatched_);
    bool too_many = spec_.max_unmatched_share ? none > *spec_.max_unmatched_share * rows
                                              : unmatched_ > 0 && unmatched_ == progress_.rows;
    if (!too_many)
      return {};
    engine_.reset();
    std::error_code code;
    for (auto& each : parts_)
      fs::remove(out_ / each.file, code);
    fs::remove_all(work_, code);
    return fail(
        ec::invalid_argument,
        "{} of {} rows match no user and no item that the log knows by then, {}; the first is {}. Are the "
        "identities written as in the log, and its records older than the rows?",
        unmatched_, progress_.rows,
        spec_.max_unmatched_share
            ? fmt::format("more than max_unmatched_share = {}", *spec_.max_unmatched_share)
            : std::string{"which is all of them (max_unmatched_share = 1 would take them)"},
        first_unmatched_);
  }

  expected<std::string> finish() {
    json::array columns;
    for (auto& each : columns_)
      columns.push_back(json::object{{"name", each.name}, {"type", to_string(each.type)}});
    json::object versions, entities;
    for (auto& view : views_) {
      versions[view.name] = view.version;
      entities[view.name] = to_string(view.entity);
    }
    std::vector<std::string> hashes;
    for (auto& each : parts_)
      hashes.push_back(each.sha256);
    json::object manifest{
        {"name", spec_.name},
        {"content_sha256", content_hash(columns_, hashes)},
        {"rows", progress_.rows},
        {"unmatched_rows", unmatched_},
        {"columns", columns},
        {"parts", parts_json()},
        {"views", versions},
        {"entities", entities},
        {"log_offsets", json::array(ends_.begin(), ends_.end())},
        {"boundary", spec_.boundary == boundary::before ? "before" : "at"},
        {"knowledge", spec_.knowledge == knowledge::event_time ? "event_time" : "ingest_time"},
        {"specification", spec_.canonical()},
        {"identity", identity_}};
    TROUPE_CHECK(write_file_atomically(out_ / training_manifest_file, as_bytes(pretty(manifest))));
    engine_.reset();
    std::error_code code;
    fs::remove_all(work_, code);
    TROUPE_CHECK(tell("done"));
    return pretty(manifest);
  }

  struct part {
    std::string file;
    std::uint64_t rows = 0;
    std::string sha256;
  };

  const training_spec& spec_;
  std::vector<feature_view> views_;
  ingest::record_stream& log_;
  fs::path out_, work_;
  const training_options& options_;
  std::string identity_;
  std::vector<training_column> columns_;
  std::vector<output> outputs_;
  std::vector<std::vector<std::size_t>> outputs_of_; // By view, in the order of its features.
  std::vector<feature_value> values_;
  std::vector<std::string_view> words_;
  std::vector<std::uint64_t> ends_;
  training_progress progress_;
  std::uint64_t replayed_ = 0;
  std::uint64_t collected_ = 0; // Rows to replay.
  std::unique_ptr<state_engine> engine_;
  std::unique_ptr<table::parquet_writer> writer_;
  row_hasher hasher_;
  std::string part_name_;
  std::uint64_t part_rows_ = 0;
  std::uint64_t unmatched_ = 0; // Rows without a state of any entity.
  std::string first_unmatched_;
  std::vector<part> parts_;
};

} // namespace

expected<std::string> build_training_set(const training_spec& spec, const std::vector<feature_view>& views,
                                         ingest::record_stream& log, const std::filesystem::path& out,
                                         const training_options& options) {
  builder work{spec, views, log, out, options};
  auto manifest = work.build();
  if (!manifest && manifest.error().code != ec::canceled)
    return with_context(fmt::format("building training set {}", spec.name), std::move(manifest).error());
  return manifest;
}

std::string training_set_identity(const training_spec& spec, const std::vector<feature_view>& views) {
  // What is computed differently from now on is another set.
  auto identity = fmt::format("{}states {}\n", spec.canonical(), value_format);
  for (auto& view : used_views(spec, views))
    identity += view.version + "\n";
  return sha256_hex(as_bytes(identity));
}

} // namespace troupe::feature_store
