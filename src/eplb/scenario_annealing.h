#pragma once

#include <array>
#include <cstdint>

#include "eplb/random.h"

namespace trireme::eplb {

/// When a search by simulated annealing takes a change for the worse. Uses additions and
/// multiplications only, so that it decides alike on every machine, which std::log does not
/// promise.
class ScenarioAnnealing {
 public:
  /// The temperature falls from `first` by 2^-halvings over `num_steps` steps.
  ScenarioAnnealing(double first, double halvings, std::int64_t num_steps);

  void cool() { temperature_ *= factor_; }
  bool accepts(std::int64_t increase, Random& random) const {
    return increase <= 0 || static_cast<double>(increase) <
                                temperature_ * exponential_[random.next() >> (64 - kTableBits)];
  }

 private:
  static constexpr int kTableBits = 10;
  double temperature_, factor_;
  std::array<double, 1 << kTableBits> exponential_;  // quantiles of the exponential distribution
};

}  // namespace trireme::eplb
