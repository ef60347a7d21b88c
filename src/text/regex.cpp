#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/handle.h"
#include "text/regex_syntax.h"

namespace trireme::text {
namespace {

constexpr std::size_t kMaxPatternBytes = 64 << 10;
// Steps that a match may take without being charged, those that are charged to the whole input
// beside a number for each of its bytes, and what one match may take at most.
constexpr std::uint32_t kFreeSteps = 64;
constexpr std::uint64_t kStepsPerInput = 10'000'000;
constexpr std::uint64_t kStepsPerByte = 32;
constexpr std::uint32_t kMaxStepsPerMatch = 1U << 30;
constexpr std::uint32_t kMaxDepth = 1'000'000;
constexpr std::uint32_t kMaxHeapKib = 256 << 10;

struct CodeTraits {
  using type = pcre2_code*;
  static type null() { return nullptr; }
  static void destroy(type code) noexcept { pcre2_code_free(code); }
};
struct CompileContextTraits {
  using type = pcre2_compile_context*;
  static type null() { return nullptr; }
  static void destroy(type context) noexcept { pcre2_compile_context_free(context); }
};
struct MatchContextTraits {
  using type = pcre2_match_context*;
  static type null() { return nullptr; }
  static void destroy(type context) noexcept { pcre2_match_context_free(context); }
};
struct MatchDataTraits {
  using type = pcre2_match_data*;
  static type null() { return nullptr; }
  static void destroy(type data) noexcept { pcre2_match_data_free(data); }
};

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

StepBudget::StepBudget(std::size_t input_bytes)
    : left_(kStepsPerInput + kStepsPerByte * input_bytes) {}

std::uint64_t StepBudget::take(std::uint64_t steps) {
  const std::uint64_t taken = std::min(steps, left_);
  left_ -= taken;
  return taken;
}

struct Regex::Impl {
  std::string pattern;
  UniqueHandle<CodeTraits> code;
};

Regex::Regex(std::string_view pattern, const std::string& where) {
  if (pattern.size() > kMaxPatternBytes) {
    fail(ErrorKind::checkpoint, cat(where, ": a pattern of ", pattern.size(), " bytes, at most ",
                                    kMaxPatternBytes, " are read"));
  }
  const std::string translated = to_pcre2_syntax(pattern, where);
  UniqueHandle<CompileContextTraits> context(pcre2_compile_context_create(nullptr));
  if (!context) fail(ErrorKind::out_of_memory, cat(where, ": no memory for a pattern"));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  // Without automatic possessive repeats every way back is a step, and is counted.
  constexpr std::uint32_t kOptions =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_POSSESS;
  int code = 0;
  PCRE2_SIZE offset = 0;
  UniqueHandle<CodeTraits> compiled(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                                  translated.size(), kOptions, &code, &offset,
                                                  context.get()));
  if (!compiled) {
    fail(ErrorKind::checkpoint, cat(where, ": bad pattern at its byte ", offset, ": ",
                                    message_of(code), ": ", translated.substr(0, 200)));
  }
  impl_ = std::make_unique<const Impl>(Impl{std::string(pattern), std::move(compiled)});
}

Regex::Regex(Regex&&) noexcept = default;
Regex::~Regex() = default;

struct Regex::Search::Impl {
  UniqueHandle<MatchContextTraits> context;
  UniqueHandle<MatchDataTraits> data;
};

Regex::Search::Search(const Regex& regex, StepBudget& budget)
    : regex_(regex), budget_(budget), impl_(std::make_unique<Impl>()) {
  impl_->context = UniqueHandle<MatchContextTraits>(pcre2_match_context_create(nullptr));
  impl_->data = UniqueHandle<MatchDataTraits>(pcre2_match_data_create(1, nullptr));
  if (!impl_->context || !impl_->data)
    fail(ErrorKind::out_of_memory, "no memory to match a pattern");
  pcre2_set_depth_limit(impl_->context.get(), kMaxDepth);
  pcre2_set_heap_limit(impl_->context.get(), kMaxHeapKib);
}

Regex::Search::~Search() = default;

int Regex::Search::match_with_limit(std::string_view text, std::size_t position,
                                    std::uint32_t max_steps) {
  pcre2_set_match_limit(impl_->context.get(), max_steps);
  return pcre2_match(regex_.impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                     text.size(), position, PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, impl_->data.get(),
                     impl_->context.get());
}

std::optional<ByteRange> Regex::Search::match_at(std::string_view text, std::size_t position) {
  int result = match_with_limit(text, position, kFreeSteps);
  // PCRE2 does not tell how many steps a match took. So the limit grows, and what may be spent is
  // charged before it is.
  for (std::uint64_t steps = kFreeSteps * 8; result == PCRE2_ERROR_MATCHLIMIT; steps *= 8) {
    const std::uint64_t allowed = budget_.take(std::min<std::uint64_t>(steps, kMaxStepsPerMatch));
    if (allowed < steps) break;
    result = match_with_limit(text, position, static_cast<std::uint32_t>(allowed));
  }
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0) {
    fail(ErrorKind::input,
         cat("the tokenizer's pattern ", regex_.impl_->pattern.substr(0, 200),
             " needs too much on this text, at byte ", position, ": ", message_of(result)));
  }
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(impl_->data.get());
  return ByteRange{found[0], std::max(found[0], found[1])};
}

}  // namespace trireme::text
