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

/// What a file of loads may hold at most.
inline constexpr std::int64_t kMaxLoadLayers = 4096;
inline constexpr std::int64_t kMaxLoadExperts = 32767;  ///< choices are int16
inline constexpr std::int64_t kMaxLoadCounts = std::int64_t{1} << 27;
inline constexpr std::int64_t kMaxLoadChoices = std::int64_t{1} << 29;
inline constexpr std::int64_t kMaxLoadDomains = 1024;
/// The sum of all counts: up to here doubles are exact.
inline constexpr std::int64_t kMaxLoadSum = std::int64_t{1} << 53;

/// The domain that holds what has none of the others.
inline constexpr const char* kOtherDomain = "(other)";

/// Reads and checks a whole file. Throws Error(missing), or Error(input) naming file, object and
/// value for everything that breaks the schema; links and data in other files are refused.
ExpertLoads read_expert_loads(const std::string& path);

/// Writes PATH.tmp, then renames it to PATH: what was there is replaced, and the file is there
/// whole or not at all. The loads must keep the schema. Throws Error(output), Error(io).
void write_expert_loads(const ExpertLoads& loads, const std::string& path);

/// Loads of the same model as one: the windows one after the other, domains and single tokens
/// united. `names` says what messages call each. Loads of another model hash, other layers or
/// another number of experts are refused with Error(input), by their name.
ExpertLoads merge_loads(std::span<const ExpertLoads> loads, std::span<const std::string> names);

/// The counts of all windows together, [layers, experts].
std::vector<std::int64_t> total_counts(const ExpertLoads& loads);

/// SHA-256 over everything that a placement is planned from.
std::string content_hash(const ExpertLoads& loads);

}  // namespace trireme::io
