// Placements for several conditions at once, and placements that send tokens to few nodes; beside
// DeepSeek's algorithm on the same loads.
// usage: eplb_scenario_bench [all | mixtures [SEEDS [CASE]] | traffic [LAYERS]]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "eplb/deepseek.h"
#include "eplb/fixed_point.h"
#include "eplb/replica_share.h"
#include "eplb/scenario.h"
#include "eplb/traffic.h"
#include "eplb_loads.h"

namespace {

using trireme::bench::DomainMixture;
using trireme::bench::Popularity;
using trireme::eplb::Shape;
namespace eplb = trireme::eplb;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct MixtureCase {
  const char* name;
  Popularity base;
  std::int64_t num_layers, num_experts, num_ranks, num_slots;
  bool iid;
  double goal;  ///< test balance, mean of the seeds
};

const MixtureCase kMixtures[] = {
    {"mix logn .5  58x256 32x9",
     {Popularity::Family::lognormal, 0.5},
     58,
     256,
     32,
     288,
     false,
     1.053},
    {"mix zipf .8  58x256 32x9", {Popularity::Family::zipf, 0.8}, 58, 256, 32, 288, false, 1.072},
    {"mix logn .5  58x256 72x5",
     {Popularity::Family::lognormal, 0.5},
     58,
     256,
     72,
     360,
     false,
     1.096},
    {"mix logn .5  58x256 72x4",
     {Popularity::Family::lognormal, 0.5},
     58,
     256,
     72,
     288,
     false,
     1.156},
    {"mix logn .5  48x128 16x9",
     {Popularity::Family::lognormal, 0.5},
     48,
     128,
     16,
     144,
     false,
     1.045},
    {"mix logn .5  48x128 8x18",
     {Popularity::Family::lognormal, 0.5},
     48,
     128,
     8,
     144,
     false,
     1.024},
    {"iid logn .5  58x256 32x9",
     {Popularity::Family::lognormal, 0.5},
     58,
     256,
     32,
     288,
     true,
     1.076},
};

std::vector<std::int64_t> layer_rows(const std::vector<std::int64_t>& windows,
                                     std::int64_t num_layers, std::int64_t num_experts,
                                     std::int64_t layer) {
  std::vector<std::int64_t> rows;
  for (std::size_t begin = layer * num_experts; begin < windows.size();
       begin += num_layers * num_experts) {
    rows.insert(rows.end(), windows.begin() + begin, windows.begin() + begin + num_experts);
  }
  return rows;
}

/// [experts] of all windows.
std::vector<std::int64_t> sum_rows(const std::vector<std::int64_t>& rows,
                                   std::int64_t num_experts) {
  std::vector<std::int64_t> sums(num_experts, 0);
  for (std::size_t index = 0; index < rows.size(); ++index)
    sums[index % num_experts] += rows[index];
  return sums;
}

/// Means over the layers of one seed, and the worst layer.
struct Figures {
  double train = 0, test = 0, worst = 0, seconds = 0;
};

struct Compared {
  Figures ours, deepseek;
};

/// Each window's shares vary by 5 % per expert beyond its mixture, by 10 % where nothing is mixed.
DomainMixture mixture_of(const MixtureCase& test) {
  DomainMixture mixture{
      .base = test.base, .num_layers = test.num_layers, .num_experts = test.num_experts};
  mixture.sampling.concentration = 400;
  if (test.iid) {
    mixture.num_domains = 1;
    mixture.spread = 0;
    mixture.sampling.concentration = 100;
  }
  return mixture;
}

Compared compare_seed(const MixtureCase& test, std::uint64_t seed) {
  const Shape shape = eplb::make_shape(test.num_experts, test.num_slots, test.num_ranks, 1);
  const auto loads = trireme::bench::domain_windows(mixture_of(test), seed);
  Compared compared;
  for (std::int64_t layer = 0; layer < test.num_layers; ++layer) {
    const auto train = layer_rows(loads.train, test.num_layers, test.num_experts, layer);
    const auto held_out = layer_rows(loads.test, test.num_layers, test.num_experts, layer);
    const auto add = [&](Figures& figures, const std::vector<std::int32_t>& placed, double start) {
      const double share = 1 / static_cast<double>(test.num_layers);
      figures.seconds += seconds() - start;
      const auto balance = [&](const std::vector<std::int64_t>& rows) {
        return eplb::scenario_balance(rows, test.num_experts, placed, shape.num_ranks);
      };
      figures.train += balance(train) * share;
      figures.test += balance(held_out) * share;
      figures.worst = std::max(figures.worst, balance(held_out));
    };
    double start = seconds();
    const auto scenarios = denoise(eplb::make_scenarios(train, test.num_experts));
    add(compared.ours, plan_scenarios(scenarios, shape, {.seed = seed}), start);
    start = seconds();
    const auto sums = eplb::to_fixed_point(sum_rows(train, test.num_experts));
    add(compared.deepseek, eplb::deepseek_placement(sums, shape, 1), start);
  }
  return compared;
}

void mixture(const MixtureCase& test, std::int64_t seeds) {
  Compared mean;
  double least_margin = 1e9;
  const auto add = [&](Figures& sum, const Figures& one) {
    const double share = 1 / static_cast<double>(seeds);
    sum.train += one.train * share;
    sum.test += one.test * share;
    sum.worst = std::max(sum.worst, one.worst);
    sum.seconds += one.seconds * share;
  };
  for (std::int64_t seed = 0; seed < seeds; ++seed) {
    const auto one = compare_seed(test, static_cast<std::uint64_t>(seed));
    least_margin = std::min(least_margin, one.deepseek.test - one.ours.test);
    add(mean.ours, one.ours);
    add(mean.deepseek, one.deepseek);
  }
  const auto print = [](const Figures& figures) {
    std::printf(" | %.4f %.4f %.4f %6.3f", figures.train, figures.test, figures.worst,
                figures.seconds);
  };
  std::printf("%s", test.name);
  print(mean.deepseek);
  print(mean.ours);
  std::printf(" | %.4f | %+.4f\n", test.goal, least_margin);
  std::fflush(stdout);
}

void mixtures(std::int64_t seeds, int only) {
  std::printf(
      "balance: mean over windows of the highest rank's load / mean, even replicas\n"
      "%-26s | DeepSeek on the sum: train, test, worst layer, s | trireme | goal | "
      "least margin to DeepSeek\n",
      "case");
  for (int index = 0; index < static_cast<int>(std::size(kMixtures)); ++index) {
    if (only < 0 || only == index) mixture(kMixtures[index], seeds);
  }
}

/// One way to place, over all layers: balance on the training tokens, on the test tokens, and
/// remote nodes per token on both.
struct Traffic {
  double even_balance = 0, train_balance = 0, highest = 0, test_balance = 0, train_remote = 0,
         test_remote = 0, seconds = 0;
};

/// The tokens of one layer, trained on and held out.
struct LayerTokens {
  eplb::Choices train, test;
  std::vector<std::int64_t> loads, test_loads;
};

void add_traffic(Traffic& sum, const std::vector<std::int32_t>& placed, const LayerTokens& tokens,
                 const Shape& shape, double start, double share) {
  constexpr auto kHome = eplb::ReplicaChoice::home;
  sum.seconds += (seconds() - start) * share;
  const double balance = eplb::balance_of_choice(tokens.loads, placed, {}, shape, kHome);
  sum.even_balance += eplb::balance(tokens.loads, placed, shape.num_ranks) * share;
  sum.train_balance += balance * share;
  sum.highest = std::max(sum.highest, balance);
  sum.test_balance += eplb::balance_of_choice(tokens.test_loads, placed, {}, shape, kHome) * share;
  sum.train_remote += remote_nodes_per_token(tokens.train, placed, {}, shape, kHome) * share;
  sum.test_remote += remote_nodes_per_token(tokens.test, placed, {}, shape, kHome) * share;
}

void print_traffic(const char* name, const Traffic& traffic) {
  std::printf("  %-22s | %.4f %.4f %.4f %.4f | %.4f %.4f | %.3f\n", name, traffic.even_balance,
              traffic.train_balance, traffic.highest, traffic.test_balance, traffic.train_remote,
              traffic.test_remote, traffic.seconds);
  std::fflush(stdout);
}

void traffic(const char* name, trireme::bench::TokenGate gate, std::int64_t num_layers) {
  gate.num_layers = num_layers;
  const Shape shape = eplb::make_shape(256, 288, 32, 4);
  const auto drawn = trireme::bench::token_loads(gate, 1);
  const double share = 1 / static_cast<double>(num_layers);
  constexpr double kTolerances[] = {0.005, 0.01, 0.02};
  Traffic hierarchical, global, ours[std::size(kTolerances)];
  for (std::int64_t layer = 0; layer < num_layers; ++layer) {
    const LayerTokens tokens{
        .train = {drawn.train.choices[layer], drawn.train.home, gate.top_k},
        .test = {drawn.test.choices[layer], drawn.test.home, gate.top_k},
        .loads = trireme::bench::count_choices(drawn.train.choices[layer], 256),
        .test_loads = trireme::bench::count_choices(drawn.test.choices[layer], 256)};
    double start = seconds();
    const auto fixed = eplb::to_fixed_point(tokens.loads);
    add_traffic(hierarchical, eplb::deepseek_placement(fixed, shape, 8), tokens, shape, start,
                share);
    start = seconds();
    const auto spread = eplb::deepseek_placement(fixed, shape, 1);
    add_traffic(global, spread, tokens, shape, start, share);
    for (std::size_t index = 0; index < std::size(kTolerances); ++index) {
      start = seconds();
      const auto placed = plan_traffic(tokens.loads, tokens.train, spread, shape,
                                       {.tolerance = kTolerances[index], .lowest_balance = 1});
      add_traffic(ours[index], placed, tokens, shape, start, share);
    }
  }
  std::printf(
      "%s: 256 experts, 4 nodes x 8 ranks x 9 slots, mean of %d layers; replicas at home "
      "first\n"
      "  %-22s | balance if replicas shared evenly, as chosen, highest layer, test | remote "
      "nodes a token, test | s a layer\n",
      name, static_cast<int>(num_layers), "");
  print_traffic("DeepSeek hierarchical", hierarchical);
  print_traffic("DeepSeek global", global);
  for (std::size_t index = 0; index < std::size(kTolerances); ++index) {
    print_traffic(trireme::cat("trireme, within ", kTolerances[index]).c_str(), ours[index]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "all";
  if (what != "all" && what != "mixtures" && what != "traffic") {
    std::printf("usage: eplb_scenario_bench [all | mixtures [SEEDS [CASE]] | traffic [LAYERS]]\n");
    return 64;
  }
  const std::int64_t seeds = argc > 2 ? std::atoll(argv[2]) : 10;
  const std::int64_t layers = argc > 2 && what == "traffic" ? std::atoll(argv[2]) : 4;
  const int only = argc > 3 ? std::atoi(argv[3]) : -1;
  if (what == "all" || what == "mixtures") mixtures(seeds, only);
  if (what == "all" || what == "traffic") {
    traffic("grouped gate", {}, layers);
    traffic("plain top-8", {.groups_kept = 8}, layers);
  }
  return 0;
}
