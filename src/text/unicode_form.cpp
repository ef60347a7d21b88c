#include "text/unicode_form.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "text/text_limits.h"
#include "text/unicode.h"

namespace trireme::text {
namespace {

// Longer runs of marks than any language writes: ICU sorts them by insertion, which takes quadratic
// time, so a text with one is normalized here.
constexpr int kLongRunOfMarks = 64;

void check_icu(UErrorCode status) {
  if (U_FAILURE(status)) fail(ErrorKind::internal, cat("ICU: ", u_errorName(status)));
}

const icu::Normalizer2& normalizer_of(UnicodeForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* found = nullptr;
  switch (form) {
    case UnicodeForm::nfc:
      found = icu::Normalizer2::getNFCInstance(status);
      break;
    case UnicodeForm::nfd:
      found = icu::Normalizer2::getNFDInstance(status);
      break;
    case UnicodeForm::nfkc:
      found = icu::Normalizer2::getNFKCInstance(status);
      break;
    case UnicodeForm::nfkd:
      found = icu::Normalizer2::getNFKDInstance(status);
      break;
  }
  check_icu(status);
  return *found;
}

bool is_compatible(UnicodeForm form) {
  return form == UnicodeForm::nfkc || form == UnicodeForm::nfkd;
}

bool has_long_run_of_marks(std::string_view text, const icu::Normalizer2& decomposer) {
  constexpr char32_t kFirstMark = 0x300;
  int run = 0;
  for (std::size_t position = 0; position < text.size();) {
    const char32_t c = next_code_point(text, position);
    if (c < kFirstMark || decomposer.hasBoundaryBefore(static_cast<UChar32>(c))) {
      run = 0;
    } else if (++run > kLongRunOfMarks) {
      return true;
    }
  }
  return false;
}

struct Mark {
  UChar32 code_point;
  std::uint8_t combining_class;
};

/// All of `text` decomposed, marks in canonical order.
std::vector<Mark> decompose(std::string_view text, const icu::Normalizer2& decomposer) {
  std::vector<Mark> all;
  all.reserve(text.size());
  const auto add = [&](UChar32 c) { all.push_back({c, decomposer.getCombiningClass(c)}); };
  icu::UnicodeString decomposition;
  for (std::size_t position = 0; position < text.size();) {
    const auto c = static_cast<UChar32>(next_code_point(text, position));
    if (!decomposer.getDecomposition(c, decomposition)) {
      add(c);
      continue;
    }
    for (int idx = 0; idx < decomposition.length(); idx = decomposition.moveIndex32(idx, 1)) {
      add(decomposition.char32At(idx));
    }
  }
  const auto is_starter = [](const Mark& mark) { return mark.combining_class == 0; };
  for (auto run = all.begin(); run != all.end();) {
    const auto end = std::find_if(run, all.end(), is_starter);
    std::stable_sort(run, end, [](const Mark& left, const Mark& right) {
      return left.combining_class < right.combining_class;
    });
    run = end == all.end() ? end : end + 1;
  }
  return all;
}

/// Composes in place what is decomposed and ordered (UAX #15, D117).
void compose(std::vector<Mark>& all, const icu::Normalizer2& composer) {
  std::size_t num_out = 0;
  std::size_t starter = all.size();  // none yet
  for (const Mark mark : all) {
    if (starter < num_out) {
      const bool is_adjacent = num_out == starter + 1;
      const std::uint8_t last_class = all[num_out - 1].combining_class;
      // Nothing of the same or a higher class, and no starter, may stand between.
      if (is_adjacent || (last_class != 0 && last_class < mark.combining_class)) {
        const UChar32 composed = composer.composePair(all[starter].code_point, mark.code_point);
        if (composed >= 0) {
          all[starter].code_point = composed;
          continue;
        }
      }
    }
    if (mark.combining_class == 0) starter = num_out;
    all[num_out++] = mark;
  }
  all.resize(num_out);
}

std::string normalize_long_runs(std::string_view text, UnicodeForm form,
                                const icu::Normalizer2& decomposer) {
  std::vector<Mark> all = decompose(text, decomposer);
  if (form == UnicodeForm::nfc || form == UnicodeForm::nfkc) compose(all, normalizer_of(form));
  std::string out;
  out.reserve(text.size());
  for (const Mark& mark : all) append_utf8(out, static_cast<char32_t>(mark.code_point));
  return out;
}

}  // namespace

std::string to_unicode_form(std::string_view text, UnicodeForm form) {
  check_text_size(text.size());
  const icu::Normalizer2& decomposer =
      normalizer_of(is_compatible(form) ? UnicodeForm::nfkd : UnicodeForm::nfd);
  if (has_long_run_of_marks(text, decomposer)) return normalize_long_runs(text, form, decomposer);
  std::string out;
  icu::StringByteSink<std::string> sink(&out, static_cast<std::int32_t>(text.size()));
  UErrorCode status = U_ZERO_ERROR;
  normalizer_of(form).normalizeUTF8(
      0, icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())), sink, nullptr,
      status);
  check_icu(status);
  return out;
}

}  // namespace trireme::text
