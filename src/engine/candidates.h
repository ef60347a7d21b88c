#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/sampling_params.h"

namespace trireme::engine {

/// An id that may be drawn. Travels between shards as it is.
struct Candidate {
  float value = 0;       ///< what it is ranked by
  std::int32_t id = -1;  ///< -1: none
  float logit = 0;       ///< the model's own
};

/// The order of all sorting: value descending, NaN below all, id ascending.
bool ranks_before(const Candidate& a, const Candidate& b);

/// Memory that the selection in one row needs; kept from row to row.
struct SelectionScratch {
  std::vector<float> block_maxima, sorted_maxima;
  std::vector<Candidate> pool;
};

/// The min(count, values.size()) first ids of a row in the order above, sorted. values[i] belongs
/// to id first_id + i. Valid until the scratch is used again; `logit` is not set.
std::span<Candidate> select_best(std::span<const float> values, std::int32_t first_id,
                                 std::size_t count, SelectionScratch& scratch);

/// The sorted best of one shard; `is_all`: the shard has no other id.
struct SortedList {
  std::span<const Candidate> candidates;
  bool is_all = false;
};

/// What sorted lists of shards tell about the whole vocabulary: its first candidates, at most
/// `limit`, as far as no shard can hold a better one that it did not list.
///   returns  whether that is the whole vocabulary
bool merge_sorted(std::span<const SortedList> lists, std::size_t limit,
                  std::vector<Candidate>& merged);

/// How many of the sorted candidates top_p and min_p keep (top_k is applied before); at least one
/// of a list that is not empty. Values are logits / temperature; `mass` is Σ exp(value − largest)
/// over what top_k kept, also beyond the list. None: the list ends before that is known.
std::optional<std::size_t> num_kept(std::span<const Candidate> sorted, bool is_all, double mass,
                                    const SamplingParams& params);

/// Σ exp(value − largest) of sorted candidates.
double mass_of(std::span<const Candidate> sorted);

/// The candidate with the largest value + noise, the lowest id on a tie. `sorted` is not empty.
Candidate draw(std::span<const Candidate> sorted, std::uint64_t key, std::int64_t position);

}  // namespace trireme::engine
