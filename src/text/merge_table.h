#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace trireme::text {

/// The merges of a byte pair encoding, and the encoding itself: as long as there are two neighbours
/// with a merge, the pair of lowest rank (of several the leftmost) becomes one token.
class MergeTable {
 public:
  static constexpr std::uint32_t kNoRank = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::size_t kChunkSymbols = 2048;

  struct Merge {
    std::uint32_t rank = kNoRank;
    std::int32_t id = -1;
  };

  /// Room for `max_merges`.
  explicit MergeTable(std::size_t max_merges);

  /// The pair becomes `merge.id`; a pair that is there already takes the new merge.
  void add(std::int32_t left, std::int32_t right, Merge merge);
  /// The merge of a pair; rank kNoRank if it has none.
  Merge find(std::int32_t left, std::int32_t right) const;

  /// Memory that encodings use again, one for each thread.
  struct Scratch;

  /// Appends the encoding of `symbols` (ids) to `ids`. Time O(n log n): what is longer than
  /// `chunk_symbols` is encoded in overlapping chunks.
  void encode(std::span<const std::int32_t> symbols, Scratch& scratch,
              std::vector<std::int32_t>& ids, std::size_t chunk_symbols = kChunkSymbols) const;

 private:
  struct Slot {
    std::uint64_t pair = 0;
    Merge merge;
  };
  struct Token {
    std::size_t begin = 0;  // first symbol
    std::int32_t id = -1;
    bool operator==(const Token&) const = default;
  };

  std::size_t slot_of(std::uint64_t pair) const;
  /// Appends the encoding, put together from chunks that overlap by a quarter. A row of tokens is
  /// the encoding of its symbols exactly if every two neighbours are that of theirs; so chunks fit
  /// together where they have the same token at the same place. False if two chunks meet nowhere:
  /// they must be longer then, and all of `ids` is void, as what comes later may change what came
  /// before.
  bool encode_in_chunks(std::span<const std::int32_t> symbols, std::size_t chunk_symbols,
                        Scratch& scratch, std::vector<std::int32_t>& ids) const;
  void encode_short(std::span<const std::int32_t> symbols, std::vector<std::int32_t>& ids) const;
  /// The encoding of symbols [begin, end) alone.
  void encode_chunk(std::span<const std::int32_t> symbols, std::size_t begin, std::size_t end,
                    Scratch& scratch, std::vector<Token>& tokens) const;

  std::vector<Slot> slots_;
  std::uint64_t seed_;
};

struct MergeTable::Scratch {
  struct Symbol {
    std::int32_t id = -1;
    Merge merge;  ///< with the next symbol
    std::uint32_t previous = 0;
    std::uint32_t next = 0;
  };
  std::vector<Symbol> symbols;
  std::vector<std::uint64_t> queue;  ///< rank and position of merges, a heap with the lowest first
  std::vector<Token> left_tokens;
  std::vector<Token> right_tokens;
};

}  // namespace trireme::text
