#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_field.h"
#include "text/regex.h"

namespace trireme::text {

/// A section of the input between added tokens, cut into pieces that the model sees one by one.
struct PreTokenized {
  /// Offsets in `text`, which is shorter than kMaxTextBytes.
  struct Piece {
    Piece(std::size_t first, std::size_t last)
        : begin(static_cast<std::uint32_t>(first)), end(static_cast<std::uint32_t>(last)) {}

    std::uint32_t begin;
    std::uint32_t end;
  };

  std::string_view text;  ///< valid UTF-8
  std::string owned;      ///< holds `text` once a step has changed it
  std::vector<Piece> pieces;
  bool begins_input = false;   ///< the section stands at the begin of the whole input
  bool is_byte_level = false;  ///< the model is to see bytes, not characters
};

/// One step of pre-tokenization.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Throws Error(input) if an expression exceeds its limits on this text.
  virtual void apply(PreTokenized& section, StepBudget& budget) const = 0;
};

/// The steps of a "pre_tokenizer" of tokenizer.json, Sequences flattened: Split, ByteLevel,
/// Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit. Null gives none. Throws
/// Error(checkpoint) naming a type it does not know.
std::vector<std::unique_ptr<PreTokenizer>> make_pre_tokenizers(const JsonField& field);

}  // namespace trireme::text
