#include "text/pre_tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/pattern.h"
#include "text/text_limits.h"

namespace trireme::text {
namespace {

using Piece = PreTokenized::Piece;

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

SplitBehavior behavior_from_json(const JsonField& field) {
  const std::string& name = field.string();
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  field.refuse(cat("unknown behavior \"", name,
                   "\", expected Removed, Isolated, MergedWithPrevious, MergedWithNext or "
                   "Contiguous"));
}

/// Appends the pieces that `spans` (of the text from `offset` on) make.
void append_pieces(const std::vector<Span>& spans, SplitBehavior behavior, std::size_t offset,
                   std::vector<Piece>& pieces) {
  const std::size_t first = pieces.size();
  bool previous_is_match = false;
  for (std::size_t idx = 0; idx < spans.size(); ++idx) {
    const Span& span = spans[idx];
    const bool has_piece = pieces.size() > first;
    bool joins_last = false;
    switch (behavior) {
      case SplitBehavior::removed:
        if (span.is_match) continue;
        break;
      case SplitBehavior::isolated:
        break;
      case SplitBehavior::merged_with_previous:
        joins_last = has_piece && span.is_match && !previous_is_match;
        break;
      case SplitBehavior::merged_with_next:
        // A match joins the text behind it; of several matches in a row only the last does.
        joins_last = has_piece && previous_is_match && !span.is_match;
        break;
      case SplitBehavior::contiguous:
        joins_last = has_piece && span.is_match == previous_is_match;
        break;
    }
    if (joins_last) {
      pieces.back().end = offset + span.end;
    } else {
      pieces.push_back({offset + span.begin, offset + span.end});
    }
    previous_is_match = span.is_match;
  }
  const auto is_empty = [](const Piece& piece) { return piece.begin == piece.end; };
  pieces.erase(
      std::remove_if(pieces.begin() + static_cast<std::ptrdiff_t>(first), pieces.end(), is_empty),
      pieces.end());
}

std::string_view text_of(const PreTokenized& section, const Piece& piece) {
  return section.text.substr(piece.begin, piece.end - piece.begin);
}

/// Rewrites every piece; `rewrite(piece, out)` appends what it becomes.
template <typename Rewrite>
void rewrite_pieces(PreTokenized& section, Rewrite rewrite) {
  std::string out;
  out.reserve(section.text.size() + 16);
  for (Piece& piece : section.pieces) {
    const std::size_t begin = out.size();
    rewrite(piece, out);
    check_text_size(out.size());
    piece = {begin, out.size()};
  }
  section.owned = std::move(out);
  section.text = section.owned;
}

class SplitStep : public PreTokenizer {
 public:
  SplitStep(Pattern pattern, SplitBehavior behavior, bool invert = false)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void apply(PreTokenized& section, StepBudget& budget) const override {
    std::vector<Piece> pieces;
    std::vector<Span> spans;
    for (const Piece& piece : section.pieces) {
      pattern_.find(text_of(section, piece), budget, spans);
      if (invert_) {
        for (Span& span : spans) span.is_match = !span.is_match;
      }
      append_pieces(spans, behavior_, piece.begin, pieces);
    }
    section.pieces = std::move(pieces);
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

/// Puts a blank before every piece that does not begin with one.
class PrefixSpaceStep : public PreTokenizer {
 public:
  void apply(PreTokenized& section, StepBudget&) const override {
    rewrite_pieces(section, [&](const Piece& piece, std::string& out) {
      const std::string_view text = text_of(section, piece);
      if (!text.starts_with(' ')) out += ' ';
      out += text;
    });
  }
};

/// Turns text into bytes. Before other steps they are written with the byte alphabet, as those
/// steps expect; as the last step it leaves the text as it is, and the model takes its bytes.
class ByteLevelStep : public PreTokenizer {
 public:
  explicit ByteLevelStep(bool is_last) : is_last_(is_last) {}

  void apply(PreTokenized& section, StepBudget&) const override {
    if (is_last_) {
      section.is_byte_level = true;
      return;
    }
    rewrite_pieces(section, [&](const Piece& piece, std::string& out) {
      append_byte_characters(out, text_of(section, piece));
    });
  }

 private:
  bool is_last_;
};

class MetaspaceStep : public PreTokenizer {
 public:
  enum class Prepend { always, first, never };

  MetaspaceStep(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)),
        blank_(std::string(" ")),
        splitter_(Pattern(replacement_), SplitBehavior::merged_with_next),
        prepend_(prepend),
        split_(split) {}

  void apply(PreTokenized& section, StepBudget& budget) const override {
    rewrite_pieces(section, [&](const Piece& piece, std::string& out) {
      const std::string text = blank_.replace(text_of(section, piece), replacement_, budget);
      const bool is_first = section.begins_input && piece.begin == 0;
      const bool may_prepend =
          prepend_ == Prepend::always || (prepend_ == Prepend::first && is_first);
      if (may_prepend && !text.starts_with(replacement_)) out += replacement_;
      out += text;
    });
    if (split_) splitter_.apply(section, budget);
  }

 private:
  std::string replacement_;
  Pattern blank_;
  SplitStep splitter_;
  Prepend prepend_;
  bool split_;
};

MetaspaceStep::Prepend prepend_from_json(const JsonField& field) {
  const JsonField scheme = field.at("prepend_scheme");
  if (scheme.is_null()) {
    // Older files say add_prefix_space instead.
    return field.at("add_prefix_space").boolean_or(true) ? MetaspaceStep::Prepend::always
                                                         : MetaspaceStep::Prepend::never;
  }
  if (scheme.string() == "always") return MetaspaceStep::Prepend::always;
  if (scheme.string() == "first") return MetaspaceStep::Prepend::first;
  if (scheme.string() == "never") return MetaspaceStep::Prepend::never;
  scheme.refuse(cat("unknown scheme \"", scheme.string(), "\", expected always, first or never"));
}

using Steps = std::vector<std::unique_ptr<PreTokenizer>>;

void append_steps(const JsonField& field, bool is_last, Steps& steps) {
  const auto add_split = [&](Pattern pattern, SplitBehavior behavior, bool invert = false) {
    steps.push_back(std::make_unique<SplitStep>(std::move(pattern), behavior, invert));
  };
  const std::string& type = field.at("type").string();
  if (type == "Sequence") {
    const std::vector<JsonField> parts = field.at("pretokenizers").elements();
    for (std::size_t idx = 0; idx < parts.size(); ++idx) {
      append_steps(parts[idx], is_last && idx + 1 == parts.size(), steps);
    }
  } else if (type == "Split") {
    add_split(Pattern::from_json(field.at("pattern")), behavior_from_json(field.at("behavior")),
              field.at("invert").boolean_or(false));
  } else if (type == "ByteLevel") {
    if (field.at("add_prefix_space").boolean())
      steps.push_back(std::make_unique<PrefixSpaceStep>());
    if (field.at("use_regex").boolean_or(true)) {
      add_split(Pattern(known_scanner(kGpt2Pattern)), SplitBehavior::isolated);
    }
    steps.push_back(std::make_unique<ByteLevelStep>(is_last));
  } else if (type == "Metaspace") {
    steps.push_back(std::make_unique<MetaspaceStep>(field.at("replacement").character(),
                                                    prepend_from_json(field),
                                                    field.at("split").boolean_or(true)));
  } else if (type == "Digits") {
    add_split(Pattern(scan_one_number), field.at("individual_digits").boolean()
                                            ? SplitBehavior::isolated
                                            : SplitBehavior::contiguous);
  } else if (type == "Punctuation") {
    const JsonField behavior = field.at("behavior");
    add_split(Pattern(scan_one_punctuation),
              behavior.is_null() ? SplitBehavior::isolated : behavior_from_json(behavior));
  } else if (type == "Whitespace") {
    add_split(Pattern(scan_words), SplitBehavior::removed, true);
  } else if (type == "WhitespaceSplit") {
    add_split(Pattern(scan_one_space), SplitBehavior::removed);
  } else {
    field.refuse(cat("unknown pre-tokenizer \"", type,
                     "\", known are Sequence, Split, ByteLevel, Metaspace, Digits, Punctuation, "
                     "Whitespace and WhitespaceSplit"));
  }
}

}  // namespace

std::vector<std::unique_ptr<PreTokenizer>> make_pre_tokenizers(const JsonField& field) {
  Steps steps;
  if (!field.is_null()) append_steps(field, true, steps);
  return steps;
}

}  // namespace trireme::text
