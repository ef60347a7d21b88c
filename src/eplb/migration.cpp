#include "eplb/migration.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/error.h"

namespace trireme::eplb {

std::vector<SlotCopy> plan_migration(std::span<const std::int32_t> old,
                                     std::span<const std::int32_t> placed,
                                     std::int32_t slots_per_rank) {
  TRIREME_CHECK(old.size() == placed.size(), old.size(), " and ", placed.size(), " slots");
  TRIREME_CHECK(slots_per_rank > 0 && old.size() % slots_per_rank == 0, slots_per_rank);
  const auto num_slots = static_cast<std::int32_t>(old.size());
  std::map<std::int32_t, std::vector<std::int32_t>> sources;  // expert -> old slots, ascending
  for (std::int32_t slot = 0; slot < num_slots; ++slot) sources[old[slot]].push_back(slot);
  std::vector<std::int64_t> sent(num_slots / slots_per_rank, 0);  // [ranks] copies to other ranks
  std::vector<SlotCopy> copies;
  for (std::int32_t slot = 0; slot < num_slots; ++slot) {
    const std::int32_t expert = placed[slot], rank = slot / slots_per_rank;
    if (expert < 0 || expert == old[slot]) continue;
    const auto found = sources.find(expert);
    if (found == sources.end()) {
      fail(ErrorKind::config, cat("slot ", slot, " shall hold expert ", expert,
                                  ", which no slot of the placement before has"));
    }
    const std::int32_t source = *std::ranges::min_element(found->second, {}, [&](auto from) {
      const std::int32_t from_rank = from / slots_per_rank;
      return std::tuple(from_rank != rank, sent[from_rank], from);
    });
    const std::int32_t from_rank = source / slots_per_rank;
    if (from_rank != rank) ++sent[from_rank];
    copies.push_back({.expert = expert,
                      .from_slot = source,
                      .to_slot = slot,
                      .from_rank = from_rank,
                      .to_rank = rank});
  }
  return copies;
}

}  // namespace trireme::eplb
