#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eplb/shape.h"

namespace trireme::eplb {

/// DeepSeek's placement, one layer at a time (github.com/deepseek-ai/EPLB). Where loads are equal
/// the lower id comes first, which the original leaves open.

/// Where balanced_packing() puts each item.
struct Packing {
  std::vector<std::int32_t> pack;   ///< [items]
  std::vector<std::int32_t> place;  ///< [items] within the pack, in order of arrival
};

/// Packs of equally many items: heaviest item first, each to the lightest pack with room.
/// The number of items must be a multiple of num_packs.
Packing balanced_packing(std::span<const std::int64_t> weights, std::int32_t num_packs);

/// The expert of each replica: first one of each expert, then again and again one of the expert
/// whose replicas are heaviest. This makes the heaviest replica as light as it can be. Without any
/// load the replicas are spread evenly over the experts (TensorRT-LLM's rule).
///   loads  [num_experts], of to_fixed_point()
std::vector<std::int32_t> replicate_experts(std::span<const std::int64_t> loads,
                                            std::int32_t num_replicas);

/// The expert of each slot. Hierarchical if num_groups is a multiple of the nodes: groups of
/// experts are packed to nodes, then experts replicated and packed inside each node; else global,
/// as if there were one node. Two replicas of an expert may share a rank.
///   loads       [num_experts]
///   num_groups  divides the experts
std::vector<std::int32_t> deepseek_placement(std::span<const std::int64_t> loads,
                                             const Shape& shape, std::int32_t num_groups);

}  // namespace trireme::eplb
