#include "text/vocabulary.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "text/hashing.h"
#include "text/shortened.h"

namespace trireme::text {

Vocabulary::Vocabulary(TokenList list, const std::string& where)
    : list_(std::move(list)),
      slots_(std::bit_ceil(2 * list_.entries.size() + 1)),
      seed_(random_hash_seed()) {
  std::int32_t max_id = -1;
  for (const auto& entry : list_.entries) max_id = std::max(max_id, entry.id);
  entry_of_id_.assign(static_cast<std::size_t>(max_id + 1), -1);
  for (std::size_t idx = 0; idx < list_.entries.size(); ++idx) {
    const TokenList::Entry& entry = list_.entries[idx];
    const std::string_view token = list_.token(entry);
    const std::uint64_t hash = hash_bytes(token, seed_);
    Slot& slot = slots_[slot_of(token, hash)];
    if (slot.entry_idx >= 0)
      fail(ErrorKind::checkpoint, cat(where, ": token \"", shortened(token), "\" stands twice"));
    slot = {static_cast<std::uint32_t>(hash), static_cast<std::int32_t>(idx)};
    if (entry_of_id_[entry.id] >= 0) {
      fail(ErrorKind::checkpoint,
           cat(where, ": id ", entry.id, " stands twice, the second time for \"", shortened(token),
               "\""));
    }
    entry_of_id_[entry.id] = static_cast<std::int32_t>(idx);
    max_token_bytes_ = std::max<std::size_t>(max_token_bytes_, entry.num_bytes);
  }
}

std::size_t Vocabulary::slot_of(std::string_view token, std::uint64_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot_idx = (hash >> 32) & mask;
  while (true) {
    const Slot& slot = slots_[slot_idx];
    if (slot.entry_idx < 0) return slot_idx;
    if (slot.hash == static_cast<std::uint32_t>(hash) &&
        list_.token(list_.entries[slot.entry_idx]) == token) {
      return slot_idx;
    }
    slot_idx = (slot_idx + 1) & mask;
  }
}

std::optional<std::int32_t> Vocabulary::find(std::string_view token) const {
  const Slot& slot = slots_[slot_of(token, hash_bytes(token, seed_))];
  if (slot.entry_idx < 0) return std::nullopt;
  return list_.entries[slot.entry_idx].id;
}

std::optional<std::string_view> Vocabulary::token(std::int32_t id) const {
  if (id < 0 || id >= num_ids() || entry_of_id_[id] < 0) return std::nullopt;
  return list_.token(list_.entries[entry_of_id_[id]]);
}

}  // namespace trireme::text
