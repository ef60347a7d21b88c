#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_field.h"

namespace trireme::text {

/// A token that is recognised in the text itself, before the model sees it.
struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool single_word = false;  ///< not inside a word
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< and behind it
  bool normalized = false;   ///< looked for in the normalized text
  bool special = false;      ///< left out when decoding
};

/// "added_tokens" of tokenizer.json; null gives none. Throws Error(checkpoint).
std::vector<AddedToken> read_added_tokens(const JsonField& field);

/// Finds added tokens in a text: at each place the longest, from left to right.
class AddedTokenFinder {
 public:
  /// A part of the text: an added token with its id, or text between them with -1.
  struct Section {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::int32_t id = -1;
  };

  /// Looks for those of `tokens` that are `normalized` or those that are not; `texts` holds for
  /// each of the tokens what stands for it in the text.
  AddedTokenFinder(const std::vector<AddedToken>& tokens, const std::vector<std::string>& texts,
                   bool normalized);

  bool is_empty() const { return tokens_.empty(); }
  /// Appends the sections of `text` (valid UTF-8) to `sections`.
  void find(std::string_view text, std::vector<Section>& sections) const;

 private:
  struct Node {
    char byte = 0;
    std::int32_t token_idx = -1;
    std::int32_t first_child = -1;
    std::int32_t next_sibling = -1;
  };
  struct Found {
    std::size_t end = 0;
    std::int32_t token_idx = -1;
  };

  void insert(std::string_view content, std::int32_t token_idx);
  std::int32_t child_of(std::int32_t node_idx, char byte) const;
  Found longest_at(std::string_view text, std::size_t position) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;                // a trie; node 0 is its root
  std::vector<std::int32_t> first_nodes_;  // the root's child by byte, -1: none
};

}  // namespace trireme::text
