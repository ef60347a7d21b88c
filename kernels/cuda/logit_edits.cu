#include "kernels/logit_edits.h"

#include <cmath>

#include "kernels/cuda/detail/launch.cuh"

// A cta for each part of each row: it counts the slot's tokens that are ids of its part, so that
// every id is counted exactly, however long the history is.
namespace trireme::kernels::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kIdsPerPart = 8192;
constexpr unsigned kInPrompt = 1U << 31;  // beside the count of generated ones

/// The ids of a cta: first how often each occurs, then their logits.
struct Part {
  unsigned* words;  ///< [kIdsPerPart], shared memory
  int first_id, count;

  /// `count` or more: an id of another part, or none.
  __device__ unsigned column_of(std::int32_t id) const {
    return static_cast<unsigned>(id) - static_cast<unsigned>(first_id);
  }
  __device__ bool has(unsigned column) const { return column < static_cast<unsigned>(count); }
};

__device__ void count_tokens(const LogitEdits& e, const LogitEditRow& row, const Part& part) {
  for (int i = static_cast<int>(threadIdx.x); i < part.count; i += kThreads) part.words[i] = 0;
  __syncthreads();
  const std::int32_t* tokens = e.history + row.slot * e.history_stride;
  for (int i = static_cast<int>(threadIdx.x); i < row.num_tokens; i += kThreads) {
    const unsigned column = part.column_of(tokens[i]);
    if (!part.has(column)) continue;
    if (i < row.prompt_length) {
      atomicOr(part.words + column, kInPrompt);
    } else {
      atomicAdd(part.words + column, 1U);
    }
  }
  __syncthreads();
}

// Each operation is rounded by itself, as on the CPU.
__device__ float penalised(float logit, unsigned occurrences, const LogitEditRow& row) {
  if (occurrences == 0) return logit;
  const float value = logit > 0 ? __fdiv_rn(logit, row.repetition_penalty)
                                : __fmul_rn(logit, row.repetition_penalty);
  const unsigned num_generated = occurrences & ~kInPrompt;
  if (num_generated == 0) return value;
  const float of_count = __fmul_rn(row.frequency_penalty, __uint2float_rn(num_generated));
  return __fsub_rn(value, __fadd_rn(row.presence_penalty, of_count));
}

/// Of biases for one id, the thread of the first adds all.
__device__ void add_biases(const LogitChange* biases, int num_biases, const Part& part) {
  for (int i = static_cast<int>(threadIdx.x); i < num_biases; i += kThreads) {
    const std::int32_t id = biases[i].id;
    const unsigned column = part.column_of(id);
    if (!part.has(column) || (i > 0 && biases[i - 1].id == id)) continue;
    float value = __uint_as_float(part.words[column]);
    for (int at = i; at < num_biases && biases[at].id == id; ++at) {
      value = __fadd_rn(value, biases[at].value);
    }
    part.words[column] = __float_as_uint(value);
  }
}

// An id may be banned twice.
__device__ void ban(const LogitChange* banned, int num_banned, const Part& part) {
  for (int i = static_cast<int>(threadIdx.x); i < num_banned; i += kThreads) {
    const unsigned column = part.column_of(banned[i].id);
    if (part.has(column)) atomicExch(part.words + column, __float_as_uint(-INFINITY));
  }
}

__global__ void __launch_bounds__(kThreads) edit_kernel(const LogitEdits e) {
  __shared__ unsigned words[kIdsPerPart];
  const std::int64_t row_idx = blockIdx.y;
  const LogitEditRow row = e.rows[row_idx];
  const int first_id = static_cast<int>(blockIdx.x) * kIdsPerPart;
  const Part part{words, first_id, min(kIdsPerPart, static_cast<int>(e.vocab_size) - first_id)};
  if (row.num_tokens > 0) count_tokens(e, row, part);

  const float* logits = e.logits + row.logits_row * e.logits_stride + first_id;
  for (int i = static_cast<int>(threadIdx.x); i < part.count; i += kThreads) {
    const float value = row.num_tokens > 0 ? penalised(logits[i], words[i], row) : logits[i];
    words[i] = __float_as_uint(value);
  }
  __syncthreads();
  const LogitChange* changes = e.changes + row.first_change;
  add_biases(changes, row.num_biases, part);
  __syncthreads();
  ban(changes + row.num_biases, row.num_banned, part);
  __syncthreads();
  float* edited = e.edited + row_idx * e.edited_stride + first_id;
  for (int i = static_cast<int>(threadIdx.x); i < part.count; i += kThreads) {
    edited[i] = __uint_as_float(words[i]);
  }
}

}  // namespace

void edit_logits(const LogitEdits& e, Stream stream) {
  TRIREME_CHECK(e.vocab_size >= 1 && e.vocab_size <= std::int64_t{1} << 30 &&
                    e.logits_stride >= e.vocab_size && e.edited_stride >= e.vocab_size,
                "vocab_size=", e.vocab_size, " logits_stride=", e.logits_stride,
                " edited_stride=", e.edited_stride);
  TRIREME_CHECK(e.num_rows >= 0 && e.num_rows <= 65535, "num_rows=", e.num_rows);
  if (e.num_rows == 0) return;
  const dim3 grid(static_cast<unsigned>(ceil_div(e.vocab_size, kIdsPerPart)),
                  static_cast<unsigned>(e.num_rows));
  edit_kernel<<<grid, kThreads, 0, stream>>>(e);
  check_launch("edit_logits");
}

}  // namespace trireme::kernels::cuda
