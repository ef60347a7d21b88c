// Placements for several conditions at once.
// usage: eplb_scenario_bench mixtures [SEEDS [CASE]]

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "eplb/scenario.h"
#include "eplb_loads.h"

namespace {

using trireme::bench::DomainMixture;
using trireme::bench::Popularity;
using trireme::eplb::Shape;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct MixtureCase {
  const char* name;
  Popularity base;
  std::int64_t num_layers, num_experts, num_ranks, num_slots;
  bool iid;
};

const MixtureCase kMixtures[] = {
    {"mix logn .5  58x256 32x9", {Popularity::Family::lognormal, 0.5}, 58, 256, 32, 288, false},
    {"mix zipf .8  58x256 32x9", {Popularity::Family::zipf, 0.8}, 58, 256, 32, 288, false},
    {"mix logn .5  58x256 72x5", {Popularity::Family::lognormal, 0.5}, 58, 256, 72, 360, false},
    {"mix logn .5  58x256 72x4", {Popularity::Family::lognormal, 0.5}, 58, 256, 72, 288, false},
    {"mix logn .5  48x128 16x9", {Popularity::Family::lognormal, 0.5}, 48, 128, 16, 144, false},
    {"mix logn .5  48x128 8x18", {Popularity::Family::lognormal, 0.5}, 48, 128, 8, 144, false},
    {"iid logn .5  58x256 32x9", {Popularity::Family::lognormal, 0.5}, 58, 256, 32, 288, true},
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

void mixture(const MixtureCase& test, std::int64_t seeds) {
  const Shape shape =
      trireme::eplb::make_shape(test.num_experts, test.num_slots, test.num_ranks, 1);
  double sum = 0, worst = 0, train_sum = 0, time = 0;
  for (std::int64_t seed = 0; seed < seeds; ++seed) {
    DomainMixture mix{
        .base = test.base, .num_layers = test.num_layers, .num_experts = test.num_experts};
    if (test.iid) {
      mix.num_domains = 1;
      mix.spread = 0;
      mix.sampling.concentration = 100;
    }
    const auto loads = trireme::bench::domain_windows(mix, seed);
    for (std::int64_t layer = 0; layer < test.num_layers; ++layer) {
      const auto train = layer_rows(loads.train, test.num_layers, test.num_experts, layer);
      const auto held_out = layer_rows(loads.test, test.num_layers, test.num_experts, layer);
      const double start = seconds();
      const auto scenarios = denoise(trireme::eplb::make_scenarios(train, test.num_experts));
      const auto placed =
          plan_scenarios(scenarios, shape, {.seed = static_cast<std::uint64_t>(layer)});
      time += seconds() - start;
      const double balance = trireme::eplb::scenario_balance(held_out, test.num_experts, placed, shape.num_ranks);
      sum += balance;
      worst = std::max(worst, balance);
      train_sum += trireme::eplb::scenario_balance(train, test.num_experts, placed, shape.num_ranks);
    }
  }
  const double runs = static_cast<double>(seeds * test.num_layers);
  std::printf("%s  train %.4f  test %.4f  worst layer %.4f  %.2f s\n", test.name, train_sum / runs,
              sum / runs, worst, time / static_cast<double>(seeds));
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t seeds = argc > 2 ? std::atoll(argv[2]) : 10;
  const int only = argc > 3 ? std::atoi(argv[3]) : -1;
  for (int index = 0; index < static_cast<int>(std::size(kMixtures)); ++index) {
    if (only < 0 || only == index) mixture(kMixtures[index], seeds);
  }
  return 0;
}
