#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "text/bpe.h"
#include "text/vocabulary.h"

namespace trireme::text {

/// A tokenizer.json, read: the two large parts straight into lists, the rest as JSON.
struct TokenizerFile {
  TokenList vocabulary;  ///< model.vocab; ids in [0, kMaxTokens)
  MergeList merges;      ///< model.merges
  bool has_vocabulary = false;
  bool has_merges = false;
  Json rest;  ///< without the two; an object
};

/// Reads the text of a tokenizer.json. Throws Error(checkpoint) that begins with `name`: not JSON,
/// too long, nested too deep, a key twice, an id out of range, a merge that is no pair.
TokenizerFile read_tokenizer_file(std::string_view text, const std::string& name);

}  // namespace trireme::text
