#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "engine/candidates.h"

/// Passes over one row of logits of a shard, written for the compiler's vectoriser. NaN counts as
/// −inf everywhere. values[i] belongs to id first_id + i.
namespace trireme::engine {

/// The largest value and its lowest id; id -1 if nothing is above −inf. `logit` is not set.
Candidate largest_of(std::span<const float> values, std::int32_t first_id);

/// The same for value + noise of (key, position, id).
Candidate largest_with_noise(std::span<const float> values, std::int32_t first_id,
                             std::uint64_t key, std::int64_t position);

/// Largest value of each `block` (a multiple of 16) values; the last may be shorter.
void block_maxima(std::span<const float> values, std::size_t block, float* maxima);

bool has_finite(std::span<const float> values);

/// log Σ exp(value) as largest value and Σ exp(value − largest); of a row that reaches +inf the sum
/// counts what is +inf.
struct LogSumExp {
  float largest = -std::numeric_limits<float>::infinity();
  double sum = 0;

  /// Adds another shard's.
  void add(const LogSumExp& other);
  /// Log-probability of an id with that logit.
  float logprob(float logit) const;
};
LogSumExp log_sum_exp(std::span<const float> values);

}  // namespace trireme::engine
