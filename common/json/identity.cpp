#include "common/json/identity.hpp"

#include "common/core/text_start.hpp"

namespace troupe {

expected<std::string_view> identity_of(exact_value what) {
  switch (what.is()) {
  case exact_value::kind::null:
    return std::string_view{};
  case exact_value::kind::number:
    if (!what.is_whole())
      return fail(ec::invalid_argument,
                  "{} is no name: of numbers only whole ones without an exponent are; write it as a text",
                  text_start(what.text(), 64));
    return what.text();
  case exact_value::kind::flag:
  case exact_value::kind::text:
    return what.text();
  case exact_value::kind::list:
  case exact_value::kind::object:
    break;
  }
  return fail(ec::invalid_argument, "it is {}, and a name is a text or a whole number", kind_name(what));
}

} // namespace troupe
