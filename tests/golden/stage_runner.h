#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "comm/process_groups.h"
#include "models/model.h"

namespace trireme::test {

/// Tokens of one sequence in one step.
struct Chunk {
  int sequence = 0;
  std::vector<std::int32_t> tokens;
  std::int32_t first_position = 0;
  enum class Logits { none, of_last, of_all };
  Logits logits = Logits::of_last;
};

/// One rank's stage of a model with KV memory for a few sequences, which owns its blocks from the
/// beginning: what an engine does, without scheduling. Steps are collective over the stage's
/// groups.
class StageRunner {
 public:
  struct Options {
    std::string model_dir;
    topology::Sizes sizes = {};
    topology::Coordinates coordinates = {};
    int num_sequences = 12;
    std::int64_t max_seq_len = 384;
    std::int64_t tokens_per_block = 16;
    std::int64_t moe_max_num_tokens = 1 << 20;
  };
  /// `groups`: may be empty for one rank.
  StageRunner(const Options& options, const comm::ProcessGroups& groups);

  /// Runs one step of this rank's chunks, receives the hidden states from the stage before and
  /// sends them on. Returns, on the last stage, the wanted rows of logits over the whole
  /// vocabulary.
  std::vector<std::vector<float>> step(const std::vector<Chunk>& chunks);

  const checkpoint::ModelConfig& config() const { return config_; }
  const models::CausalLm& model() const { return *model_; }
  std::int64_t bytes_read() const { return bytes_read_; }

 private:
  struct Batch;  // the memory behind a ForwardBatch
  void allocate_kv();
  Batch make_batch(const std::vector<Chunk>& chunks) const;
  std::vector<std::int32_t> tokens_of_ranks(std::int32_t mine) const;
  std::vector<std::vector<float>> gather(const tensor::TensorView& logits) const;

  Options options_;
  const comm::ProcessGroups& groups_;
  checkpoint::ModelConfig config_;
  std::unique_ptr<models::CausalLm> model_;
  ops::Context ops_;
  std::int64_t blocks_per_sequence_ = 0;
  std::vector<tensor::Tensor> kv_memory_;
  std::vector<kernels::KvCache> caches_;
  std::int64_t bytes_read_ = 0;
};

}  // namespace trireme::test
