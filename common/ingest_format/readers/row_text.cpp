#include "common/ingest_format/readers/row_text.hpp"

#include <iconv.h>
#include <simdjson.h>

#include <cstring>

namespace troupe::ingest_format {

namespace {

row_frame line_at(std::string_view text, std::size_t feed) {
  bool carriage = feed > 0 && text[feed - 1] == '\r';
  return {row_frame::state::complete, feed - carriage, feed + 1, {}};
}

row_frame rest_of(std::string_view text) {
  bool carriage = text.ends_with('\r');
  return {row_frame::state::complete, text.size() - carriage, text.size(), {}};
}

row_frame broken(std::string_view text, std::size_t feed, std::string_view reason) {
  auto line = feed == std::string_view::npos ? rest_of(text) : line_at(text, feed);
  line.is = row_frame::state::broken;
  line.reason = reason;
  return line;
}

bool is_ascii(std::string_view text) noexcept {
  unsigned char all = 0;
  for (char each : text)
    all |= static_cast<unsigned char>(each);
  return all < 0x80;
}

constexpr std::string_view after_quote = "text follows a closing quote";
constexpr std::string_view unbalanced = "a quote is opened and never closed";

} // namespace

row_frame find_row(std::string_view text, const std::optional<char>& quote, std::string_view delimiter,
                   bool last) {
  auto feed = text.find('\n');
  auto line = text.substr(0, feed);
  if (!quote || line.find(*quote) == std::string_view::npos) {
    if (feed != std::string_view::npos)
      return line_at(text, feed);
    return last && !text.empty() ? rest_of(text) : row_frame{};
  }
  std::size_t at = 0;
  while (true) { // One column a turn.
    if (at < text.size() && text[at] == *quote) {
      ++at;
      while (true) {
        auto closing = text.find(*quote, at);
        if (closing == std::string_view::npos || (closing + 1 == text.size() && !last))
          return last ? broken(text, feed, unbalanced) : row_frame{};
        at = closing + 1;
        if (at == text.size() || text[at] != *quote)
          break;
        ++at;
      }
      if (at == text.size())
        return rest_of(text);
      if (text[at] == '\n')
        return line_at(text, at);
      if (text[at] == '\r') {
        if (at + 1 == text.size())
          return last ? rest_of(text) : row_frame{};
        if (text[at + 1] == '\n')
          return line_at(text, at + 1);
        return broken(text, feed, after_quote);
      }
      if (text.substr(at, delimiter.size()) != delimiter) {
        bool may_come = !last && text.size() - at < delimiter.size();
        return may_come ? row_frame{} : broken(text, feed, after_quote);
      }
      at += delimiter.size();
    } else {
      auto end = text.find('\n', at);
      auto next = text.substr(0, end).find(delimiter, at);
      if (next != std::string_view::npos)
        at = next + delimiter.size();
      else if (end != std::string_view::npos)
        return line_at(text, end);
      else
        return last ? rest_of(text) : row_frame{};
    }
  }
}

struct row_decoder::converter {
  iconv_t handle;
  explicit converter(const char* from) : handle{::iconv_open("UTF-8", from)} {}
  ~converter() {
    if (handle != reinterpret_cast<iconv_t>(-1))
      ::iconv_close(handle);
  }
};

row_decoder::row_decoder(csv_dialect dialect, text_encoding encoding)
    : dialect_{std::move(dialect)}, encoding_{encoding} {
  if (encoding_ != text_encoding::utf8)
    converter_ =
        std::make_unique<converter>(encoding_ == text_encoding::latin1 ? "ISO-8859-1" : "WINDOWS-1252");
}
row_decoder::~row_decoder() = default;
row_decoder::row_decoder(row_decoder&&) noexcept = default;
row_decoder& row_decoder::operator=(row_decoder&&) noexcept = default;

std::optional<refusal> row_decoder::to_utf8(std::string_view bytes, std::string_view& text,
                                            std::deque<std::string>& made) {
  if (converter_ ? is_ascii(bytes) : simdjson::validate_utf8(bytes.data(), bytes.size())) {
    text = bytes;
    return std::nullopt;
  }
  if (!converter_)
    return refusal{"parse", "", "the row is not valid UTF-8"};
  auto& out = made.emplace_back(bytes.size() * 3, '\0'); // Neither encoding needs more than 3 bytes for one.
  auto* from = const_cast<char*>(bytes.data());
  auto from_left = bytes.size();
  auto* to = out.data();
  auto to_left = out.size();
  if (::iconv(converter_->handle, &from, &from_left, &to, &to_left) == static_cast<std::size_t>(-1)) {
    ::iconv(converter_->handle, nullptr, nullptr, nullptr, nullptr);
    return refusal{"parse", "",
                   fmt::format("byte {:#04x} at {} of the row is no character of {}",
                               static_cast<unsigned char>(*from), bytes.size() - from_left,
                               to_string(encoding_))};
  }
  out.resize(out.size() - to_left);
  text = out;
  return std::nullopt;
}

std::optional<refusal> row_decoder::split(std::string_view bytes, const std::vector<std::string>& columns,
                                          std::vector<std::string_view>& fields,
                                          std::deque<std::string>& made) {
  auto first = fields.size();
  std::string_view text;
  auto wrong = to_utf8(bytes, text, made);
  bool bad_utf8 = wrong && !converter_;
  if (wrong && !bad_utf8)
    return wrong;
  if (bad_utf8)
    text = bytes; // Split it all the same, to name the column.
  auto& delimiter = dialect_.delimiter;
  std::size_t at = 0;
  while (true) {
    if (dialect_.quote && at < text.size() && text[at] == *dialect_.quote) {
      char quote = *dialect_.quote;
      auto begin = ++at;
      std::string* unquoted = nullptr;
      while (true) {
        auto closing = text.find(quote, at);
        if (closing == std::string_view::npos)
          return refusal{"parse", "", std::string{unbalanced}};
        bool doubled = closing + 1 < text.size() && text[closing + 1] == quote;
        if (unquoted || doubled) {
          if (!unquoted)
            unquoted = &made.emplace_back();
          unquoted->append(text.substr(at, closing - at + doubled));
        }
        at = closing + 1 + doubled;
        if (!doubled) {
          fields.push_back(unquoted ? std::string_view{*unquoted} : text.substr(begin, closing - begin));
          break;
        }
      }
      if (at == text.size())
        break;
      if (text.substr(at, delimiter.size()) != delimiter)
        return refusal{"parse", "", std::string{after_quote}};
      at += delimiter.size();
    } else {
      auto end = delimiter.size() == 1 ? text.find(delimiter.front(), at) : text.find(delimiter, at);
      fields.push_back(text.substr(at, end == std::string_view::npos ? end : end - at));
      if (end == std::string_view::npos)
        break;
      at = end + delimiter.size();
    }
  }
  auto count = fields.size() - first;
  if (bad_utf8) {
    for (std::size_t i = 0; i < count; ++i) {
      auto field = fields[first + i];
      if (!simdjson::validate_utf8(field.data(), field.size()))
        return refusal{"parse", i < columns.size() ? columns[i] : fmt::format("column {}", i + 1),
                       fmt::format("column {} is not valid UTF-8", i + 1)};
    }
    return wrong;
  }
  if (!columns.empty() && count != columns.size())
    return refusal{"parse", "",
                   fmt::format("the row has {} columns, {} are expected", count, columns.size())};
  return std::nullopt;
}

} // namespace troupe::ingest_format
