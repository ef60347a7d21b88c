#include "text/pre_tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/pattern.h"
#include "text/shortened.h"
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
  field.refuse(cat("unknown behavior \"", shortened(name),
                   "\", expected Removed, Isolated, MergedWithPrevious, MergedWithNext or "
                   "Contiguous"));
}

/// Appends the pieces that the spans of a text make, one span after the other.
class PieceBuilder {
 public:
  /// Spans are relative to `offset`.
  PieceBuilder(SplitBehavior behavior, std::size_t offset, std::vector<Piece>& pieces)
      : behavior_(behavior), offset_(offset), pieces_(pieces) {}

  void add(const Span& span) {
    if (!(behavior_ == SplitBehavior::removed && span.is_match)) {
      if (has_piece_ && joins_last(span)) {
        pieces_.back() = {pieces_.back().begin, offset_ + span.end};
      } else {
        drop_empty();
        pieces_.push_back({offset_ + span.begin, offset_ + span.end});
      }
      has_piece_ = true;
    }
    previous_is_match_ = span.is_match;
  }

  /// Call it behind the last span: an empty match may have made an empty piece.
  void drop_empty() {
    if (has_piece_ && pieces_.back().begin == pieces_.back().end) pieces_.pop_back();
  }

 private:
  bool joins_last(const Span& span) const {
    switch (behavior_) {
      case SplitBehavior::removed:
      case SplitBehavior::isolated:
        return false;
      case SplitBehavior::merged_with_previous:
        return span.is_match && !previous_is_match_;
      case SplitBehavior::merged_with_next:
        // A match joins the text behind it; of several matches in a row only the last does.
        return previous_is_match_ && !span.is_match;
      case SplitBehavior::contiguous:
        return span.is_match == previous_is_match_;
    }
    return false;
  }

  SplitBehavior behavior_;
  std::size_t offset_;
  std::vector<Piece>& pieces_;
  bool has_piece_ = false;
  bool previous_is_match_ = false;
};

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
    for (const Piece& piece : section.pieces) {
      PieceBuilder builder(behavior_, piece.begin, pieces);
      pattern_.find(text_of(section, piece), budget, [&](const Span& span) {
        builder.add({span.begin, span.end, span.is_match != invert_});
      });
      builder.drop_empty();
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
  scheme.refuse(
      cat("unknown scheme \"", shortened(scheme.string()), "\", expected always, first or never"));
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
    field.refuse(cat("unknown pre-tokenizer \"", shortened(type),
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
