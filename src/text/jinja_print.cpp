#include "text/jinja_print.h"

#include <array>

#include "base/error.h"
#include "text/jinja_text.h"
#include "text/unicode.h"

namespace trireme::text::jinja {
namespace {

void append_hex(std::string& out, char32_t code_point, int digits) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out += kDigits[(code_point >> shift) & 0xF];
  }
}

void append_escaped(std::string& out, char32_t code_point) {
  if (code_point == '\n') {
    out += "\\n";
  } else if (code_point == '\r') {
    out += "\\r";
  } else if (code_point == '\t') {
    out += "\\t";
  } else if (code_point < 0x100) {
    append_hex(out += "\\x", code_point, 2);
  } else if (code_point < 0x10000) {
    append_hex(out += "\\u", code_point, 4);
  } else {
    append_hex(out += "\\U", code_point, 8);
  }
}

void append_quoted(Budget& budget, std::string& out, std::string_view text) {
  budget.spend_characters(text.size());
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char32_t quote = has_single && !has_double ? '"' : '\'';
  out += static_cast<char>(quote);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t code_point = next_code_point(text, at);
    if (code_point == quote || code_point == '\\') {
      (out += '\\') += static_cast<char>(code_point);
    } else if (is_printable(code_point)) {
      out.append(text, begin, at - begin);
    } else {
      append_escaped(out, code_point);
    }
    if (out.size() > kMaxValueBytes) budget.require(out.size());
  }
  out += static_cast<char>(quote);
}

void append_items(Budget& budget, std::string& out, const std::vector<Value>& items) {
  for (std::size_t idx = 0; idx < items.size(); ++idx) {
    if (idx > 0) out += ", ";
    append_repr(budget, out, items[idx]);
  }
}

void append_view(Budget& budget, std::string& out, const View& view) {
  constexpr std::array<std::string_view, 3> kNames = {"dict_keys([", "dict_values([",
                                                      "dict_items(["};
  out += kNames[static_cast<std::size_t>(view.what)];
  for (std::size_t idx = 0; idx < view.dict().items.size(); ++idx) {
    if (idx > 0) out += ", ";
    append_repr(budget, out, view.at(budget, idx));
  }
  out += "])";
}

void append_dict(Budget& budget, std::string& out, const Dict& dict) {
  out += '{';
  for (std::size_t idx = 0; idx < dict.items.size(); ++idx) {
    if (idx > 0) out += ", ";
    append_repr(budget, out, dict.items[idx].first);
    out += ": ";
    append_repr(budget, out, dict.items[idx].second);
  }
  out += '}';
}

void append_range(std::string& out, const Range& range) {
  const std::int64_t stop = range.start + static_cast<std::int64_t>(range.size) * range.step;
  out += cat("range(", range.start, ", ", stop);
  if (range.step != 1) out += cat(", ", range.step);
  out += ')';
}

// What prints alike in str() and repr().
void append_plain(Budget& budget, std::string& out, const Value& value) {
  switch (value.kind()) {
    case Kind::none:
      out += "None";
      break;
    case Kind::boolean:
      out += value.as_integer() != 0 ? "True" : "False";
      break;
    case Kind::integer:
      out += std::to_string(value.as_integer());
      break;
    case Kind::real:
      out += format_real(value.as_real());
      break;
    case Kind::list:
      append_items(budget, out += '[', items_of(value));
      out += ']';
      break;
    case Kind::tuple:
      append_items(budget, out += '(', items_of(value));
      out += items_of(value).size() == 1 ? ",)" : ")";
      break;
    case Kind::dict:
      append_dict(budget, out, value.as<Dict>());
      break;
    case Kind::range:
      append_range(out, value.as<Range>());
      break;
    case Kind::view:
      append_view(budget, out, value.as<View>());
      break;
    default:
      fail(ErrorKind::input,
           cat("a ", type_name(value), " cannot be printed",
               value.is(Kind::iterator) ? "; the filter 'list' makes a list of it" : ""));
  }
}

}  // namespace

void append_text(Budget& budget, std::string& out, const Value& value) {
  if (value.is(Kind::undefined)) return;
  if (value.is(Kind::string)) {
    budget.spend_bytes(text_of(value).size());
    budget.require(out.size() + text_of(value).size());
    out += text_of(value);
    return;
  }
  append_plain(budget, out, value);
}

std::string to_text(Budget& budget, const Value& value) {
  std::string result;
  append_text(budget, result, value);
  return result;
}

void append_repr(Budget& budget, std::string& out, const Value& value) {
  budget.spend(1);
  budget.require(out.size());
  if (value.is(Kind::undefined)) {
    out += "Undefined";
  } else if (value.is(Kind::string)) {
    if (value.as<String>().safe) out += "Markup(";
    append_quoted(budget, out, text_of(value));
    if (value.as<String>().safe) out += ')';
  } else {
    append_plain(budget, out, value);
  }
}

}  // namespace trireme::text::jinja
