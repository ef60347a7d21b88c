#include "eplb/traffic_packing.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "eplb/cooling.h"
#include "eplb/random.h"

namespace trireme::eplb {

namespace {

class NodePacking {
 public:
  NodePacking(std::span<const Replica> replicas, std::int32_t num_ranks)
      : slots_per_rank_(replicas.size() / num_ranks), ranks_(num_ranks), loads_(num_ranks, 0) {
    std::vector<Replica> order(replicas.begin(), replicas.end());
    std::ranges::sort(order, [](const Replica& a, const Replica& b) {
      return a.load != b.load ? a.load > b.load : a.expert < b.expert;
    });
    for (const Replica& replica : order) place(replica);
  }

  /// Exchanges a second replica on a rank for one of another rank.
  void part_duplicates() {
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      for (Replica& replica : ranks_[rank]) {
        if (count(rank, replica.expert) > 1) part(rank, replica);
      }
    }
  }

  /// Takes the best exchange with the most loaded rank until there is none that helps.
  void descend() {
    while (true) {
      const std::size_t hot = std::ranges::max_element(loads_) - loads_.begin();
      Replica *best = nullptr, *best_other = nullptr;
      std::size_t best_rank = 0;
      std::int64_t best_load = loads_[hot];
      for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
        if (rank == hot) continue;
        for (Replica& replica : ranks_[hot]) {
          for (Replica& other : ranks_[rank]) {
            const std::int64_t moved = replica.load - other.load;
            const std::int64_t load = std::max(loads_[hot] - moved, loads_[rank] + moved);
            if (moved <= 0 || load >= best_load) continue;
            if (count(rank, replica.expert) > 0 || count(hot, other.expert) > 0) continue;
            best = &replica;
            best_other = &other;
            best_rank = rank;
            best_load = load;
          }
        }
      }
      if (best == nullptr) return;
      exchange(hot, *best, best_rank, *best_other);
    }
  }

  /// Exchanges at random, on the sum of squares of what ranks have above the mean.
  void anneal(std::uint64_t seed) {
    const auto num_ranks = static_cast<std::int32_t>(ranks_.size());
    const std::int64_t total = std::accumulate(loads_.begin(), loads_.end(), std::int64_t{0});
    const std::int64_t mean = total / num_ranks;
    Random random(seed);
    Cooling cooling(kFirstTemperature * square(static_cast<double>(mean)), kHalvings, kNumSteps);
    for (std::int64_t step = 0; step < kNumSteps; ++step, cooling.cool()) {
      const std::int32_t rank = random.below(num_ranks), other_rank = random.below(num_ranks);
      const auto slots = static_cast<std::int32_t>(slots_per_rank_);
      Replica& replica = ranks_[rank][random.below(slots)];
      Replica& other = ranks_[other_rank][random.below(slots)];
      const std::int64_t moved = replica.load - other.load;
      const auto above = [&](std::int64_t load) {
        return square(static_cast<double>(std::max<std::int64_t>(load - mean, 0)));
      };
      const double before = above(loads_[rank]) + above(loads_[other_rank]);
      const double after = above(loads_[rank] - moved) + above(loads_[other_rank] + moved);
      if (rank == other_rank || moved == 0 || !cooling.accepts(after - before, random)) continue;
      if (count(other_rank, replica.expert) > 0 || count(rank, other.expert) > 0) continue;
      exchange(rank, replica, other_rank, other);
    }
  }

  std::int64_t highest() const { return *std::ranges::max_element(loads_); }

  std::vector<std::int32_t> experts() const {
    std::vector<std::int32_t> all;
    for (const auto& rank : ranks_) {
      for (const Replica& replica : rank) all.push_back(replica.expert);
    }
    return all;
  }

 private:
  static constexpr double kFirstTemperature = 1e-2, kHalvings = 20;  // of the squared mean
  static constexpr std::int64_t kNumSteps = 50'000;

  static double square(double value) { return value * value; }

  std::int64_t count(std::size_t rank, std::int32_t expert) const {
    return std::ranges::count(ranks_[rank], expert, &Replica::expert);
  }

  void place(const Replica& replica) {
    std::size_t best = ranks_.size();
    bool best_twice = false;
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      if (ranks_[rank].size() == slots_per_rank_) continue;
      const bool twice = count(rank, replica.expert) > 0;
      if (best == ranks_.size() || twice < best_twice ||
          (twice == best_twice && loads_[rank] < loads_[best])) {
        best = rank;
        best_twice = twice;
      }
    }
    TRIREME_CHECK(best < ranks_.size(), "more replicas than slots");
    ranks_[best].push_back(replica);
    loads_[best] += replica.load;
  }

  void part(std::size_t rank, Replica& replica) {
    for (std::size_t other = 0; other < ranks_.size(); ++other) {
      if (count(other, replica.expert) > 0) continue;
      for (Replica& candidate : ranks_[other]) {
        if (count(rank, candidate.expert) > 0) continue;
        exchange(rank, replica, other, candidate);
        return;
      }
    }
  }

  void exchange(std::size_t rank, Replica& replica, std::size_t other_rank, Replica& other) {
    loads_[rank] += other.load - replica.load;
    loads_[other_rank] += replica.load - other.load;
    std::swap(replica, other);
  }

  std::size_t slots_per_rank_;
  std::vector<std::vector<Replica>> ranks_;
  std::vector<std::int64_t> loads_;
};

}  // namespace

std::vector<std::int32_t> pack_node(std::span<const Replica> replicas, std::int32_t num_ranks,
                                    std::int64_t enough, std::uint64_t seed) {
  TRIREME_CHECK(replicas.size() % num_ranks == 0, replicas.size(), " replicas on ", num_ranks,
                " ranks");
  NodePacking packing(replicas, num_ranks);
  packing.part_duplicates();
  packing.descend();
  if (packing.highest() <= enough) return packing.experts();
  NodePacking annealed = packing;
  annealed.anneal(seed);
  annealed.descend();
  return annealed.highest() < packing.highest() ? annealed.experts() : packing.experts();
}

}  // namespace trireme::eplb
