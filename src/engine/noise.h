#pragma once

#include <array>
#include <cstdint>

#include "base/mix.h"

namespace trireme::engine {

/// Noise without state: a draw depends on (seed, index, sample, position, id) alone, so batching,
/// order, restart, preemption and rank count cannot change it (DESIGN section 5; Philox4x32-10 of
/// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
/// The key of one sequence: index is the prompt's global row number.
std::uint64_t noise_key(std::uint64_t seed, std::uint64_t index, std::uint64_t sample);

/// The four words for ids 4·quad to 4·quad + 3.
std::array<std::uint32_t, 4> noise_words(std::uint64_t key, std::uint64_t position,
                                         std::uint32_t quad);

/// The words for the kNoiseBlock ids from 4·first_quad on, in order of ids.
inline constexpr int kNoiseBlock = 64;
void noise_block(std::uint64_t key, std::uint64_t position, std::uint32_t first_quad,
                 std::uint32_t* words);

/// Gumbel noise of one word: computed in double, rounded once to float32.
float gumbel(std::uint32_t word);

/// No noise is as large (the largest is 16.64).
inline constexpr float kNoiseBound = 17.0F;

/// Noise of one id.
float noise_of(std::uint64_t key, std::uint64_t position, std::int32_t id);

}  // namespace trireme::engine
