#include "layers/embedding.h"

#include "ops/ops.h"

namespace trireme::layers {

tensor::Tensor declare_vocab_rows(checkpoint::WeightLoader& loader, const std::string& name,
                                  std::int64_t vocab_size, std::int64_t hidden_size,
                                  const VocabRange& range) {
  const WeightPart part{name,
                        {vocab_size, hidden_size},
                        {0, range.begin, range.begin + range.num_valid},
                        0,
                        range.num_valid};
  return declare_weight(loader, {range.num_columns, hidden_size}, {&part, 1});
}

VocabEmbedding::VocabEmbedding(checkpoint::WeightLoader& loader, const std::string& name,
                               std::int64_t vocab_size, std::int64_t hidden_size,
                               const Shard& shard)
    : is_split_(shard.tp_size > 1),
      range_(vocab_range(vocab_size, shard)),
      table_(declare_vocab_rows(loader, name, vocab_size, hidden_size, range_)) {}

void VocabEmbedding::forward(ForwardContext& context, std::span<const std::int32_t> ids,
                             const TensorView& y) const {
  ops::embedding(context.ops, ids, table_, range_.begin, y);
  if (is_split_) context.groups.tp->all_reduce(y);
}

}  // namespace trireme::layers
