#include "eplb_loads.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/error.h"

namespace trireme::bench {

namespace {

using eplb::Random;

/// In (0, 1]: safe for a logarithm.
double positive_uniform(Random& random) { return 1.0 - random.uniform(); }

/// Gamma(shape, 1) by Marsaglia and Tsang's method; shapes below 1 by the usual boost.
double gamma(double shape, Random& random) {
  if (shape < 1) {
    return gamma(shape + 1, random) * std::pow(positive_uniform(random), 1 / shape);
  }
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = normal(random);
    const double v = std::pow(1 + c * x, 3);
    if (v <= 0) continue;
    if (std::log(positive_uniform(random)) < 0.5 * x * x + d - d * v + d * std::log(v)) {
      return d * v;
    }
  }
}

std::int64_t binomial(std::int64_t trials, double share, Random& random) {
  const double mean = static_cast<double>(trials) * share;
  if (share >= 1) return trials;
  if (mean > 50) {
    const double value = mean + std::sqrt(mean * (1 - share)) * normal(random);
    return std::clamp<std::int64_t>(std::llround(value), 0, trials);
  }
  // Geometric jumps from success to success.
  const double log_miss = std::log1p(-share);
  std::int64_t successes = 0;
  for (double at = 0; share > 0;) {
    at += std::floor(std::log(positive_uniform(random)) / log_miss) + 1;
    if (at > static_cast<double>(trials)) break;
    ++successes;
  }
  return successes;
}

std::vector<double> dirichlet(std::span<const double> shapes, Random& random) {
  std::vector<double> shares;
  for (const double shape : shapes) shares.push_back(gamma(shape, random));
  normalise(shares);
  return shares;
}

/// The choices of one token from its keys, [experts], by the gate.
void choose(const TokenGate& gate, std::span<double> keys, std::vector<std::int16_t>& choices) {
  constexpr double kNever = -1e30;
  const auto size = gate.experts_per_group;
  std::vector<std::pair<double, std::int64_t>> groups;
  for (std::int64_t group = 0; group < gate.num_groups; ++group) {
    double best = kNever, second = kNever;
    for (const double key : keys.subspan(group * size, size)) {
      second = std::max(second, std::min(best, key));
      best = std::max(best, key);
    }
    groups.emplace_back(-(best + second), group);
  }
  std::sort(groups.begin(), groups.end());
  for (std::int64_t lost = gate.groups_kept; lost < gate.num_groups; ++lost) {
    std::ranges::fill(keys.subspan(groups[lost].second * size, size), kNever);
  }
  std::vector<std::int16_t> order(keys.size());
  std::iota(order.begin(), order.end(), std::int16_t{0});
  std::partial_sort(order.begin(), order.begin() + gate.top_k, order.end(),
                    [&](std::int16_t a, std::int16_t b) { return keys[a] > keys[b]; });
  choices.insert(choices.end(), order.begin(), order.begin() + gate.top_k);
}

TokenChoices draw_choices(const TokenGate& gate, std::span<const std::vector<double>> shares,
                          Random& random) {
  TokenChoices drawn;
  std::vector<double> keys(gate.num_groups * gate.experts_per_group);
  for (const auto& layer : shares) {
    auto& choices = drawn.choices.emplace_back();
    for (std::int64_t token = 0; token < gate.num_tokens; ++token) {
      double affinity = 0;
      for (std::size_t expert = 0; expert < keys.size(); ++expert) {
        if (expert % gate.experts_per_group == 0) affinity = gate.affinity * normal(random);
        const double gumbel = -std::log(std::max(-std::log(positive_uniform(random)), 1e-300));
        keys[expert] = std::log(layer[expert]) + affinity + gumbel;
      }
      choose(gate, keys, choices);
    }
  }
  for (std::int64_t token = 0; token < gate.num_tokens; ++token) {
    drawn.home.push_back(random.below(static_cast<std::int32_t>(gate.num_ranks)));
  }
  return drawn;
}

}  // namespace

void normalise(std::vector<double>& shares) {
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= total;
}

std::string Popularity::name() const {
  return cat(family == Family::zipf ? "zipf " : "logn ", parameter);
}

double normal(Random& random) {
  const double radius = std::sqrt(-2 * std::log(positive_uniform(random)));
  return radius * std::cos(2 * std::numbers::pi * random.uniform());
}

