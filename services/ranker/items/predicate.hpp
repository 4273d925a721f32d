#pragma once

#include "services/ranker/client/rules.hpp"
#include "services/ranker/items/item_snapshot.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace troupe::ranker {

/// A predicate of rules or of a request before the columns of one snapshot, which must outlive it: it holds
/// for an item exactly where `attribute_predicate::holds` does for its attribute, and compares numbers of
/// words, not texts.
class compiled_predicate {
public:
  compiled_predicate(const attribute_predicate& of, const item_snapshot& items);

  /// `page`: null where nothing is known of the item.
  bool holds(const item_page* page, std::size_t row) const {
    return (page && column_ < page->attributes.size() && met(page->attributes[column_], row)) != negated_;
  }

private:
  bool met(const item_column& in, std::size_t row) const;

  const item_snapshot* items_;
  std::size_t column_ = static_cast<std::size_t>(-1);
  predicate_op op_;
  bool negated_;
  double number_;
  std::string text_;          ///< What a text is to contain.
  word_id word_;              ///< Of the text; one that no item has where none has it.
  std::vector<word_id> list_; ///< Likewise.
  bool has_list_;
};

} // namespace troupe::ranker
