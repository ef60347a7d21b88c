#include "eplb/scenario_state.h"

#include <algorithm>

#include "base/error.h"
#include "base/vector_clones.h"

namespace trireme::eplb {

namespace {

// Loads are below 2^26, so sums over one vector of scenarios stay below 2^29.
constexpr std::int64_t kLanes = 8;

/// Everything cost_of_swap reads, [width] each.
struct SwapRows {
  const std::int32_t *unit, *other_unit, *load, *other_load;
  const std::int32_t *top_load, *top_rank;  // [2, width] and [width]
  std::int32_t rank, other_rank;
};

/// If the two most loaded ranks exchange, one of them keeps at least the load of the second: what
/// the third has does not matter.
TRIREME_VECTOR_CLONES
std::int64_t swap_cost(const SwapRows& rows, std::int64_t width) {
  const std::int32_t *top0 = rows.top_load, *top1 = top0 + width;
  const std::int32_t g = rows.rank, h = rows.other_rank;
  std::int64_t cost = 0;
  for (std::int64_t block = 0; block < width; block += kLanes) {
    std::int32_t sum = 0;
    for (std::int64_t t = block; t < block + kLanes; ++t) {
      const std::int32_t moved = rows.unit[t] - rows.other_unit[t];
      const std::int32_t changed = std::max(rows.load[t] - moved, rows.other_load[t] + moved);
      const bool stays = (rows.top_rank[t] != g) & (rows.top_rank[t] != h);
      sum += std::max(stays ? top0[t] : top1[t], changed);
    }
    cost += sum;
  }
  return cost;
}

TRIREME_VECTOR_CLONES
void fold_maximum(const std::int32_t* load, std::int32_t* maximum, std::int64_t width) {
  for (std::int64_t t = 0; t < width; ++t) maximum[t] = std::max(maximum[t], load[t]);
}

TRIREME_VECTOR_CLONES
void move_load(std::int32_t* from, std::int32_t* to, const std::int32_t* unit,
               const std::int32_t* other_unit, std::int64_t width) {
  for (std::int64_t t = 0; t < width; ++t) {
    const std::int32_t moved = unit[t] - other_unit[t];
    from[t] -= moved;
    to[t] += moved;
  }
}

/// Inserts the loads of a rank, [width], into the two highest.
TRIREME_VECTOR_CLONES
void insert_rank(const std::int32_t* load, std::int32_t rank, std::int32_t* top_load,
                 std::int32_t* top_rank, std::int64_t width) {
  std::int32_t *top0 = top_load, *top1 = top0 + width;
  for (std::int64_t t = 0; t < width; ++t) {
    top1[t] = std::max(top1[t], std::min(load[t], top0[t]));
    top_rank[t] = load[t] > top0[t] ? rank : top_rank[t];
    top0[t] = std::max(top0[t], load[t]);
  }
}

}  // namespace

ScenarioState::ScenarioState(const Scenarios& scenarios, const Shape& shape,
                             std::vector<std::int32_t> expert_of_slot)
    : shape_(shape),
      num_scenarios_(scenarios.num_scenarios),
      width_((scenarios.num_scenarios + kLanes - 1) / kLanes * kLanes),
      expert_of_slot_(std::move(expert_of_slot)),
      replicas_(count_replicas(expert_of_slot_, shape.num_experts)),
      counts_(shape.num_experts * shape.num_ranks, 0),
      weights_(shape.num_experts * width_, 0),
      units_(shape.num_experts * width_, 0),
      loads_(shape.num_ranks * width_, 0),
      top_load_(2 * width_),
      top_rank_(width_),
      maximum_(width_),
      unit_buffer_(2 * width_),
      load_buffer_(shape.num_ranks * width_) {
  for (std::int32_t expert = 0; expert < shape.num_experts; ++expert) {
    TRIREME_CHECK(replicas_[expert] > 0, "expert ", expert, " has no slot");
    for (std::int64_t t = 0; t < scenarios.num_scenarios; ++t) {
      weights_[expert * width_ + t] = scenarios.loads[t * shape.num_experts + expert];
    }
    write_unit(expert, replicas_[expert], &units_[expert * width_]);
  }
  for (std::int32_t slot = 0; slot < shape.num_slots(); ++slot) {
    const std::int32_t expert = expert_of_slot_[slot], rank = rank_of(slot);
    ++counts_[expert * shape.num_ranks + rank];
    for (std::int64_t t = 0; t < width_; ++t) {
      loads_[rank * width_ + t] += units_[expert * width_ + t];
    }
  }
  find_tops();
  for (std::int64_t t = 0; t < width_; ++t) cost_ += top_load_[t];
}

void ScenarioState::write_unit(std::int32_t expert, std::int32_t replicas,
                               std::int32_t* unit) const {
  const std::int32_t* weight = &weights_[expert * width_];
  for (std::int64_t t = 0; t < width_; ++t) unit[t] = (weight[t] + replicas / 2) / replicas;
}

void ScenarioState::find_tops() {
  std::ranges::fill(top_load_, -1);
  std::ranges::fill(top_rank_, 0);
  for (std::int32_t rank = 0; rank < shape_.num_ranks; ++rank) {
    insert_rank(&loads_[rank * width_], rank, top_load_.data(), top_rank_.data(), width_);
  }
}

std::int64_t ScenarioState::cost_of_swap(std::int32_t slot, std::int32_t other) const {
  const std::int32_t rank = rank_of(slot), other_rank = rank_of(other);
  return swap_cost({.unit = &units_[expert_of_slot_[slot] * width_],
                    .other_unit = &units_[expert_of_slot_[other] * width_],
                    .load = &loads_[rank * width_],
                    .other_load = &loads_[other_rank * width_],
                    .top_load = top_load_.data(),
                    .top_rank = top_rank_.data(),
                    .rank = rank,
                    .other_rank = other_rank},
                   width_);
}

void ScenarioState::swap(std::int32_t slot, std::int32_t other, std::int64_t new_cost) {
  const std::int32_t rank = rank_of(slot), other_rank = rank_of(other);
  const std::int32_t expert = expert_of_slot_[slot], other_expert = expert_of_slot_[other];
  move_load(&loads_[rank * width_], &loads_[other_rank * width_], &units_[expert * width_],
            &units_[other_expert * width_], width_);
  --counts_[expert * shape_.num_ranks + rank];
  ++counts_[expert * shape_.num_ranks + other_rank];
  --counts_[other_expert * shape_.num_ranks + other_rank];
  ++counts_[other_expert * shape_.num_ranks + rank];
  std::swap(expert_of_slot_[slot], expert_of_slot_[other]);
  find_tops();
  cost_ = new_cost;
}

std::int64_t ScenarioState::cost_of_retarget(std::int32_t slot, std::int32_t expert) {
  const std::int32_t old = expert_of_slot_[slot], slot_rank = rank_of(slot);
  std::int32_t* unit = unit_buffer_.data();
  std::int32_t* old_unit = unit + width_;
  write_unit(expert, replicas_[expert] + 1, unit);
  write_unit(old, replicas_[old] - 1, old_unit);
  changed_.clear();
  std::ranges::fill(maximum_, 0);
  for (std::int32_t rank = 0; rank < shape_.num_ranks; ++rank) {
    const std::int32_t had = count(expert, rank), old_had = count(old, rank);
    const std::int32_t* load = &loads_[rank * width_];
    if (had + old_had > 0) {
      const std::int32_t here = rank == slot_rank;
      const std::int32_t has = had + here, old_has = old_had - here;
      const std::int32_t* before = &units_[expert * width_];
      const std::int32_t* old_before = &units_[old * width_];
      std::int32_t* after = &load_buffer_[rank * width_];
      for (std::int64_t t = 0; t < width_; ++t) {
        after[t] = load[t] + has * unit[t] - had * before[t] + old_has * old_unit[t] -
                   old_had * old_before[t];
      }
      changed_.push_back(rank);
      load = after;
    }
    fold_maximum(load, maximum_.data(), width_);
  }
  std::int64_t cost = 0;
  for (const std::int32_t load : maximum_) cost += load;
  return cost;
}

void ScenarioState::retarget(std::int32_t slot, std::int32_t expert, std::int64_t new_cost) {
  const std::int32_t old = expert_of_slot_[slot], rank = rank_of(slot);
  for (const std::int32_t changed : changed_) {
    std::copy_n(&load_buffer_[changed * width_], width_, &loads_[changed * width_]);
  }
  std::copy_n(unit_buffer_.data(), width_, &units_[expert * width_]);
  std::copy_n(unit_buffer_.data() + width_, width_, &units_[old * width_]);
  ++replicas_[expert];
  --replicas_[old];
  ++counts_[expert * shape_.num_ranks + rank];
  --counts_[old * shape_.num_ranks + rank];
  expert_of_slot_[slot] = expert;
  find_tops();
  cost_ = new_cost;
}

}  // namespace trireme::eplb
