#include "eplb/fixed_point.h"

#include "base/error.h"

namespace trireme::eplb {

namespace {

__extension__ using Wide = __int128;

Wide checked_sum(std::span<const std::int64_t> loads) {
  Wide total = 0;
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    if (loads[expert] < 0) {
      fail(ErrorKind::input,
           cat("the load of expert ", expert, " is ", loads[expert], ", expected 0 or more"));
    }
    total += loads[expert];
  }
  return total;
}

}  // namespace

std::vector<std::int64_t> to_fixed_point(std::span<const std::int64_t> loads) {
  Wide total = checked_sum(loads);
  std::vector<std::int64_t> fixed(loads.begin(), loads.end());
  if (total == 0) return fixed;
  int left = 0, right = 0;
  for (; total < (Wide{1} << 45); total *= 2) ++left;
  for (; total >= (Wide{1} << 46); total /= 2) ++right;
  for (std::int64_t& load : fixed) load = (load << left) >> right;
  return fixed;
}

std::vector<std::int64_t> to_mean_units(std::span<const std::int64_t> loads,
                                        std::int32_t num_ranks) {
  const Wide total = checked_sum(loads);
  std::vector<std::int64_t> units;
  units.reserve(loads.size());
  for (const std::int64_t load : loads) {
    units.push_back(
        total == 0 ? 0 : static_cast<std::int64_t>(Wide{load} * kMeanLoad * num_ranks / total));
  }
  return units;
}

}  // namespace trireme::eplb
