#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/merge_table.h"
#include "text/vocabulary.h"

namespace trireme::text {

/// Merges as a file lists them, by rank: both parts of each, the strings one behind the other.
struct MergeList {
  struct Entry {
    std::size_t begin = 0;
    std::uint32_t left_bytes = 0;
    std::uint32_t right_bytes = 0;
  };

  std::string bytes;
  std::vector<Entry> entries;

  void add(std::string_view left, std::string_view right) {
    entries.push_back({bytes.size(), static_cast<std::uint32_t>(left.size()),
                       static_cast<std::uint32_t>(right.size())});
    bytes += left;
    bytes += right;
  }
};

/// The model "BPE" of tokenizer.json: pieces of text to token ids. Threads may share it.
class Bpe {
 public:
  struct Options {
    std::optional<std::string> unknown_token;  ///< stands for characters the vocabulary lacks
    bool fuse_unknown = false;                 ///< one for several in a row
    bool byte_fallback = false;                ///< such characters become tokens <0x00> to <0xFF>
    bool ignore_merges = false;                ///< a piece that is a token needs no merges
  };

  /// Throws Error(checkpoint) that begins with `where` if a merge or the unknown token names a
  /// token that the vocabulary lacks.
  Bpe(Vocabulary vocabulary, const MergeList& merges, const Options& options,
      const std::string& where);

  /// Memory that calls use again, one for each thread.
  struct Scratch {
    MergeTable::Scratch merge;
    std::vector<std::int32_t> symbols;
    std::string characters;
  };

  /// Appends the ids of one piece. With `is_byte_level` its bytes are what the vocabulary writes in
  /// the byte alphabet, else its characters (valid UTF-8) are the symbols.
  void encode(std::string_view piece, bool is_byte_level, Scratch& scratch,
              std::vector<std::int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Symbols;
  /// What is known about a token: whether its own encoding is the token itself.
  enum class OwnEncoding : std::uint8_t { unknown, itself, other };

  void add_merges(const MergeList& merges, const std::string& where);
  void add_symbol(std::string_view character, std::int32_t id, Symbols& symbols) const;
  void split_into_symbols(std::string_view piece, bool is_byte_level, Symbols& symbols) const;

  Vocabulary vocabulary_;
  MergeTable merges_;
  bool fuse_unknown_;
  bool ignore_merges_;
  bool byte_fallback_;
  std::int32_t unknown_id_ = -1;
  std::array<std::int32_t, 256> byte_ids_{};      // of the byte alphabet; -1: not in the vocabulary
  std::array<std::int32_t, 256> fallback_ids_{};  // of <0x00> to <0xFF>
  std::array<std::int32_t, 128> ascii_ids_{};
  // Filled in as tokens are met; any thread writes the same.
  std::unique_ptr<std::atomic<OwnEncoding>[]> own_encodings_;
};

}  // namespace trireme::text
