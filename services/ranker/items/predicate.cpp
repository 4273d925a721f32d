#include "services/ranker/items/predicate.hpp"

#include <algorithm>

namespace troupe::ranker {

namespace {

constexpr word_id nobodys{text_numbers::none};

} // namespace

compiled_predicate::compiled_predicate(const attribute_predicate& of, const item_snapshot& items)
    : items_{&items}, op_{of.op}, negated_{of.negated}, number_{of.number}, text_{of.text},
      word_{items.find_word(of.text).value_or(nobodys)}, has_list_{!of.list.empty()} {
  if (auto column = items.attribute_column(of.attribute))
    column_ = *column;
  for (auto& each : of.list)
    list_.push_back(items.find_word(each).value_or(nobodys));
}

bool compiled_predicate::met(const item_column& in, std::size_t row) const {
  using kind = item_column::kind;
  auto is = in.kinds[row];
  auto& value = in.values[row];
  auto has = [&](word_id word) { return std::ranges::find(in.list(row), word) != in.list(row).end(); };
  switch (op_) {
  case predicate_op::equals:
    if (is == kind::text)
      return value.text == word_;
    if (is == kind::list)
      return has_list_ ? std::ranges::equal(in.list(row), list_)
                       : in.list(row).size() == 1 && in.list(row).front() == word_;
    if (is == kind::flag)
      return (value.number != 0) == (number_ != 0);
    return is == kind::number && value.number == number_;
  case predicate_op::contains:
    if (is == kind::text)
      return items_->word(value.text).find(text_) != std::string_view::npos;
    return is == kind::list && has(word_);
  case predicate_op::at_least:
    return is == kind::number && value.number >= number_;
  case predicate_op::at_most:
    return is == kind::number && value.number <= number_;
  case predicate_op::one_of:
    if (is == kind::text)
      return std::ranges::find(list_, value.text) != list_.end();
    return is == kind::list && std::ranges::any_of(list_, has);
  }
  return false;
}

} // namespace troupe::ranker
