// The filter tojson: json.dumps over the values of a template.

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"
#include "text/unicode.h"

namespace trireme::text::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const JsonStyle& style) : budget_(budget), style_(style) {}

  void write(const Value& value);
  std::string take() { return std::move(out_); }

 private:
  void scalar(const Value& value);
  void real(double value);
  void string(std::string_view text);
  void escape(char32_t code_point);
  void unicode_escape(char32_t unit);
  void array(const std::vector<Value>& items);
  void object(const Dict& dict);
  void key(const Value& key);
  void next_line();

  Budget& budget_;
  const JsonStyle& style_;
  std::string out_;
  std::size_t level_ = 0;
};

void JsonWriter::write(const Value& value) {
  budget_.spend(1);
  budget_.require(out_.size());
  if (is_sequence(value)) {
    array(items_of(value));
  } else if (value.is(Kind::dict)) {
    object(value.as<Dict>());
  } else {
    scalar(value);
  }
}

void JsonWriter::scalar(const Value& value) {
  switch (value.kind()) {
    case Kind::none:
      out_ += "null";
      break;
    case Kind::boolean:
      out_ += value.as_integer() != 0 ? "true" : "false";
      break;
    case Kind::integer:
      out_ += std::to_string(value.as_integer());
      break;
    case Kind::real:
      real(value.as_real());
      break;
    case Kind::string:
      string(text_of(value));
      break;
    default:
      fail(ErrorKind::input,
           cat("tojson: a value of type ", type_name(value), " cannot be written as JSON",
               value.is(Kind::undefined) ? " (" + reason_of(value) + ")" : ""));
  }
}

void JsonWriter::real(double value) {
  if (std::isnan(value)) {
    out_ += "NaN";
  } else if (std::isinf(value)) {
    out_ += value < 0 ? "-Infinity" : "Infinity";
  } else {
    out_ += format_real(value);
  }
}

void JsonWriter::string(std::string_view text) {
  budget_.spend_characters(text.size());
  out_ += '"';
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t code_point = next_code_point(text, at);
    const bool is_plain = code_point >= ' ' && code_point != '"' && code_point != '\\' &&
                          (!style_.ensure_ascii || code_point < 0x7F);
    if (is_plain) {
      out_.append(text, begin, at - begin);
    } else {
      escape(code_point);
    }
    if (out_.size() > kMaxValueBytes) budget_.require(out_.size());
  }
  out_ += '"';
}

void JsonWriter::escape(char32_t code_point) {
  constexpr std::string_view kShort = "\"\\\n\r\t\f\b";
  constexpr std::string_view kLetters = "\"\\nrtfb";
  const std::size_t known =
      code_point < 0x80 ? kShort.find(static_cast<char>(code_point)) : std::string_view::npos;
  if (known != std::string_view::npos) {
    (out_ += '\\') += kLetters[known];
  } else if (code_point < 0x10000) {
    unicode_escape(code_point);
  } else {
    unicode_escape(0xD800 + ((code_point - 0x10000) >> 10));
    unicode_escape(0xDC00 + ((code_point - 0x10000) & 0x3FF));
  }
}

void JsonWriter::unicode_escape(char32_t unit) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out_ += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out_ += kDigits[(unit >> shift) & 0xF];
}

void JsonWriter::next_line() {
  if (!style_.indent) return;
  budget_.require(level_, style_.indent->size());
  budget_.require(out_.size() + level_ * style_.indent->size());
  budget_.spend_bytes(level_ * style_.indent->size());
  out_ += '\n';
  for (std::size_t idx = 0; idx < level_; ++idx) out_ += *style_.indent;
}

void JsonWriter::array(const std::vector<Value>& items) {
  out_ += '[';
  ++level_;
  for (std::size_t idx = 0; idx < items.size(); ++idx) {
    if (idx > 0) out_ += style_.item_separator;
    next_line();
    write(items[idx]);
  }
  --level_;
  if (!items.empty()) next_line();
  out_ += ']';
}

void JsonWriter::object(const Dict& dict) {
  std::vector<Dict::Pair> pairs = dict.items;
  if (style_.sort_keys) {
    std::stable_sort(pairs.begin(), pairs.end(), [this](const auto& a, const auto& b) {
      return ordered(budget_, Comparison::less, a.first, b.first);
    });
  }
  out_ += '{';
  ++level_;
  for (std::size_t idx = 0; idx < pairs.size(); ++idx) {
    if (idx > 0) out_ += style_.item_separator;
    next_line();
    key(pairs[idx].first);
    out_ += style_.key_separator;
    write(pairs[idx].second);
  }
  --level_;
  if (!pairs.empty()) next_line();
  out_ += '}';
}

void JsonWriter::key(const Value& key) {
  if (key.is(Kind::string)) {
    string(text_of(key));
    return;
  }
  out_ += '"';
  scalar(key);
  out_ += '"';
}

}  // namespace

std::string to_json(Budget& budget, const Value& value, const JsonStyle& style) {
  JsonWriter writer(budget, style);
  writer.write(value);
  return writer.take();
}

}  // namespace trireme::text::jinja
