#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "eplb/scenario.h"
#include "placement_checks.h"

namespace trireme::eplb {
namespace {

constexpr std::int64_t kExperts = 40, kWindows = 16;

/// Windows that mix two workloads, [windows, experts]; `noise` is the largest deviation of a count.
std::vector<std::int64_t> mixed_windows(std::int32_t noise, bool one_workload) {
  const auto first = random_counts(kExperts, 20'000, 1),
             second = random_counts(kExperts, 20'000, 2);
  Random random(3);
  std::vector<std::int64_t> counts;
  for (std::int64_t window = 0; window < kWindows; ++window) {
    const std::int64_t part = one_workload ? 16 : window;
    for (std::int64_t expert = 0; expert < kExperts; ++expert) {
      const std::int64_t mixed = (part * first[expert] + (16 - part) * second[expert]) / 16;
      counts.push_back(std::max<std::int64_t>(mixed + random.below(2 * noise + 1) - noise, 0));
    }
  }
  return counts;
}

/// Root of the summed squares of what two sets of scenarios differ by.
double distance(const Scenarios& a, const Scenarios& b) {
  double sum = 0;
  for (std::size_t at = 0; at < a.loads.size(); ++at) {
    const double off = a.loads[at] - b.loads[at];
    sum += off * off;
  }
  return std::sqrt(sum);
}

TEST(Denoise, MakesWindowsThatDifferByChanceEqual) {
  const auto denoised = denoise(make_scenarios(mixed_windows(500, true), kExperts));

  for (std::int64_t window = 1; window < kWindows; ++window) {
    for (std::int64_t expert = 0; expert < kExperts; ++expert) {
      EXPECT_NEAR(denoised.loads[window * kExperts + expert], denoised.loads[expert], 2);
    }
  }
}

TEST(Denoise, TakesMostOfTheNoiseOutOfMixtures) {
  const auto exact = make_scenarios(mixed_windows(0, false), kExperts);
  const auto noisy = make_scenarios(mixed_windows(500, false), kExperts);

  const double before = distance(noisy, exact), after = distance(denoise(noisy), exact);

  EXPECT_LT(after, before / 2);  // two of sixteen directions stay: a third of it
}

TEST(Denoise, LeavesExactMixturesAsTheyAre) {
  const auto exact = make_scenarios(mixed_windows(0, false), kExperts);

  const auto denoised = denoise(exact);

  for (std::size_t at = 0; at < exact.loads.size(); ++at) {
    // Their counts were rounded, by one part in some ten thousand.
    EXPECT_NEAR(denoised.loads[at], exact.loads[at], kScenarioLoad / 200'000);
  }
}

TEST(Denoise, LeavesFewScenariosAsTheyAre) {
  const auto three = make_scenarios(random_counts(3 * kExperts, 100, 5), kExperts);

  EXPECT_EQ(denoise(three).loads, three.loads);
}

TEST(Denoise, KeepsEveryScenariosTotal) {
  const auto denoised =
      denoise(make_scenarios(random_counts(kWindows * kExperts, 30, 9), kExperts));

  for (std::int64_t window = 0; window < kWindows; ++window) {
    std::int64_t total = 0;
    for (std::int64_t expert = 0; expert < kExperts; ++expert) {
      ASSERT_GE(denoised.loads[window * kExperts + expert], 0);
      total += denoised.loads[window * kExperts + expert];
    }
    EXPECT_NEAR(static_cast<double>(total), kScenarioLoad, kExperts);
  }
}

}  // namespace
}  // namespace trireme::eplb
