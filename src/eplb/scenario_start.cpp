#include "eplb/scenario_start.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace trireme::eplb {

namespace {

/// [experts] mean + deviations · standard deviation over the scenarios.
std::vector<std::int64_t> cautious_loads(const Scenarios& scenarios, double deviations) {
  const auto num_scenarios = static_cast<double>(scenarios.num_scenarios);
  std::vector<std::int64_t> loads(scenarios.num_experts);
  for (std::int64_t expert = 0; expert < scenarios.num_experts; ++expert) {
    double sum = 0, squares = 0;
    for (std::int64_t t = 0; t < scenarios.num_scenarios; ++t) {
      sum += scenarios.loads[t * scenarios.num_experts + expert];
    }
    const double mean = sum / num_scenarios;
    for (std::int64_t t = 0; t < scenarios.num_scenarios; ++t) {
      const double off = scenarios.loads[t * scenarios.num_experts + expert] - mean;
      squares += off * off;
    }
    loads[expert] =
        static_cast<std::int64_t>(mean + deviations * std::sqrt(squares / num_scenarios) + 0.5);
  }
  return loads;
}

/// Puts replicas on ranks, first where loads stay low, then so that no rank has one twice.
class Packing {
 public:
  Packing(const Scenarios& scenarios, const Shape& shape, int half_power)
      : scenarios_(scenarios),
        shape_(shape),
        half_power_(half_power),
        loads_(shape.num_ranks * scenarios.num_scenarios, 0.0),
        experts_(shape.num_ranks) {}

  void place(std::int32_t expert, std::int32_t replicas) {
    std::int32_t best = -1;
    double best_norm = 0;
    bool best_twice = false;
    for (std::int32_t rank = 0; rank < shape_.num_ranks; ++rank) {
      if (std::ssize(experts_[rank]) == shape_.slots_per_rank) continue;
      const bool twice = has(rank, expert);
      const double norm = norm_with(rank, expert, replicas);
      if (best < 0 || twice < best_twice || (twice == best_twice && norm < best_norm)) {
        best = rank;
        best_norm = norm;
        best_twice = twice;
      }
    }
    TRIREME_CHECK(best >= 0, "more replicas than slots");
    experts_[best].push_back(expert);
    for (std::int64_t t = 0; t < scenarios_.num_scenarios; ++t) {
      loads_[best * scenarios_.num_scenarios + t] += unit(t, expert, replicas);
    }
  }

  /// Exchanges the second replica of an expert on a rank for one of another rank, where that helps.
  void part_duplicates() {
    for (std::int32_t rank = 0; rank < shape_.num_ranks; ++rank) {
      for (std::size_t at = 0; at < experts_[rank].size(); ++at) {
        const auto& here = experts_[rank];
        if (std::count(here.begin(), here.end(), here[at]) > 1) part(rank, at);
      }
    }
  }

  std::vector<std::int32_t> expert_of_slot() const {
    std::vector<std::int32_t> slots;
    for (const auto& experts : experts_) slots.insert(slots.end(), experts.begin(), experts.end());
    return slots;
  }

 private:
  bool has(std::int32_t rank, std::int32_t expert) const {
    return std::ranges::find(experts_[rank], expert) != experts_[rank].end();
  }

  /// Load of one replica as a share of the mean load of a rank.
  double unit(std::int64_t t, std::int32_t expert, std::int32_t replicas) const {
    return scenarios_.loads[t * scenarios_.num_experts + expert] *
           (static_cast<double>(shape_.num_ranks) / kScenarioLoad) / replicas;
  }

  double norm_with(std::int32_t rank, std::int32_t expert, std::int32_t replicas) const {
    double norm = 0;
    for (std::int64_t t = 0; t < scenarios_.num_scenarios; ++t) {
      const double load = loads_[rank * scenarios_.num_scenarios + t] + unit(t, expert, replicas);
      double power = load * load;
      for (int factor = 1; factor < half_power_; ++factor) power *= load * load;
      norm += power;
    }
    return norm;
  }

  void part(std::int32_t rank, std::size_t at) {
    const std::int32_t expert = experts_[rank][at];
    for (std::int32_t other = 0; other < shape_.num_ranks; ++other) {
      if (has(other, expert)) continue;
      for (std::int32_t& candidate : experts_[other]) {
        if (has(rank, candidate)) continue;
        std::swap(experts_[rank][at], candidate);
        return;
      }
    }
  }

  const Scenarios& scenarios_;
  Shape shape_;
  int half_power_;
  std::vector<double> loads_;                       // [ranks, scenarios]
  std::vector<std::vector<std::int32_t>> experts_;  // [ranks] on each
};

}  // namespace

std::vector<std::int32_t> scenario_replicas(const Scenarios& scenarios, const Shape& shape,
                                            double deviations) {
  const auto loads = cautious_loads(scenarios, deviations);
  std::vector<std::int32_t> replicas(shape.num_experts, 1);
  std::int32_t most = shape.num_ranks;
  for (std::int32_t left = shape.num_slots() - shape.num_experts; left > 0; --left) {
    std::int32_t best = -1;
    for (std::int32_t expert = 0; expert < shape.num_experts; ++expert) {
      if (replicas[expert] >= most) continue;
      if (best < 0 || loads[expert] * replicas[best] > loads[best] * replicas[expert])
        best = expert;
    }
    if (best < 0) {  // every expert is on every rank
      most += shape.num_ranks;
      ++left;
      continue;
    }
    ++replicas[best];
  }
  return replicas;
}

std::vector<std::int32_t> scenario_packing(const Scenarios& scenarios, const Shape& shape,
                                           std::span<const std::int32_t> replicas, int half_power) {
  std::vector<std::int64_t> totals(shape.num_experts, 0);
  for (std::int64_t t = 0; t < scenarios.num_scenarios; ++t) {
    for (std::int32_t expert = 0; expert < shape.num_experts; ++expert) {
      totals[expert] += scenarios.loads[t * scenarios.num_experts + expert];
    }
  }
  std::vector<std::int32_t> order(shape.num_experts);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](std::int32_t a, std::int32_t b) {
    return totals[a] * replicas[b] > totals[b] * replicas[a];
  });
  Packing packing(scenarios, shape, half_power);
  for (const std::int32_t expert : order) {
    for (std::int32_t replica = 0; replica < replicas[expert]; ++replica) {
      packing.place(expert, replicas[expert]);
    }
  }
  packing.part_duplicates();
  return packing.expert_of_slot();
}

}  // namespace trireme::eplb
