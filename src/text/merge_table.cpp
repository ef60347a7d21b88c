#include "text/merge_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>

#include "base/error.h"
#include "text/hashing.h"

namespace trireme::text {
namespace {

constexpr std::uint64_t kFree = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kShortSymbols = 24;

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

}  // namespace

MergeTable::MergeTable(std::size_t max_merges)
    : slots_(std::bit_ceil(max_merges + max_merges / 2 + 1), Slot{kFree, {}}),
      seed_(random_hash_seed()) {}

std::size_t MergeTable::slot_of(std::uint64_t pair) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot_idx = hash_number(pair, seed_) & mask;
  while (slots_[slot_idx].pair != pair && slots_[slot_idx].pair != kFree) {
    slot_idx = (slot_idx + 1) & mask;
  }
  return slot_idx;
}

void MergeTable::add(std::int32_t left, std::int32_t right, Merge merge) {
  TRIREME_CHECK(left >= 0 && right >= 0, left, " ", right);
  const std::uint64_t pair = pair_of(left, right);
  slots_[slot_of(pair)] = {pair, merge};
}

MergeTable::Merge MergeTable::find(std::int32_t left, std::int32_t right) const {
  return slots_[slot_of(pair_of(left, right))].merge;
}

void MergeTable::encode(std::span<const std::int32_t> symbols, Scratch& scratch,
                        std::vector<std::int32_t>& ids, std::size_t chunk_symbols) const {
  TRIREME_CHECK(symbols.size() < kNone, symbols.size());
  TRIREME_CHECK(chunk_symbols >= 4, chunk_symbols);
  if (symbols.size() <= kShortSymbols && symbols.size() <= chunk_symbols) {
    return encode_short(symbols, ids);
  }
  const std::size_t first = ids.size();
  while (!encode_in_chunks(symbols, chunk_symbols, scratch, ids)) {
    ids.resize(first);
    chunk_symbols *= 8;
  }
}

bool MergeTable::encode_in_chunks(std::span<const std::int32_t> symbols, std::size_t chunk_symbols,
                                  Scratch& scratch, std::vector<std::int32_t>& ids) const {
  std::vector<Token>& left = scratch.left_tokens;
  std::vector<Token>& right = scratch.right_tokens;
  std::size_t begin = 0;
  std::size_t end = std::min(chunk_symbols, symbols.size());
  encode_chunk(symbols, begin, end, scratch, left);
  while (end < symbols.size()) {
    // The next chunk begins with a token of this one, three quarters along.
    const std::size_t target = begin + (end - begin) / 4 * 3;
    auto left_it = std::find_if(left.begin() + 1, left.end(),
                                [&](const Token& token) { return token.begin >= target; });
    if (left_it == left.end()) return false;
    end = std::min(left_it->begin + chunk_symbols, symbols.size());
    encode_chunk(symbols, left_it->begin, end, scratch, right);
    auto right_it = right.begin();
    while (left_it != left.end() && right_it != right.end() && *left_it != *right_it) {
      (left_it->begin <= right_it->begin ? left_it : right_it)++;
    }
    if (left_it == left.end() || right_it == right.end()) return false;
    std::for_each(left.begin(), left_it, [&](const Token& token) { ids.push_back(token.id); });
    begin = right_it->begin;
    right.erase(right.begin(), right_it);
    std::swap(left, right);
  }
  for (const Token& token : left) ids.push_back(token.id);
  return true;
}

void MergeTable::encode_short(std::span<const std::int32_t> symbols,
                              std::vector<std::int32_t>& ids) const {
  std::array<std::int32_t, kShortSymbols> tokens;
  std::array<Merge, kShortSymbols> merges;  // of each token with the next
  std::size_t num_tokens = symbols.size();
  std::copy(symbols.begin(), symbols.end(), tokens.begin());
  for (std::size_t idx = 0; idx + 1 < num_tokens; ++idx) {
    merges[idx] = find(tokens[idx], tokens[idx + 1]);
  }
  while (num_tokens > 1) {
    std::size_t best = 0;
    for (std::size_t idx = 1; idx + 1 < num_tokens; ++idx) {
      if (merges[idx].rank < merges[best].rank) best = idx;
    }
    if (merges[best].rank == kNoRank) break;
    tokens[best] = merges[best].id;
    std::copy(tokens.begin() + best + 2, tokens.begin() + num_tokens, tokens.begin() + best + 1);
    std::copy(merges.begin() + best + 1, merges.begin() + num_tokens - 1, merges.begin() + best);
    --num_tokens;
    if (best > 0) merges[best - 1] = find(tokens[best - 1], tokens[best]);
    if (best + 1 < num_tokens) merges[best] = find(tokens[best], tokens[best + 1]);
  }
  ids.insert(ids.end(), tokens.begin(), tokens.begin() + num_tokens);
}

void MergeTable::encode_chunk(std::span<const std::int32_t> symbols, std::size_t begin,
                              std::size_t end, Scratch& scratch, std::vector<Token>& tokens) const {
  auto& row = scratch.symbols;
  auto& queue = scratch.queue;
  const auto num_symbols = static_cast<std::uint32_t>(end - begin);
  row.resize(num_symbols);
  queue.clear();
  for (std::uint32_t idx = 0; idx < num_symbols; ++idx) {
    const bool is_last = idx + 1 == num_symbols;
    row[idx] = {symbols[begin + idx],
                is_last ? Merge{} : find(symbols[begin + idx], symbols[begin + idx + 1]), idx - 1,
                is_last ? kNone : idx + 1};
    if (row[idx].merge.rank != kNoRank) {
      queue.push_back(static_cast<std::uint64_t>(row[idx].merge.rank) << 32 | idx);
    }
  }
  const std::greater<> lowest_first;
  std::make_heap(queue.begin(), queue.end(), lowest_first);
  const auto set_merge = [&](std::uint32_t idx, Merge merge) {
    row[idx].merge = merge;
    if (merge.rank == kNoRank) return;
    queue.push_back(static_cast<std::uint64_t>(merge.rank) << 32 | idx);
    std::push_heap(queue.begin(), queue.end(), lowest_first);
  };
  while (!queue.empty()) {
    const std::uint64_t top = queue.front();
    std::pop_heap(queue.begin(), queue.end(), lowest_first);
    queue.pop_back();
    const auto idx = static_cast<std::uint32_t>(top);
    // An entry is stale when its pair is no more: a pair has one rank, and a merge one pair.
    if (row[idx].merge.rank != top >> 32) continue;
    const std::uint32_t eaten = row[idx].next;
    row[idx].id = row[idx].merge.id;
    row[idx].next = row[eaten].next;
    row[eaten].merge = {};
    if (row[idx].next != kNone) row[row[idx].next].previous = idx;
    if (idx > 0) {
      const std::uint32_t previous = row[idx].previous;
      set_merge(previous, find(row[previous].id, row[idx].id));
    }
    const std::uint32_t next = row[idx].next;
    set_merge(idx, next == kNone ? Merge{} : find(row[idx].id, row[next].id));
  }
  tokens.clear();
  for (std::uint32_t idx = 0; idx != kNone; idx = row[idx].next) {
    tokens.push_back({begin + idx, row[idx].id});
  }
}

}  // namespace trireme::text
