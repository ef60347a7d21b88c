#pragma once

#include <array>
#include <cstdint>

#include "eplb/random.h"

namespace trireme::eplb {

/// When a search by simulated annealing takes a change for the worse. Uses additions and
/// multiplications only, so that it decides alike on every machine, which std::log does not
/// promise.
class Cooling {
 public:
  /// The temperature falls from `first` by 2^-halvings over `num_steps` steps.
  Cooling(double first, double halvings, std::int64_t num_steps);

  double temperature() const { return temperature_; }
  void cool() { temperature_ *= factor_; }
  bool accepts(double increase, Random& random) const {
    return increase <= 0 ||
           increase < temperature_ * exponential_[random.next() >> (64 - kTableBits)];
  }

 private:
  static constexpr int kTableBits = 10;
  double temperature_, factor_;
  std::array<double, 1 << kTableBits> exponential_;  // quantiles of the exponential distribution
};

}  // namespace trireme::eplb
