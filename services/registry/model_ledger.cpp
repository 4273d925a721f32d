#include "services/registry/model_ledger.hpp"

#include "common/artefact/canonical.hpp"
#include "common/core/hash.hpp"
#include "common/core/plain_name.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"
#include "common/json/fields.hpp"
#include "common/json/parse.hpp"
#include "common/model/kinds.hpp"

#include <algorithm>
#include <charconv>
#include <map>

namespace troupe::registry {

namespace json = boost::json;

namespace {

constexpr std::uint32_t most_listed = 1'000;

struct read_manifest {
  std::string text; ///< Canonical.
  std::string sha256;
  json::object fields;
};

expected<read_manifest> manifest_of(std::string_view given, std::string_view what) {
  auto value = parse_json(given);
  if (!value)
    return with_context(fmt::format("reading the manifest of {}", what), std::move(value).error());
  if (!value->is_object())
    return fail(ec::invalid_argument, "the manifest of {} is not a JSON object", what);
  auto text = artefact::canonical(*value);
  auto hash = sha256_hex(as_bytes(text));
  return read_manifest{std::move(text), std::move(hash), std::move(value->get_object())};
}

/// The manifest of a version as it is kept.
expected<json::object> fields_of(const wire::ModelVersionT& version) {
  auto value = parse_json(version.manifest);
  if (!value || !value->is_object())
    return fail(ec::corrupt, "the registry's manifest of {}:{} is damaged: {}", version.name, version.version,
                value ? "it is not a JSON object" : value.error().text);
  return std::move(value->get_object());
}

std::string joined(std::string_view name, std::string_view rest) {
  std::string key{name};
  key += '\0';
  key += rest;
  return key;
}

std::string version_key(std::string_view name, std::uint64_t number) {
  auto key = joined(name, {});
  store::append_u64(key, number);
  return key;
}

std::string as_key(std::uint64_t number) {
  std::string key;
  store::append_u64(key, number);
  return key;
}

std::string release_order_key(const wire::ReleaseT& release) {
  return as_key(static_cast<std::uint64_t>(release.created)) + release.id;
}

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t number = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || failed != std::errc{} || end != text.data() + text.size())
    return std::nullopt;
  return number;
}

void set_tag(wire::ModelVersionT& to, std::string_view name, std::string_view text) {
  std::erase_if(to.tags, [&](auto& each) { return each->name == name; });
  auto made = std::make_unique<wire::NamedTextT>();
  made->name = name;
  made->text = text;
  to.tags.push_back(std::move(made));
}

bool skipped_gate(const wire::ModelVersionT& version) {
  return std::ranges::any_of(version.tags,
                             [](auto& each) { return each->name == "gate" && each->text == "skipped"; });
}

} // namespace

expected<void> model_ledger::check_files(const json::object& manifest) const {
  auto* files = manifest.if_contains("files");
  if (files == nullptr || !files->is_object() || files->get_object().empty())
    return fail(ec::invalid_argument,
                "the manifest names no files: it needs \"files\": {{path: {{sha256, bytes}}}}");
  for (auto& [path, value] : files->get_object()) {
    auto name = std::string_view{path};
    if (!stays_inside(name) || holds_control(name))
      return fail(ec::invalid_argument,
                  "file '{}' of the manifest leaves the folder, or holds a control character", name);
    auto* fields = value.if_object();
    auto* number = fields != nullptr ? fields->if_contains("bytes") : nullptr;
    json::error_code failed;
    auto bytes = number != nullptr ? number->to_number<std::uint64_t>(failed) : 0;
    if (number == nullptr || failed)
      return fail(ec::invalid_argument,
                  "file '{}' of the manifest needs sha256 and bytes, a whole number from 0", name);
    auto hash = text_or(*fields, "sha256");
    auto size = blobs_.size_of(hash);
    if (!size)
      return fail(size.error().code == ec::not_found ? ec::conflict : size.error().code,
                  "file '{}' of the manifest has not arrived: {}", name, size.error().text);
    if (*size != bytes)
      return fail(ec::invalid_argument, "file '{}' has {} bytes in the manifest, its blob has {}", name,
                  bytes, *size);
  }
  return {};
}

expected<std::uint64_t> model_ledger::newest(std::string_view name) const {
  auto prefix = joined(name, {});
  auto at = db_->scan(models, prefix, store::prefix_end(prefix));
  at.seek_at_or_before(version_key(name, ~std::uint64_t{0}));
  TROUPE_CHECK(at.check());
  return at.valid() ? store::read_u64(at.key(), at.key().size() - 8) : 0;
}

