#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "engine/row_logits.h"
#include "engine/sample_row.h"
#include "engine/sampling_params.h"
#include "engine/shard_part.h"
#include "models/model.h"
#include "tensor/tensor.h"

namespace trireme::engine {

/// Draws by the definition of DESIGN section 5 over logits that are spread over the vocabulary's
/// shards. All calls are collective over `group` (the tp group; one rank alone holds everything)
/// with the same rows; every rank gets the same result, bit for bit. A call costs one small
/// all_gather (a bounded number of rows each), and some more only where top_p or a large top_k
/// keeps so many candidates that whole rows must be brought together. One rank alone does not
/// communicate.
class Sampler {
 public:
  Sampler(const models::CausalLm::VocabShard& shard, std::int64_t vocab_size,
          comm::Communicator& group);

  /// logits [rows, shard.num_columns] float32; not changed.
  std::vector<SampledToken> sample(const tensor::TensorView& logits,
                                   std::span<const SampleRow> rows);

  /// Log-probability of each row's target. NaN: every logit of the row is −inf or NaN.
  std::vector<float> score(const tensor::TensorView& logits, std::span<const ScoreRow> rows);

 private:
  /// Collective, once: which rank holds which ids.
  void learn_shards();
  void check_logits(const tensor::TensorView& logits) const;
  std::span<const float> logits_of(const tensor::TensorView& logits, std::int64_t row) const;
  /// The ranks' words of equal number, one after the other.
  std::span<const std::int32_t> gather(std::span<std::int32_t> words);

  /// Rows whose parts are gathered together.
  void sample_together(const tensor::TensorView& logits, std::span<const SampleRow> rows,
                       std::span<const PartForm> forms, std::span<SampledToken> sampled);
  /// Rows that no list decides, in slices of bounded memory. Each rank brings some of them
  /// together.
  struct WholeRow {
    const SampleRow* row;
    RowOutcome outcome;
    SampledToken* sampled;
  };
  void sample_whole_rows(const tensor::TensorView& logits, std::span<WholeRow> rows);
  std::vector<std::int32_t> draw_whole_rows(const tensor::TensorView& logits,
                                            std::span<const WholeRow> rows);
  std::vector<std::int32_t> draw_exchanged(const tensor::TensorView& logits,
                                           std::span<const WholeRow> rows);
  /// The model's logit of each row's token, wherever it lies.
  std::vector<float> logits_of_tokens(const tensor::TensorView& logits,
                                      std::span<const WholeRow> rows,
                                      std::span<const std::int32_t> tokens);

  models::CausalLm::VocabShard shard_;
  std::int64_t vocab_size_;
  comm::Communicator& group_;
  std::vector<std::int64_t> shard_begin_;  ///< [ranks + 1]; empty until learned
  std::vector<RowScratch> scratch_;        ///< by thread
  std::vector<std::int32_t> words_, gathered_;
};

}  // namespace trireme::engine
