#pragma once

#include "services/feature_store/operators/operator.hpp"

namespace troupe::feature_store {

/// An operator that keeps the newest values themselves: one, or so many as it says.
class kept_values_operator : public feature_operator {
public:
  void apply(const feature_definition& def, const feature_event& from, std::int64_t newest,
             slot& into) const final;
  bool read(const feature_definition& def, store::decoder& in, std::int64_t newest, const reading& when,
            double& number, std::string& words) const final;
  void encode(const feature_definition& def, const slot& from, form as, store::encoder& out) const final;
  bool decode(const feature_definition& def, slot& into, store::decoder& in) const final;

protected:
  virtual std::size_t limit(const feature_definition&) const { return 1; }
  /// Whether its value is the words of all that it keeps, in place of the newest value.
  virtual bool gives_all() const noexcept { return false; }
  /// What one value is; by default that of the feature.
  virtual value_type type_of_one(const feature_definition& def) const { return def.type; }
  /// Whether a record without a value counts as well: what was known before is known no more.
  virtual bool counts_without_value() const noexcept { return false; }
  /// Takes the value that a record brings. False: none.
  virtual bool take(const feature_definition& def, const feature_event& from, slot& into,
                    kept_value& kept) const;

  static void keep_text(std::string_view text, slot& into, kept_value& kept);

private:
  class text_coder;

  template <class Use>
  bool each_value(const feature_definition& def, store::decoder& in, std::int64_t newest, std::size_t& left,
                  text_coder& texts, Use&& use) const;
  void keep_newest_record(const feature_event& from, kept_value kept, slot& into) const;
};

} // namespace troupe::feature_store
