#include "text/jinja_format.h"

#include <algorithm>
#include <charconv>
#include <clocale>
#include <ctime>

#include "base/error.h"
#include "base/handle.h"
#include "text/jinja_print.h"
#include "text/jinja_text.h"

namespace trireme::text::jinja {
namespace {

struct LocaleTraits {
  using type = locale_t;
  static type null() { return nullptr; }
  static void destroy(type locale) noexcept { freelocale(locale); }
};

// Finds the arguments of the fields of one pattern.
class Fields {
 public:
  explicit Fields(const Arguments& arguments) : arguments_(arguments) {}

  const Value& named(std::string_view field) {
    if (field.empty()) return at(next_++, false);
    std::size_t idx = 0;
    const auto end = std::from_chars(field.data(), field.data() + field.size(), idx);
    if (end.ec == std::errc() && end.ptr == field.data() + field.size()) return at(idx, true);
    if (field.find_first_of(".[!:{") != std::string_view::npos || end.ptr != field.data()) {
      fail(ErrorKind::input,
           cat("format: the field '{", clip(field), "}' is not supported; {}, {0} and {name} are"));
    }
    const auto found = std::ranges::find(arguments_.names, field);
    if (found == arguments_.names.end()) {
      fail(ErrorKind::input, cat("format: no argument is named '", clip(field), "'"));
    }
    return arguments_.named[static_cast<std::size_t>(found - arguments_.names.begin())];
  }

 private:
  const Value& at(std::size_t idx, bool is_numbered) {
    if (!has_begun_) is_numbered_ = is_numbered;
    has_begun_ = true;
    if (is_numbered != is_numbered_) {
      fail(ErrorKind::input, "format: fields with and without a number are mixed");
    }
    if (idx >= arguments_.positional.size()) {
      fail(ErrorKind::input, cat("format: field ", idx, " of ", arguments_.positional.size()));
    }
    return arguments_.positional[idx];
  }

  const Arguments& arguments_;
  std::size_t next_ = 0;
  bool has_begun_ = false;
  bool is_numbered_ = false;
};

void append_field(Budget& budget, std::string& out, const Value& value, bool escapes) {
  if (escapes && !(value.is(Kind::string) && value.as<String>().safe)) {
    out += escape_html(budget, to_text(budget, value));
  } else {
    append_text(budget, out, value);
  }
  budget.require(out.size());
}

// A time without a zone has microseconds, here none, and nothing for its zone.
std::string without_zone(std::string_view pattern) {
  std::string result;
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    const char directive = pattern[at] == '%' && at + 1 < pattern.size() ? pattern[at + 1] : '\0';
    if (directive == 'f') result += "000000";
    if (directive != 'f' && directive != 'z' && directive != 'Z') {
      result += pattern[at];
      if (directive != '\0') result += directive;
    }
    if (directive != '\0') ++at;
  }
  return result;
}

}  // namespace

std::string format(Context& context, const String& pattern, const Arguments& arguments) {
  const std::string& text = pattern.text;
  context.budget.spend_characters(text.size());
  Fields fields(arguments);
  std::string result;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char byte = text[at];
    const bool is_brace = byte == '{' || byte == '}';
    if (!is_brace) {
      result += byte;
    } else if (at + 1 < text.size() && text[at + 1] == byte) {
      result += byte;
      ++at;
    } else {
      const std::size_t end = text.find('}', at + 1);
      if (byte == '}' || end == std::string::npos) {
        fail(ErrorKind::input, cat("format: a single '", byte, "' in the pattern"));
      }
      const std::string_view field = std::string_view(text).substr(at + 1, end - at - 1);
      append_field(context.budget, result, fields.named(field), pattern.safe);
      context.budget.spend(1);
      at = end;
    }
  }
  return result;
}

std::string format_time(std::string_view pattern, std::int64_t unix_time) {
  constexpr std::size_t kMaxPattern = 1024;
  if (pattern.size() > kMaxPattern || pattern.find('\0') != std::string_view::npos) {
    fail(ErrorKind::input, cat("strftime_now: the format has ", pattern.size(), " bytes, at most ",
                               kMaxPattern, " without NUL are supported"));
  }
  const auto seconds = static_cast<std::time_t>(unix_time);
  std::tm local{};
  if (localtime_r(&seconds, &local) == nullptr) {
    fail(ErrorKind::input, cat("strftime_now: ", unix_time, " s is no date"));
  }
  const UniqueHandle<LocaleTraits> c_locale(newlocale(LC_ALL_MASK, "C", nullptr));
  if (!c_locale) fail(ErrorKind::internal, "the C locale cannot be opened");
  // strftime tells an empty result and one that does not fit alike: a mark at the end sets them
  // apart.
  const std::string marked = without_zone(pattern) + "|";
  std::string buffer(kMaxPattern * 64, '\0');
  const std::size_t size =
      strftime_l(buffer.data(), buffer.size(), marked.c_str(), &local, c_locale.get());
  if (size == 0) fail(ErrorKind::input, "strftime_now: the result is too long");
  buffer.resize(size - 1);
  return buffer;
}

}  // namespace trireme::text::jinja
