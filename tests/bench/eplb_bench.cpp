// How close the placements of single layers are to the lower bound, beside DeepSeek's, and how few
// slots a placement must change after the load drifts.
// usage: eplb_bench [static|drift|all [SEEDS]]

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "eplb/deepseek.h"
#include "eplb/incremental.h"
#include "eplb/layer_solver.h"
#include "eplb/lower_bound.h"
#include "eplb_loads.h"

namespace {

using namespace trireme;
using bench::Popularity;
using Family = Popularity::Family;

const std::vector<Popularity> kPopularities{{Family::zipf, 0.4},
                                            {Family::zipf, 0.8},
                                            {Family::zipf, 1.2},
                                            {Family::lognormal, 0.5},
                                            {Family::lognormal, 1.0}};

struct Setting {
  std::int64_t layers;
  eplb::Shape shape;
};
const std::vector<Setting> kSettings{{58, {256, 32, 9}},
                                     {58, {256, 72, 4}},
                                     {48, {128, 8, 18}},
                                     {48, {128, 16, 9}},
                                     {48, {128, 16, 10}}};

/// Processor time of this thread, so that other programs on the machine show less.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Mean and highest value over layers.
struct Spread {
  double sum = 0, highest = 0;
  int count = 0;

  void add(double value) {
    sum += value;
    highest = std::max(highest, value);
    ++count;
  }
  double mean() const { return sum / count; }
};

int duplicates(const std::vector<std::int32_t>& expert_of_slot, const eplb::Shape& shape) {
  int found = 0;
  for (std::int32_t rank = 0; rank < shape.num_ranks; ++rank) {
    const auto begin = expert_of_slot.begin() + rank * shape.slots_per_rank;
    const std::set<std::int32_t> experts(begin, begin + shape.slots_per_rank);
    found += shape.slots_per_rank - static_cast<int>(experts.size());
  }
  return found;
}

void measure_static(const Setting& setting, const Popularity& popularity, std::uint64_t seed) {
  const eplb::Shape& shape = setting.shape;
  const auto loads = bench::static_loads(popularity, setting.layers, shape.num_experts, {}, seed);
  Spread bounds, ours, deepseek, gap, deepseek_gap, test, deepseek_test;
  double seconds = 0, slowest = 0, deepseek_seconds = 0, bound_seconds = 0;
  int above = 0, doubled = 0;
  for (std::int64_t layer = 0; layer < setting.layers; ++layer) {
    const auto& train = loads.train[layer];
    const double begin = thread_seconds();
    const auto bound = eplb::lower_bound(train, shape);
    const double bounded = thread_seconds();
    eplb::Random random(seed, static_cast<std::uint64_t>(layer));
    const auto placed = eplb::solve_layer(train, shape, bound, {}, random);
    const double solved = thread_seconds();
    const auto published = eplb::deepseek_placement(train, shape, 1);
    deepseek_seconds += thread_seconds() - solved;
    seconds += solved - begin;
    bound_seconds += bounded - begin;
    slowest = std::max(slowest, solved - begin);

    bounds.add(bound.balance());
    ours.add(eplb::balance(train, placed, shape.num_ranks));
    deepseek.add(eplb::balance(train, published, shape.num_ranks));
    gap.add(eplb::balance(train, placed, shape.num_ranks) / bound.balance() - 1);
    deepseek_gap.add(eplb::balance(train, published, shape.num_ranks) / bound.balance() - 1);
    test.add(eplb::balance(loads.test[layer], placed, shape.num_ranks));
    deepseek_test.add(eplb::balance(loads.test[layer], published, shape.num_ranks));
    above += eplb::balance(train, placed, shape.num_ranks) >
             eplb::balance(train, published, shape.num_ranks) * (1 + 1e-9);
    doubled += duplicates(placed, shape);
  }
  std::printf(
      "%2ldx%d %2dx%-2d %-9s bound %.4f deepseek %.4f/%.4f (%.2f%%) ours %.4f/%.4f (%.3f%%, worst "
      "%.3f%%) test %.3f/%.3f ms %.1f (bound %.1f, slowest layer %.1f, deepseek %.1f) above %d "
      "duplicates %d\n",
      setting.layers, shape.num_experts, shape.num_ranks, shape.slots_per_rank,
      popularity.name().c_str(), bounds.mean(), deepseek.mean(), deepseek.highest,
      100 * deepseek_gap.mean(), ours.mean(), ours.highest, 100 * gap.mean(), 100 * gap.highest,
      deepseek_test.mean(), test.mean(), 1e3 * seconds, 1e3 * bound_seconds, 1e3 * slowest,
      1e3 * deepseek_seconds, above, doubled);
  std::fflush(stdout);
}

/// Loads of one layer before and after 30 % of them turn to another mixture of its four domains.
struct Drift {
  std::vector<std::int64_t> before, after;
};

Drift draw_drift(const Popularity& popularity, std::int64_t num_experts, eplb::Random& random) {
  constexpr double kNew = 0.3, kSpread = 0.8;
  constexpr int kDomains = 4;
  const auto base = bench::draw_shares(popularity, num_experts, random);
  std::vector<double> old(num_experts, 0.0), fresh(num_experts, 0.0);
  for (int domain = 0; domain < kDomains; ++domain) {
    const double in_old = random.uniform(), in_fresh = random.uniform();
    for (std::int64_t expert = 0; expert < num_experts; ++expert) {
      const double share = base[expert] * std::exp(kSpread * bench::normal(random));
      old[expert] += in_old * share;
      fresh[expert] += in_fresh * share;
    }
  }
  bench::normalise(old);
  bench::normalise(fresh);
  Drift drift;
  drift.before = bench::draw_counts(old, {}, random);
  for (std::int64_t expert = 0; expert < num_experts; ++expert) {
    old[expert] += kNew * (fresh[expert] - old[expert]);
  }
  drift.after = bench::draw_counts(old, {}, random);
  return drift;
}

void measure_drift(const Setting& setting, const Popularity& popularity, double target,
                   std::uint64_t seed) {
  const eplb::Shape& shape = setting.shape;
  Spread stale, fresh, ours, moved, fresh_moved, milliseconds;
  for (std::int64_t layer = 0; layer < setting.layers; ++layer) {
    eplb::Random random(seed, static_cast<std::uint64_t>(layer));
    const Drift drift = draw_drift(popularity, shape.num_experts, random);
    const auto old =
        eplb::solve_layer(drift.before, shape, eplb::lower_bound(drift.before, shape), {}, random);
    const double begin = thread_seconds();
    const auto placed = eplb::rebalance(old, drift.after, shape, {.target = target});
    milliseconds.add(1e3 * (thread_seconds() - begin));
    const auto published_old = eplb::deepseek_placement(drift.before, shape, 1);
    const auto published = eplb::keep_slots(
        published_old, eplb::deepseek_placement(drift.after, shape, 1), shape.slots_per_rank);

    stale.add(eplb::balance(drift.after, published_old, shape.num_ranks));
    fresh.add(eplb::balance(drift.after, published, shape.num_ranks));
    ours.add(eplb::balance(drift.after, placed, shape.num_ranks));
    const double slots = shape.num_slots();
    moved.add(100 * static_cast<double>(eplb::count_changed(old, placed)) / slots);
    fresh_moved.add(100 * static_cast<double>(eplb::count_changed(published_old, published)) /
                    slots);
  }
  std::printf(
      "drift %ldx%d %2dx%-2d %-9s stale %.3f/%.3f deepseek %.4f moved %.1f%% ours to %.3f: "
      "%.4f/%.4f moved %.1f%% (most %.1f%%) ms a layer %.2f (most %.2f)\n",
      setting.layers, shape.num_experts, shape.num_ranks, shape.slots_per_rank,
      popularity.name().c_str(), stale.mean(), stale.highest, fresh.mean(), fresh_moved.mean(),
      target, ours.mean(), ours.highest, moved.mean(), moved.highest, milliseconds.mean(),
      milliseconds.highest);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "all";
  const int seeds = argc > 2 ? std::atoi(argv[2]) : 1;
  if ((what != "static" && what != "drift" && what != "all") || seeds < 1) {
    std::fprintf(stderr, "usage: eplb_bench [static|drift|all [SEEDS]]\n");
    return 64;
  }
  for (int number = 0; number < seeds; ++number) {
    const auto seed = static_cast<std::uint64_t>(number);
    for (const Setting& setting : kSettings) {
      for (const Popularity& popularity : kPopularities) {
        if (what != "drift") measure_static(setting, popularity, seed);
        if (what == "static") continue;
        for (const double target : {1.05, 1.02, 1.005}) {
          measure_drift(setting, popularity, target, seed);
        }
      }
    }
  }
}
