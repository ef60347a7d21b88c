#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/model_config.h"
#include "models/layout_check.h"
#include "topology/topology.h"

namespace trireme::test {

/// Every valid layout of `world` ranks for a model: DP × PP × TP, attention DP on and off where TP
/// > 1, and for a mixture of experts every moe_tp × moe_ep of the tp group. Over 2, 4 and 8 ranks
/// 28 for a dense model of four layers and 58 for one with experts.
inline std::vector<topology::Sizes> rank_layouts(int world, const checkpoint::ModelConfig& model) {
  std::vector<topology::Sizes> layouts;
  const auto add_if_valid = [&](const topology::Sizes& sizes) {
    if (models::check_layout(model, config::RunConfig(), sizes).empty()) layouts.push_back(sizes);
  };
  for (int tp = 1; tp <= world; ++tp) {
    for (int pp = 1; pp <= world; ++pp) {
      if (world % (tp * pp) != 0) continue;
      for (const bool attention_dp : {false, true}) {
        if (attention_dp && tp == 1) continue;
        for (int moe_ep = 1; moe_ep <= tp; ++moe_ep) {
          if (tp % moe_ep != 0 || (model.num_experts == 0 && moe_ep > 1)) continue;
          add_if_valid({.tp = tp,
                        .pp = pp,
                        .dp = world / (tp * pp),
                        .moe_tp = tp / moe_ep,
                        .moe_ep = moe_ep,
                        .attention_dp = attention_dp});
        }
      }
    }
  }
  return layouts;
}

/// Such as "dp1 pp2 tp4 moe_tp2 moe_ep2 attention_dp".
inline std::string layout_name(const topology::Sizes& sizes) {
  return cat("dp", sizes.dp, " pp", sizes.pp, " tp", sizes.tp, " moe_tp", sizes.moe_tp, " moe_ep",
             sizes.moe_ep, sizes.attention_dp ? " attention_dp" : "");
}

}  // namespace trireme::test
