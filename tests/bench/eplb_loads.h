#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eplb/random.h"

namespace trireme::bench {

/// How unevenly experts are chosen.
struct Popularity {
  enum class Family {
    zipf,       ///< the k-th most popular expert has share k^-parameter
    lognormal,  ///< share exp(parameter · N)
  };
  Family family;
  double parameter;

  std::string name() const;
};

/// A normal number; two draws of the stream.
double normal(eplb::Random& random);

/// Makes shares sum to 1.
void normalise(std::vector<double>& shares);

/// Shares of the experts of one layer, in random order, that sum to 1.
std::vector<double> draw_shares(const Popularity& popularity, std::int64_t num_experts,
                                eplb::Random& random);

/// How counts are drawn from shares: a multinomial of `assignments` over shares that were first
/// drawn from a Dirichlet of `concentration` · experts · share (100: each expert varies by 10 %);
/// concentration 0 leaves the shares as they are.
struct Sampling {
  std::int64_t assignments = 8 * 65536;
  double concentration = 100;
};

/// Counts of one layer, [experts]; binomials with a mean above 50 are rounded normal numbers.
std::vector<std::int64_t> draw_counts(std::span<const double> shares, const Sampling& sampling,
                                      eplb::Random& random);

/// Counts of `num_layers` layers, [layers][experts], each with shares of its own.
struct StaticLoads {
  std::vector<std::vector<double>> shares;
  std::vector<std::vector<std::int64_t>> train;
  std::vector<std::vector<std::int64_t>> test;  ///< another draw of the same shares
};
StaticLoads static_loads(const Popularity& popularity, std::int64_t num_layers,
                         std::int64_t num_experts, const Sampling& sampling, std::uint64_t seed);

/// Windows of a workload that mixes domains. Domain d of a layer chooses expert e with a share
/// proportional to base[e] · exp(spread · N); a window mixes the domains by Dirichlet(1) weights,
/// the same in all layers. One domain with spread 0 gives independent windows of one workload.
struct DomainMixture {
  Popularity base;
  std::int64_t num_layers = 58;
  std::int64_t num_experts = 256;
  std::int64_t num_domains = 4;
  double spread = 0.8;
  std::int64_t num_windows = 16;  ///< of train and of test each
  Sampling sampling{.concentration = 0};
};
struct WindowLoads {
  std::vector<std::int64_t> train, test;  ///< [windows, layers, experts]
};
WindowLoads domain_windows(const DomainMixture& mixture, std::uint64_t seed);

/// Tokens that choose experts one by one. The key of expert e for a token is
/// log(base[e]) + affinity · N (one N a token and expert group) + a Gumbel number; the grouped gate
/// keeps the groups whose two best keys sum highest, then the top_k best keys within them.
struct TokenGate {
  Popularity base{Popularity::Family::zipf, 0.8};
  std::int64_t num_layers = 1;
  std::int64_t num_groups = 8;
  std::int64_t experts_per_group = 32;
  std::int64_t groups_kept = 4;  ///< num_groups: a plain top-k gate
  std::int64_t top_k = 8;
  double affinity = 0.8;
  std::int64_t num_ranks = 32;     ///< homes are even over them
  std::int64_t num_tokens = 8192;  ///< of train and of test each
};
struct TokenChoices {
  std::vector<std::vector<std::int16_t>> choices;  ///< [layers][tokens · top_k]
  std::vector<std::int32_t> home;                  ///< [tokens] rank
};
struct TokenLoads {
  TokenChoices train, test;
};
TokenLoads token_loads(const TokenGate& gate, std::uint64_t seed);

/// How often each expert was chosen in one layer, [experts].
std::vector<std::int64_t> count_choices(std::span<const std::int16_t> choices,
                                        std::int64_t num_experts);

}  // namespace trireme::bench
