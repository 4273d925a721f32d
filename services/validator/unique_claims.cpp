#include "services/validator/unique_claims.hpp"

#include "common/core/hash.hpp"

namespace troupe::validator {

void unique_claims::add(const compiled_schema& by, std::uint32_t row, const wire::Record& rec,
                        std::span<const cell> cells) {
  for (auto slot : by.unique) {
    auto& field = *by.fields[slot];
    auto& value = cells[slot];
    if (value.kind == cell::holds::nothing)
      continue;
    // Schema and field are part of the key; the kind keeps the text "1" apart from the number 1.
    key_.assign(by.from.name);
    key_ += '\0';
    key_ += field.rule.name;
    key_ += '\0';
    key_ += static_cast<char>('0' + static_cast<int>(value.kind));
    if (value.kind == cell::holds::text)
      key_ += value.text;
    else if (value.kind == cell::holds::time)
      key_.append(reinterpret_cast<const char*>(&value.time), sizeof value.time);
    else
      key_.append(reinterpret_cast<const char*>(&value.number), sizeof value.number);
    if (claims_.empty())
      source_ = hash64(name_);
    claims_.push_back({hash_wide(key_), {source_, first_row_ + row, hash64(text_of(rec.id()))}});
    fields_.push_back({row, &field, shown(value)});
  }
}

expected<void> unique_claims::settle(unique_index& index, const refusal& refuse) {
  if (claims_.empty())
    return {};
  auto answers = index.claim(claims_);
  if (!answers)
    return with_context("judging unique fields", std::move(answers).error());
  for (std::size_t i = 0; i < claims_.size(); ++i)
    if (auto& holder = (*answers)[i]) {
      auto& name = fields_[i].field->rule.name;
      refuse(fields_[i].row, name,
             fmt::format("{} {} already stands in row {} of {}", name, fields_[i].text, holder->row,
                         holder->source == source_ ? fmt::format("source {}", name_)
                                                   : std::string{"another source"}));
    }
  return {};
}

} // namespace troupe::validator
