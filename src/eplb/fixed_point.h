#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace trireme::eplb {

/// Loads as integers whose sum is at least 2^44 and below 2^46 (all 0 without load), so that shares
/// of replicas and products with counts of slots are exact enough and never overflow. Loads that
/// are equal stay equal; rounding, for sums of 2^46 and more, is down. Throws Error(input) where a
/// load is negative.
std::vector<std::int64_t> to_fixed_point(std::span<const std::int64_t> loads);

/// The mean load of a rank in mean_units().
inline constexpr std::int64_t kMeanLoad = std::int64_t{1} << 24;

/// Loads in units of which the mean rank has kMeanLoad, rounded down (all 0 without load): small
/// enough that sums of squares of what ranks have too much do not overflow.
/// Throws Error(input) where a load is negative.
std::vector<std::int64_t> to_mean_units(std::span<const std::int64_t> loads,
                                        std::int32_t num_ranks);

}  // namespace trireme::eplb
