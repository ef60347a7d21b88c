#pragma once

#include <span>
#include <string>

#include "layers/forward_batch.h"
#include "layers/shard.h"
#include "layers/weight.h"

namespace trireme::layers {

/// Rows of a vocabulary × hidden_size table of which each rank holds a range of ids.
tensor::Tensor declare_vocab_rows(checkpoint::WeightLoader& loader, const std::string& name,
                                  std::int64_t vocab_size, std::int64_t hidden_size,
                                  const VocabRange& range);

/// Token ids to hidden states.
class VocabEmbedding {
 public:
  VocabEmbedding(checkpoint::WeightLoader& loader, const std::string& name, std::int64_t vocab_size,
                 std::int64_t hidden_size, const Shard& shard);

  /// y [tokens, hidden_size]. Collective over tp when the vocabulary is split.
  void forward(ForwardContext& context, std::span<const std::int32_t> ids,
               const TensorView& y) const;

  /// [num_columns of the range, hidden_size]
  const TensorView& weight() const { return table_.view(); }

 private:
  bool is_split_;
  VocabRange range_;
  tensor::Tensor table_;
};

}  // namespace trireme::layers
