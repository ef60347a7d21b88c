#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace trireme::io {

/// How often the experts of a model were chosen, by layer and time, and by domain where the prompts
/// name one. Schema `trireme.expert_loads`.
struct ExpertLoads {
  std::string model_name, model_hash;  ///< empty: the file does not say
  std::int64_t top_k = 0, tokens = 0;  ///< 0: the file does not say
  std::int64_t num_experts = 0;
  std::vector<std::int32_t> layer_index;  ///< [layers] the model's numbers of its MoE layers
  std::vector<double> window_seconds;     ///< [windows] what each window covers; one 0: no windows
  std::vector<std::int64_t> counts;       ///< [windows, layers, experts]
  std::vector<std::string> domains;       ///< [domains]
  std::vector<std::int64_t> by_domain;    ///< [domains, layers, experts]

  /// The choices of single tokens, on request; else empty.
  std::vector<std::vector<std::int16_t>> choices;  ///< [layers][tokens · top_k]
  std::vector<std::int32_t> choices_home;          ///< [tokens] the rank that holds the token

  std::int64_t num_layers() const { return static_cast<std::int64_t>(layer_index.size()); }
  std::int64_t num_windows() const { return static_cast<std::int64_t>(window_seconds.size()); }
};

}  // namespace trireme::io
