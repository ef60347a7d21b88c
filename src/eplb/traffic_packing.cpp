#include "eplb/traffic_packing.h"

#include <algorithm>

#include "base/error.h"

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

  std::vector<std::int32_t> experts() const {
    std::vector<std::int32_t> all;
    for (const auto& rank : ranks_) {
      for (const Replica& replica : rank) all.push_back(replica.expert);
    }
    return all;
  }

 private:
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

std::vector<std::int32_t> pack_node(std::span<const Replica> replicas, std::int32_t num_ranks) {
  TRIREME_CHECK(replicas.size() % num_ranks == 0, replicas.size(), " replicas on ", num_ranks,
                " ranks");
  NodePacking packing(replicas, num_ranks);
  packing.part_duplicates();
  packing.descend();
  return packing.experts();
}

}  // namespace trireme::eplb
