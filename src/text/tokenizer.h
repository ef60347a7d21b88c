#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/decoder.h"

namespace trireme::text {

/// Text to token ids and back, as a published tokenizer.json defines it. Immutable after loading,
/// so any number of threads may use one.
class Tokenizer {
 public:
  /// Loads DIR/tokenizer.json. Throws Error(missing) if it is not there, Error(checkpoint) if it is
  /// broken or asks for something unknown (named).
  static Tokenizer load(const std::string& model_dir);
  /// The same from the file's text; `name` is what errors call it.
  static Tokenizer parse(std::string_view json, const std::string& name);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of `text`; with `add_special_tokens` what the post-processor adds is added. Added and
  /// special tokens inside the text are recognised either way. Throws Error(input) on bad UTF-8
  /// (says the byte offset) and when a pattern exceeds its limits on this text.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens) const;

  /// The bytes of a whole sequence; special tokens are left out if `skip_special_tokens`. Bytes
  /// that are no UTF-8 are kept as they are. Unknown ids give nothing.
  std::string decode(const std::vector<std::int32_t>& ids, bool skip_special_tokens) const;

  std::optional<std::int32_t> id_of(std::string_view token) const;
  /// Largest id + 1 over vocabulary and added tokens.
  std::int32_t num_tokens() const;

 private:
  friend class TextStream;
  struct Model;
  explicit Tokenizer(std::unique_ptr<const Model> model);
  std::unique_ptr<const Model> model_;
};

/// Decodes one sequence token by token (special tokens left out). What push() and finish() return,
/// put together, is what Tokenizer::decode gives for all tokens.
class TextStream {
 public:
  /// The tokenizer must outlive the stream.
  explicit TextStream(const Tokenizer& tokenizer);

  /// The bytes that are certain after this token: never ends inside a UTF-8 character.
  std::string push(std::int32_t id);
  /// What was held back.
  std::string finish();

 private:
  std::string take_complete(bool is_end);

  const Tokenizer* tokenizer_;
  DecoderState state_;
  std::string pending_;
};

}  // namespace trireme::text
