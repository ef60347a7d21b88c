// Upper, lower and title case by ICU.

#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/stringpiece.h>
#include <unicode/ucasemap.h>
#include <unicode/uchar.h>

#include "base/error.h"
#include "text/jinja_text.h"
#include "text/unicode.h"

namespace trireme::text::jinja {
namespace {

// Takes at most what a value may hold; an exception must not pass through ICU.
class LimitedSink : public icu::ByteSink {
 public:
  explicit LimitedSink(std::string& out) : out_(out) {}
  void Append(const char* bytes, std::int32_t num_bytes) override {
    const auto size = static_cast<std::size_t>(num_bytes);
    wanted_ += size;
    if (wanted_ <= kMaxValueBytes) out_.append(bytes, size);
  }
  std::size_t wanted() const { return wanted_; }

 private:
  std::string& out_;
  std::size_t wanted_ = 0;
};

template <typename Map>
std::string mapped(Budget& budget, std::string_view text, Map map) {
  budget.spend_characters(text.size());
  std::string result;
  LimitedSink sink(result);
  UErrorCode status = U_ZERO_ERROR;
  map(icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())), sink, status);
  if (U_FAILURE(status)) {
    fail(ErrorKind::internal, cat("ICU cannot change the case of a text: ", u_errorName(status)));
  }
  budget.require(sink.wanted());
  return result;
}

std::string title_case_of_first(Budget& budget, std::string_view character) {
  return mapped(budget, character, [](icu::StringPiece in, icu::ByteSink& out, UErrorCode& status) {
    constexpr std::uint32_t kOptions =
        U_TITLECASE_WHOLE_STRING | U_TITLECASE_NO_BREAK_ADJUSTMENT | U_TITLECASE_NO_LOWERCASE;
    icu::CaseMap::utf8ToTitle("", kOptions, nullptr, in, out, nullptr, status);
  });
}

// The lower case of all but the first character. Whether a sigma is final depends on what stands
// before it, so the whole word is mapped and the first character's part cut off.
std::string lower_rest(Budget& budget, std::string_view word, std::size_t first_bytes) {
  const std::size_t cut = lower(budget, word.substr(0, first_bytes)).size();
  return lower(budget, word).substr(cut);
}

}  // namespace

std::string upper(Budget& budget, std::string_view text) {
  return mapped(budget, text, [](icu::StringPiece in, icu::ByteSink& out, UErrorCode& status) {
    icu::CaseMap::utf8ToUpper("", 0, in, out, nullptr, status);
  });
}

std::string lower(Budget& budget, std::string_view text) {
  return mapped(budget, text, [](icu::StringPiece in, icu::ByteSink& out, UErrorCode& status) {
    icu::CaseMap::utf8ToLower("", 0, in, out, nullptr, status);
  });
}

std::string capitalize(Budget& budget, std::string_view text) {
  if (text.empty()) return {};
  std::size_t first_bytes = 0;
  next_code_point(text, first_bytes);
  return title_case_of_first(budget, text.substr(0, first_bytes)) +
         lower_rest(budget, text, first_bytes);
}

std::string title(Budget& budget, std::string_view text) {
  std::string result;
  for (std::size_t begin = 0; begin < text.size();) {
    // A word ends with the first character that has no case.
    std::size_t end = begin;
    bool is_cased = true;
    while (is_cased && end < text.size()) {
      is_cased = u_hasBinaryProperty(static_cast<UChar32>(next_code_point(text, end)), UCHAR_CASED);
    }
    result += capitalize(budget, text.substr(begin, end - begin));
    budget.spend(4);
    budget.require(result.size());
    begin = end;
  }
  return result;
}

}  // namespace trireme::text::jinja