expected<wire::ModelVersionT> model_ledger::at(std::string_view name, std::uint64_t number) const {
  TROUPE_TRY(there, db_->find(models, version_key(name, number)));
  if (!there)
    return fail(ec::not_found, "model '{}' has no version {}", name, number);
  return unpacked<wire::ModelVersion>(*there, fmt::format("{}:{}", name, number));
}

expected<wire::ModelVersionT> model_ledger::version(std::string_view name, std::string_view which) const {
  TROUPE_TRY(last, newest(name));
  if (last == 0)
    return fail(ec::not_found, "there is no model '{}'", name);
  if (which.empty())
    return at(name, last);
  if (auto number = number_in(which))
    return at(name, *number);
  auto family = artefact::is_sha256(which) ? model_hashes : model_aliases;
  TROUPE_TRY(there, db_->find(family, joined(name, which)));
  if (!there)
    return fail(ec::not_found, "model '{}' has no version with the {} '{}'", name,
                family == model_aliases ? "alias" : "manifest", which);
  auto found = at(name, store::read_u64(*there));
  if (!found && found.error().code == ec::not_found)
    return fail(ec::corrupt, "the registry's record of '{}' of model '{}' leads to nothing: {}", which, name,
                found.error().text);
  return found;
}

expected<wire::ModelVersionT> model_ledger::add_version(const wire::ModelRegister& ask) {
  std::string name{text_of(ask.name())};
  TROUPE_CHECK(check_name("model", name));
  TROUPE_TRY(manifest, manifest_of(text_of(ask.manifest()), fmt::format("model '{}'", name)));
  TROUPE_TRY(known, db_->find(model_hashes, joined(name, manifest.sha256)));
  if (known)
    return at(name, store::read_u64(*known));
  auto kind = text_or(manifest.fields, "kind");
  if (std::ranges::find(model::kinds, kind) == model::kinds.end())
    return fail(ec::invalid_argument,
                "the manifest of model '{}' says kind '{}', which no ranker serves; the kinds are {}", name,
                kind, fmt::join(model::kinds, ", "));
  TROUPE_CHECK(check_files(manifest.fields));

  TROUPE_TRY(rules, gate::read(gate_file_));
  std::map<std::string, json::object> others;
  auto with_alias = [&](const std::string& alias) -> expected<const json::object*> {
    if (auto read = others.find(alias); read != others.end())
      return &read->second;
    auto other = version(name, alias);
    if (!other && other.error().code == ec::not_found)
      return nullptr;
    if (!other)
      return unexpected<error>{std::move(other).error()};
    TROUPE_TRY(fields, fields_of(*other));
    return &(others[alias] = std::move(fields));
  };
  TROUPE_TRY(lines, rules.judge(name, manifest.fields, with_alias));
  if (!passed(lines) && !ask.skip_gate()) {
    seen_.models.stopped.add();
    return fail(ec::conflict, "the quality gate stops model '{}': {}", name, what_failed(lines));
  }

  TROUPE_TRY(last, newest(name));
  wire::ModelVersionT made;
  made.name = name;
  made.version = last + 1;
  made.manifest = std::move(manifest.text);
  made.manifest_sha256 = manifest.sha256;
  made.created = micros_of(wall_now());
  for (flatbuffers::uoffset_t i = 0; ask.tags() != nullptr && i < ask.tags()->size(); ++i) {
    TROUPE_CHECK(check_label("tag", text_of(ask.tags()->Get(i)->name())));
    set_tag(made, text_of(ask.tags()->Get(i)->name()), text_of(ask.tags()->Get(i)->text()));
  }
  auto& verdict = passed(lines) ? seen_.models.passed : seen_.models.skipped;
  if (!passed(lines))
    set_tag(made, "gate", "skipped");
  made.gate = std::move(lines);
  store::write_batch batch;
  batch.put(models, version_key(name, made.version), packed<wire::ModelVersion>(made));
  batch.put(model_hashes, joined(name, made.manifest_sha256), as_key(made.version));
  TROUPE_CHECK(db_->write(batch, store::durability::synced));
  verdict.add();
  return made;
}

