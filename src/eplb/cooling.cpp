#include "eplb/cooling.h"

#include <algorithm>

namespace trireme::eplb {

namespace {

constexpr double kLog2 = 0.6931471805599453;

/// -log(x) for x in (0, 1], by its series around 1 after doubling x into [0.7, 1.4].
double negative_log(double x) {
  double halvings = 0;
  for (; x < 0.7; x *= 2) halvings += 1;
  const double ratio = (x - 1) / (x + 1);
  double sum = 0, power = ratio;
  for (int degree = 1; degree < 24; degree += 2) {
    sum += power / degree;
    power *= ratio * ratio;
  }
  return halvings * kLog2 - 2 * sum;
}

}  // namespace

Cooling::Cooling(double first, double halvings, std::int64_t num_steps)
    : temperature_(first),
      factor_(1 - halvings * kLog2 / static_cast<double>(std::max<std::int64_t>(num_steps, 1))) {
  const double size = static_cast<double>(exponential_.size());
  for (std::size_t index = 0; index < exponential_.size(); ++index) {
    exponential_[index] = negative_log((static_cast<double>(index) + 0.5) / size);
  }
}

}  // namespace trireme::eplb