std::vector<double> draw_shares(const Popularity& popularity, std::int64_t num_experts,
                                Random& random) {
  std::vector<double> shares(num_experts);
  for (std::int64_t expert = 0; expert < num_experts; ++expert) {
    shares[expert] = popularity.family == Popularity::Family::zipf
                         ? std::pow(static_cast<double>(expert + 1), -popularity.parameter)
                         : std::exp(popularity.parameter * normal(random));
  }
  for (std::int64_t last = num_experts - 1; last > 0; --last) {
    std::swap(shares[last], shares[random.below(static_cast<std::int32_t>(last + 1))]);
  }
  normalise(shares);
  return shares;
}

std::vector<std::int64_t> draw_counts(std::span<const double> shares, const Sampling& sampling,
                                      Random& random) {
  std::vector<double> drawn(shares.begin(), shares.end());
  if (sampling.concentration > 0) {
    for (double& share : drawn) share *= sampling.concentration * static_cast<double>(drawn.size());
    drawn = dirichlet(drawn, random);
  }
  std::vector<std::int64_t> counts(drawn.size());
  std::int64_t left = sampling.assignments;
  double share_left = 1;
  for (std::size_t expert = 0; expert < drawn.size(); ++expert) {
    const bool last = expert + 1 == drawn.size();
    counts[expert] = last ? left : binomial(left, drawn[expert] / share_left, random);
    left -= counts[expert];
    share_left = std::max(share_left - drawn[expert], 1e-12);
  }
  return counts;
}

StaticLoads static_loads(const Popularity& popularity, std::int64_t num_layers,
                         std::int64_t num_experts, const Sampling& sampling, std::uint64_t seed) {
  StaticLoads loads;
  for (std::int64_t layer = 0; layer < num_layers; ++layer) {
    Random random(seed, static_cast<std::uint64_t>(layer));
    loads.shares.push_back(draw_shares(popularity, num_experts, random));
    loads.train.push_back(draw_counts(loads.shares.back(), sampling, random));
    loads.test.push_back(draw_counts(loads.shares.back(), sampling, random));
  }
  return loads;
}

WindowLoads domain_windows(const DomainMixture& mixture, std::uint64_t seed) {
  Random random(seed);
  const std::vector<double> even(mixture.num_domains, 1.0);
  std::vector<std::vector<double>> weights;
  for (std::int64_t window = 0; window < 2 * mixture.num_windows; ++window) {
    weights.push_back(dirichlet(even, random));
  }
  const std::int64_t stride = mixture.num_layers * mixture.num_experts;
  WindowLoads loads;
  loads.train.resize(mixture.num_windows * stride);
  loads.test.resize(mixture.num_windows * stride);
  for (std::int64_t layer = 0; layer < mixture.num_layers; ++layer) {
    const auto base = draw_shares(mixture.base, mixture.num_experts, random);
    std::vector<std::vector<double>> domains(mixture.num_domains, base);
    for (auto& domain : domains) {
      for (double& share : domain) share *= std::exp(mixture.spread * normal(random));
      normalise(domain);
    }
    for (std::int64_t window = 0; window < 2 * mixture.num_windows; ++window) {
      std::vector<double> mixed(mixture.num_experts, 0.0);
      for (std::int64_t domain = 0; domain < mixture.num_domains; ++domain) {
        for (std::int64_t expert = 0; expert < mixture.num_experts; ++expert) {
          mixed[expert] += weights[window][domain] * domains[domain][expert];
        }
      }
      const auto counts = draw_counts(mixed, mixture.sampling, random);
      auto& part = window < mixture.num_windows ? loads.train : loads.test;
      const auto at = window % mixture.num_windows * stride + layer * mixture.num_experts;
      std::copy(counts.begin(), counts.end(), part.begin() + at);
    }
  }
  return loads;
}

TokenLoads token_loads(const TokenGate& gate, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::vector<double>> shares;
  for (std::int64_t layer = 0; layer < gate.num_layers; ++layer) {
    shares.push_back(draw_shares(gate.base, gate.num_groups * gate.experts_per_group, random));
  }
  TokenLoads loads;
  loads.train = draw_choices(gate, shares, random);
  loads.test = draw_choices(gate, shares, random);
  return loads;
}

std::vector<std::int64_t> count_choices(std::span<const std::int16_t> choices,
                                        std::int64_t num_experts) {
  std::vector<std::int64_t> counts(num_experts, 0);
  for (const std::int16_t expert : choices) ++counts.at(expert);
  return counts;
}

}  // namespace trireme::bench