expected<wire::ModelPageT> model_ledger::versions(std::string_view name, std::string_view after,
                                                  std::uint32_t limit) const {
  limit = std::clamp<std::uint32_t>(limit == 0 ? 100 : limit, 1, most_listed);
  std::string from = name.empty() ? std::string{} : joined(name, {});
  auto to = name.empty() ? std::string{} : store::prefix_end(from);
  if (!after.empty()) {
    auto colon = after.rfind(':');
    auto number = colon == after.npos ? std::nullopt : number_in(after.substr(colon + 1));
    if (!number)
      return fail(ec::invalid_argument, "'{}' is not a place to go on from: it is name:version", after);
    from = version_key(after.substr(0, colon), *number + 1);
  }
  wire::ModelPageT page;
  auto at = db_->scan(models, from, to);
  for (; at.valid() && page.versions.size() < limit; at.next()) {
    TROUPE_TRY(each, unpacked<wire::ModelVersion>(at.value(), "a model"));
    page.versions.push_back(std::make_unique<wire::ModelVersionT>(std::move(each)));
  }
  TROUPE_CHECK(at.check());
  page.last = !at.valid();
  return page;
}

expected<wire::ModelVersionT> model_ledger::change(const wire::ModelChange& ask) {
  std::string name{text_of(ask.name())};
  TROUPE_TRY(to, at(name, ask.version()));
  store::write_batch batch;
  std::map<std::uint64_t, wire::ModelVersionT> losers;
  for (flatbuffers::uoffset_t i = 0; ask.set_aliases() != nullptr && i < ask.set_aliases()->size(); ++i) {
    std::string alias{text_of(ask.set_aliases()->Get(i))};
    TROUPE_CHECK(check_name("alias", alias));
    if (number_in(alias) || artefact::is_sha256(alias))
      return fail(ec::invalid_argument, "alias '{}' would be taken for a version", alias);
    TROUPE_TRY(held, db_->find(model_aliases, joined(name, alias)));
    auto holder = held ? store::read_u64(*held) : 0;
    if (holder == to.version)
      continue;
    if (holder != 0) {
      if (!losers.contains(holder)) {
        TROUPE_TRY(loser, at(name, holder));
        losers.emplace(holder, std::move(loser));
      }
      std::erase(losers.at(holder).aliases, alias);
    }
    to.aliases.push_back(alias);
    batch.put(model_aliases, joined(name, alias), as_key(to.version));
  }
  for (flatbuffers::uoffset_t i = 0; ask.remove_aliases() != nullptr && i < ask.remove_aliases()->size();
       ++i) {
    std::string alias{text_of(ask.remove_aliases()->Get(i))};
    if (std::erase(to.aliases, alias) > 0)
      batch.erase(model_aliases, joined(name, alias));
  }
  for (flatbuffers::uoffset_t i = 0; ask.set_tags() != nullptr && i < ask.set_tags()->size(); ++i) {
    auto* tag = ask.set_tags()->Get(i);
    TROUPE_CHECK(check_label("tag", text_of(tag->name())));
    if (text_of(tag->name()) == "gate")
      return fail(ec::invalid_argument, "the tag 'gate' is the registry's own");
    set_tag(to, text_of(tag->name()), text_of(tag->text()));
  }
  for (flatbuffers::uoffset_t i = 0; ask.remove_tags() != nullptr && i < ask.remove_tags()->size(); ++i)
    if (text_of(ask.remove_tags()->Get(i)) != "gate")
      std::erase_if(to.tags, [&](auto& each) { return each->name == text_of(ask.remove_tags()->Get(i)); });
  for (auto& [number, loser] : losers)
    batch.put(models, version_key(name, number), packed<wire::ModelVersion>(loser));
  batch.put(models, version_key(name, to.version), packed<wire::ModelVersion>(to));
  TROUPE_CHECK(db_->write(batch, store::durability::synced));
  return std::move(to);
}

expected<void> model_ledger::check_models(const json::object& manifest, wire::ReleaseT& release) const {
  auto* list = manifest.if_contains("models");
  if (list == nullptr || !list->is_array() || list->get_array().empty())
    return fail(ec::invalid_argument, "the manifest of a release needs a list of models");
  auto& files = manifest.at("files").get_object();
  for (auto& each : list->get_array()) {
    auto* model = each.if_object();
    if (model == nullptr)
      return fail(ec::invalid_argument, "a model in the manifest of a release is not an object");
    auto name = text_or(*model, "name");
    auto hash = text_or(*model, "manifest_sha256");
    auto path = text_or(*model, "path");
    if (!artefact::is_sha256(hash))
      return fail(ec::invalid_argument, "model '{}' of the release has no manifest_sha256", name);
    TROUPE_TRY(found, version(name, hash));
    // The signature: the release carries the very files that the version was registered with.
    TROUPE_TRY(registered, fields_of(found));
    auto* theirs = registered.if_contains("files");
    if (theirs == nullptr || !theirs->is_object())
      return fail(ec::corrupt, "the registry's manifest of {}:{} names no files", name, found.version);
    for (auto& [file, about] : theirs->get_object()) {
      auto place = path.empty() ? std::string{file} : path + "/" + std::string{file};
      auto* ours = files.if_contains(place);
      if (ours == nullptr || !ours->is_object() || !about.is_object() ||
          text_or(ours->get_object(), "sha256") != text_or(about.get_object(), "sha256"))
        return fail(ec::conflict, "the release lacks file '{}' of model '{}' version {}, or has another one",
                    place, name, found.version);
    }
    for (auto& gate_line : found.gate) {
      auto copy = std::make_unique<wire::GateCheckT>(*gate_line);
      copy->reason = fmt::format("{}:{}: {}{}", name, found.version, copy->reason,
                                 skipped_gate(found) ? " (gate skipped)" : "");
      release.gate.push_back(std::move(copy));
    }
  }
  return {};
}

