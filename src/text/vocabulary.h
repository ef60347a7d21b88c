#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::text {

/// Tokens and their ids as a file lists them, the strings one behind the other.
struct TokenList {
  struct Entry {
    std::size_t begin = 0;
    std::uint32_t num_bytes = 0;
    std::int32_t id = 0;
  };

  std::string bytes;
  std::vector<Entry> entries;

  void add(std::string_view token, std::int32_t id) {
    entries.push_back({bytes.size(), static_cast<std::uint32_t>(token.size()), id});
    bytes += token;
  }
  std::string_view token(const Entry& entry) const {
    return std::string_view(bytes).substr(entry.begin, entry.num_bytes);
  }
};

/// Token <-> id of a model. Tokens are strings as tokenizer.json writes them. Immutable.
class Vocabulary {
 public:
  /// Throws Error(checkpoint) that begins with `where` if a token or an id stands twice. Ids must
  /// be in [0, kMaxTokens).
  Vocabulary(TokenList list, const std::string& where);

  std::optional<std::int32_t> find(std::string_view token) const;
  /// The token with that id, none if there is none.
  std::optional<std::string_view> token(std::int32_t id) const;
  /// Largest id + 1.
  std::int32_t num_ids() const { return static_cast<std::int32_t>(entry_of_id_.size()); }
  std::size_t max_token_bytes() const { return max_token_bytes_; }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::int32_t entry_idx = -1;  // -1: free
  };

  /// The slot of `token`, or the free one where it belongs.
  std::size_t slot_of(std::string_view token, std::uint64_t hash) const;

  TokenList list_;
  std::vector<std::int32_t> entry_of_id_;  // -1: no token has this id
  std::vector<Slot> slots_;                // a power of two, at least half of them free
  std::uint64_t seed_;
  std::size_t max_token_bytes_ = 0;
};

}  // namespace trireme::text
