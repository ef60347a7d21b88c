#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "job/job_loads.h"

namespace trireme::job {

/// max / mean; 1 where nothing was counted.
double balance_of(std::span<const std::int64_t> loads);

/// What the closing summary says of the experts: the hottest, and how evenly the ranks computed, by
/// layer, over all and by domain, beside what the same choices would have given without a
/// placement.
///   loads_path  where the counts were written; empty: nowhere
std::string expert_report(const JobLoads& job, bool is_placed, const std::string& loads_path);

}  // namespace trireme::job