expected<wire::ReleaseT> model_ledger::add_release(const wire::ReleaseRegister& ask) {
  TROUPE_TRY(manifest, manifest_of(text_of(ask.manifest()), "a release"));
  TROUPE_TRY(known, db_->find(family::releases, manifest.sha256));
  if (known)
    return unpacked<wire::Release>(*known, manifest.sha256);
  wire::ReleaseT made;
  made.id = manifest.sha256;
  made.name =
      text_of(ask.name()).empty() ? text_or(manifest.fields, "name") : std::string{text_of(ask.name())};
  made.created = micros_of(wall_now());
  TROUPE_CHECK(check_name("release", made.name));
  TROUPE_CHECK(check_files(manifest.fields));
  TROUPE_CHECK(check_models(manifest.fields, made));
  if (!passed(made.gate) && !ask.skip_gate()) {
    seen_.releases.stopped.add();
    return fail(ec::conflict, "the quality gate stops release '{}': {}", made.name, what_failed(made.gate));
  }
  made.manifest = std::move(manifest.text);
  store::write_batch batch;
  batch.put(family::releases, made.id, packed<wire::Release>(made));
  batch.put(release_order, release_order_key(made), {});
  TROUPE_CHECK(db_->write(batch, store::durability::synced));
  (passed(made.gate) ? seen_.releases.passed : seen_.releases.skipped).add();
  return made;
}

expected<wire::ReleaseT> model_ledger::release(std::string_view id) const {
  TROUPE_TRY(whole, db_->find(family::releases, id));
  if (whole)
    return unpacked<wire::Release>(*whole, id);
  bool digits = id.size() >= 8 && std::ranges::all_of(id, [](char c) {
                  return std::isxdigit(static_cast<unsigned char>(c)) != 0;
                });
  if (digits) {
    auto at = db_->scan(family::releases, id, store::prefix_end(id));
    if (at.valid()) {
      auto found = unpacked<wire::Release>(at.value(), id);
      at.next();
      if (at.valid())
        return fail(ec::conflict, "'{}' begins more than one release id; give more digits", id);
      return found;
    }
    TROUPE_CHECK(at.check());
  }
  auto at = db_->scan(release_order);
  for (at.seek_at_or_before(std::string(9, '\xff')); at.valid(); at.previous()) {
    TROUPE_TRY(value, db_->find(family::releases, at.key().substr(8)));
    TROUPE_TRY(each, unpacked<wire::Release>(value.value_or(""), at.key().substr(8)));
    if (each.name == id)
      return std::move(each);
  }
  TROUPE_CHECK(at.check());
  return fail(ec::not_found, "there is no release '{}' (an id, its first 8 digits or more, or a name)", id);
}

expected<wire::ReleasePageT> model_ledger::releases(std::string_view before, std::uint32_t limit) const {
  limit = std::clamp<std::uint32_t>(limit == 0 ? 100 : limit, 1, most_listed);
  std::string end;
  if (!before.empty()) {
    TROUPE_TRY(last, release(before));
    end = release_order_key(last);
  }
  wire::ReleasePageT page;
  auto at = db_->scan(release_order, {}, end);
  for (at.seek_at_or_before(end.empty() ? std::string(9, '\xff') : end); at.valid(); at.previous()) {
    if (page.releases.size() == limit)
      return page;
    TROUPE_TRY(value, db_->find(family::releases, at.key().substr(8)));
    TROUPE_TRY(each, unpacked<wire::Release>(value.value_or(""), at.key().substr(8)));
    page.releases.push_back(std::make_unique<wire::ReleaseT>(std::move(each)));
  }
  TROUPE_CHECK(at.check());
  page.last = true;
  return page;
}

} // namespace troupe::registry
