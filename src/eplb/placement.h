#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trireme::eplb {

/// Which replica of an expert computes a token.
enum class ReplicaChoice {
  quota,  ///< any replica, by the weights of their slots
  home,   ///< one on the token's own rank, else on its node by quota, else any by quota
};

/// Which expert each slot of one layer holds. EP rank r owns slots [r · S, (r + 1) · S) with
/// S = num_slots / ep_size.
struct LayerPlacement {
  std::int32_t layer = 0;                    ///< the model's number of the layer
  std::vector<std::int32_t> expert_of_slot;  ///< [num_slots]
  std::vector<std::int32_t> slot_weights;    ///< [num_slots] ≥ 1; empty: replicas share evenly
};

/// Where the experts of a model live, and what was known when that was decided.
struct Placement {
  std::int64_t num_slots = 0;
  std::int64_t ep_size = 0;  ///< 0: the file does not say
  std::int64_t num_nodes = 1;
  std::int64_t layer_updates_per_iter =
      0;  ///< TensorRT-LLM's key: 0 while the job does not change it
  ReplicaChoice replica_choice = ReplicaChoice::quota;
  std::vector<LayerPlacement> layers;  ///< ascending by layer
  std::string model_name, model_hash;  ///< empty: the file does not say
};

}  // namespace trireme::eplb
