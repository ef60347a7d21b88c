#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_field.h"

namespace trireme::text {

/// Where the decoding of one sequence stands.
struct DecoderState {
  /// Of a step that works on the whole text.
  struct Step {
    std::string held;  ///< what more text may change
    std::size_t num_stripped = 0;
    bool is_at_begin = true;
  };
  bool is_first_token = true;
  std::vector<Step> steps;
};

/// The "decoder" of tokenizer.json: ids to bytes, token by token. What depends on one token alone
/// is computed when loading; what follows a Fuse works on the text as it comes. Immutable.
class Decoder {
 public:
  /// One id of the vocabulary; none for an id that is not there.
  using TokenOfId = std::function<std::optional<std::string_view>(std::int32_t)>;

  /// `field`: ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, and Sequences of them; null
  /// puts blanks between the tokens. Throws Error(checkpoint) naming a type it does not know.
  Decoder(const JsonField& field, std::int32_t num_ids, const TokenOfId& token_of_id);

  /// Appends what is certain after this token; an unknown id gives nothing.
  void push(std::int32_t id, DecoderState& state, std::string& out) const;
  /// Appends what was held back.
  void finish(DecoderState& state, std::string& out) const;

 private:
  /// A step on one token; is_first: the token begins the sequence.
  using TokenStep = std::function<std::string(std::string token, bool is_first)>;
  /// A step on the text behind a Fuse: strips up to `begin` and `end` times `pattern`, or replaces
  /// it.
  struct TextStep {
    enum class Kind { strip, replace } kind = Kind::strip;
    std::string pattern;
    std::string replacement;
    std::size_t begin = 0;
    std::size_t end = 0;
  };
  struct TokenSteps;
  struct TokenText {
    std::size_t begin = 0;
    std::uint32_t num_bytes = 0;
    bool is_known = false;
  };

  void read_steps(const JsonField& field, TokenSteps& steps);
  void read_strip(const JsonField& field, TokenSteps& steps);
  void read_replace(const JsonField& field, TokenSteps& steps);
  void read_metaspace(const JsonField& field, TokenSteps& steps);
  void add_token(std::string_view bytes, std::vector<TokenText>& texts);
  std::string run_text_steps(std::string text, bool is_end, DecoderState& state) const;

  std::vector<TextStep> text_steps_;
  std::string bytes_;
  std::vector<TokenText> texts_;        // by id
  std::vector<TokenText> first_texts_;  // of the first token; empty where it makes no difference
};

}  // namespace trireme::text
