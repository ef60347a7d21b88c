#pragma once

#include <algorithm>
#include <cstdint>

#include "base/error.h"
#include "checkpoint/weight_loader.h"

namespace trireme::layers {

/// Which part of the weights a rank holds. Under attention DP everything but the routed experts is
/// replicated: tp_size is 1 then, whatever the size of the tp group.
struct Shard {
  int tp_size = 1, tp_rank = 0;          ///< attention, dense MLPs, vocabulary
  int moe_tp_size = 1, moe_tp_rank = 0;  ///< the experts' intermediate size
  int moe_ep_size = 1, moe_ep_rank = 0;  ///< the experts
};

/// The `rank`-th of `num_ranks` equal parts of an extent along a dimension.
inline checkpoint::Slice even_slice(int dim, std::int64_t extent, int rank, int num_ranks) {
  TRIREME_CHECK(extent % num_ranks == 0, "extent=", extent, " ranks=", num_ranks);
  const std::int64_t part = extent / num_ranks;
  return {dim, rank * part, (rank + 1) * part};
}

/// Ids [begin, begin + num_valid) of a vocabulary that is padded to equal shards of `num_columns`.
struct VocabRange {
  std::int64_t begin = 0, num_valid = 0, num_columns = 0;
};

inline VocabRange vocab_range(std::int64_t vocab_size, const Shard& shard) {
  const std::int64_t columns = (vocab_size + shard.tp_size - 1) / shard.tp_size;
  const std::int64_t begin = std::min(vocab_size, shard.tp_rank * columns);
  return {begin, std::min(columns, vocab_size - begin), columns};
}

}  // namespace trireme::layers
