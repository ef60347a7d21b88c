#pragma once

#include <string>

#include "layers/embedding.h"

namespace trireme::layers {

/// Hidden states to the logits of this rank's range of the vocabulary.
class LmHead {
 public:
  LmHead(checkpoint::WeightLoader& loader, const std::string& name, std::int64_t vocab_size,
         std::int64_t hidden_size, const Shard& shard)
      : weight_(declare_vocab_rows(loader, name, vocab_size, hidden_size,
                                   vocab_range(vocab_size, shard))) {}
  /// Tied: the embedding's weight, which must live as long as this.
  explicit LmHead(const VocabEmbedding& embedding) : tied_(&embedding) {}

  /// x [rows, hidden_size] -> y [rows, num_columns of the range]. No communication.
  void forward(ops::Context& context, const TensorView& x, const TensorView& y) const;

 private:
  const VocabEmbedding* tied_ = nullptr;
  tensor::Tensor weight_;
};

}  // namespace trireme::layers
