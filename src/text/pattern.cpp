#include "text/pattern.h"

#include "base/error.h"
#include "text/text_limits.h"
#include "text/unicode.h"

namespace trireme::text {
namespace {

/// Takes matches in order and fills the gaps between them.
class Spans {
 public:
  explicit Spans(const std::function<void(const Span&)>& on_span) : on_span_(on_span) {}
  void add_match(std::size_t begin, std::size_t end) {
    if (begin > end_) on_span_({end_, begin, false});
    on_span_({begin, end, true});
    end_ = end;
  }
  void finish(std::size_t size) {
    if (end_ < size) on_span_({end_, size, false});
  }

 private:
  std::size_t end_ = 0;
  const std::function<void(const Span&)>& on_span_;
};

void find_in(std::string_view text, const std::string& literal, StepBudget&, Spans& spans) {
  if (literal.empty()) return;
  for (std::size_t found = text.find(literal); found != std::string_view::npos;
       found = text.find(literal, found + literal.size())) {
    spans.add_match(found, found + literal.size());
  }
}

void find_in(std::string_view text, Scanner scanner, StepBudget&, Spans& spans) {
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t end = scanner(text, position);
    if (end > position) {
      spans.add_match(position, end);
      position = end;
    } else {
      next_code_point(text, position);
    }
  }
}

void find_in(std::string_view text, const Regex& regex, StepBudget& budget, Spans& spans) {
  Regex::Search search(regex, budget);
  std::size_t last_end = std::string_view::npos;
  for (std::size_t position = 0; position <= text.size();) {
    const auto found = search.match_at(text, position);
    // An empty match right behind the last match does not count: the search would stand still.
    if (found && !(found->begin == found->end && found->end == last_end)) {
      spans.add_match(found->begin, found->end);
      last_end = found->end;
      if (found->end > position) {
        position = found->end;
        continue;
      }
    }
    if (position == text.size()) break;
    next_code_point(text, position);
  }
}

}  // namespace

Pattern Pattern::from_json(const JsonField& field) {
  if (const JsonField literal = field.at("String"); !literal.is_null()) {
    return Pattern(literal.string());
  }
  const JsonField regex = field.at("Regex");
  if (regex.is_null()) field.refuse("expected {\"String\": ...} or {\"Regex\": ...}");
  if (const Scanner scanner = known_scanner(regex.string())) return Pattern(scanner);
  return Pattern(Regex(regex.string(), regex.path()));
}

void Pattern::find(std::string_view text, StepBudget& budget,
                   const std::function<void(const Span&)>& on_span) const {
  Spans spans(on_span);
  std::visit([&](const auto& pattern) { find_in(text, pattern, budget, spans); }, pattern_);
  spans.finish(text.size());
}

std::string Pattern::replace(std::string_view text, std::string_view replacement,
                             StepBudget& budget) const {
  std::string out;
  out.reserve(text.size());
  find(text, budget, [&](const Span& span) {
    out += span.is_match ? replacement : text.substr(span.begin, span.end - span.begin);
    check_text_size(out.size());
  });
  return out;
}

}  // namespace trireme::text
