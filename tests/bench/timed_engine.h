#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/dtype.h"
#include "checkpoint/model_config.h"
#include "kernels/instruction_set.h"

namespace trireme::bench {

/// Equal sequences that start together; the tokens of their prompts are drawn at random.
struct Workload {
  std::int64_t num_seqs = 1, prompt_tokens = 1, output_tokens = 1;
};

/// Seconds of one round: until every sequence has its first token, and from there to the end.
struct RoundTime {
  double prompt_s = 0, output_s = 0;
  std::int64_t output_tokens = 0;  ///< in output_s
};

struct EngineSettings {
  kernels::cpu::InstructionSet set;
  DType dtype = DType::float32;  ///< of activations and KV, as the key `dtype`
  std::int64_t max_num_tokens = 2048, max_batch_size = 64;
  double (*clock)() = monotonic_seconds;
};

/// A model in memory, run by engines of one rank with as many threads as OpenMP is set to.
class TimedModel {
 public:
  /// Loads a dense model. Collective over MPI_COMM_WORLD, which has one rank.
  explicit TimedModel(const std::string& model_dir);
  ~TimedModel();

  /// Times of `rounds` rounds, after one that warms caches and memory up.
  std::vector<RoundTime> run(const EngineSettings& settings, const Workload& workload, int rounds);

  /// What every step reads, the embedding of its own tokens left out.
  double weight_bytes() const;
  /// Floating-point operations of one token in the layers (without the keys before it), and in the
  /// product with the vocabulary.
  double layer_flops() const;
  double head_flops() const;
  const checkpoint::ModelConfig& config() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::bench
