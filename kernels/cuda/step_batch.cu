#include "kernels/step_batch.h"

#include "kernels/cuda/detail/launch.cuh"

namespace trireme::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// The row that a token belongs to; num_seqs for those behind the last. Rows without tokens come
/// last and begin where the tokens end.
__device__ std::int64_t row_of(const StepArrays& a, std::int64_t token) {
  std::int64_t low = 0, high = a.num_seqs;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (a.rows[middle].first_token + a.rows[middle].num_tokens <= token) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

__device__ void write_token(const StepArrays& a, std::int64_t token) {
  const std::int64_t row_idx = row_of(a, token);
  if (row_idx == a.num_seqs) {
    a.token_ids[token] = 0;
    a.positions[token] = 0;
    for (int group = 0; group < a.num_groups; ++group) a.groups[group].slot_mapping[token] = -1;
    return;
  }
  const StepRow row = a.rows[row_idx];
  const int offset = static_cast<int>(token) - row.first_token;
  const int position = row.first_position + offset;
  const std::int32_t id = row.first_id < 0 ? a.last_token[row.slot] : a.ids[row.first_id + offset];
  a.token_ids[token] = id;
  if (a.history != nullptr) a.history[row.slot * a.history_stride + position] = id;
  a.positions[token] = position;
  const int tokens_per_block = static_cast<int>(a.tokens_per_block);
  for (int group = 0; group < a.num_groups; ++group) {
    const StepArrays::Group& g = a.groups[group];
    const std::int64_t block = g.block_table[row.slot * g.max_blocks + position / tokens_per_block];
    g.slot_mapping[token] = block < 0 ? -1 : block * tokens_per_block + position % tokens_per_block;
  }
}

__global__ void expand_kernel(const StepArrays a) {
  start_next_kernel();
  wait_for_earlier_kernels();
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at < a.num_tokens) write_token(a, at);
  if (at > a.num_seqs) return;
  if (at < a.num_seqs) {
    const StepRow row = a.rows[at];
    a.q_begin[at] = row.first_token;
    a.first_position[at] = row.first_position;
    a.table_row[at] = row.slot;
  } else {
    const StepRow last = a.rows[at - 1];
    a.q_begin[at] = last.first_token + last.num_tokens;
  }
}

__global__ void enter_kernel(const TableEntry* entries, std::int64_t num_entries,
                             std::int32_t* table, std::int64_t num_columns) {
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= num_entries) return;
  const TableEntry entry = entries[at];
  table[entry.row * num_columns + entry.column] = entry.value;
}

}  // namespace

void expand_step(const StepArrays& arrays, Stream stream) {
  TRIREME_CHECK(arrays.num_groups <= kMostLayerGroups && arrays.num_seqs >= 1,
                "num_groups=", arrays.num_groups, " num_seqs=", arrays.num_seqs);
  const std::int64_t count =
      arrays.num_tokens > arrays.num_seqs ? arrays.num_tokens : arrays.num_seqs + 1;
  launch_overlapped(expand_kernel, {static_cast<unsigned>(ceil_div(count, kThreads)), kThreads},
                    stream, arrays);
  check_launch("expand_step");
}

void enter(const TableEntry* entries, std::int64_t num_entries, std::int32_t* table,
           std::int64_t num_columns, Stream stream) {
  if (num_entries == 0) return;
  enter_kernel<<<static_cast<unsigned>(ceil_div(num_entries, kThreads)), kThreads, 0, stream>>>(
      entries, num_entries, table, num_columns);
  check_launch("enter");
}

}  // namespace trireme::kernels::cuda
