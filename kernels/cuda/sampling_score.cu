#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/sampling_logits.cuh"
#include "kernels/sampling.h"

namespace trireme::kernels::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kQuadsAtOnce = 4;

/// A thread's log Σ exp so far.
struct RunningSum {
  float largest = -INFINITY;
  double sum = 0;

  __device__ void move_to(float to) {
    if (sum != 0) sum *= exp_below(static_cast<double>(largest), static_cast<double>(to));
    largest = to;
  }
  __device__ void add(const Quad (&quads)[kQuadsAtOnce]) {
    float most = largest;
#pragma unroll
    for (int i = 0; i < 4 * kQuadsAtOnce; ++i) most = fmaxf(most, quads[i / 4].at[i % 4]);
    if (most == -INFINITY) return;
    if (most > largest) move_to(most);
#pragma unroll
    for (const Quad& quad : quads) {
      float terms = 0;
#pragma unroll
      for (const float x : quad.at) terms += exp_below(without_nan(x), largest);
      sum += terms;
    }
  }
};

/// A target a cta, in one pass over its row.
__global__ void __launch_bounds__(kThreads) score_kernel(const Scoring s) {
  const std::int64_t row = blockIdx.x;
  const int target = s.targets[row];
  if (target < 0 || target >= s.vocab_size) return;
  const std::int64_t logits_row = s.logits_rows == nullptr ? row : s.logits_rows[row];
  if (logits_row < 0) return;
  const RowLogits logits(s.logits, s.logits_stride, logits_row, s.vocab_size);
  RunningSum own;
  const int num_quads = logits.num_quads();
  for (int base = 0; base < num_quads; base += kThreads * kQuadsAtOnce) {
    Quad quads[kQuadsAtOnce];
    logits.load(base + static_cast<int>(threadIdx.x), kThreads, quads);
    own.add(quads);
  }
  const float largest = cta_reduce(own.largest, Larger());
  if (largest > -INFINITY) own.move_to(largest);
  const double sum = cta_reduce(own.sum, Plus());
  if (threadIdx.x != 0) return;
  s.logprobs[row] =
      sum > 0 ? LogSumExp{largest, sum}.logprob(logits.values[target]) : __int_as_float(0x7fc00000);
}

}  // namespace

void score(const Scoring& s, Stream stream) {
  TRIREME_CHECK(s.vocab_size >= 1 && s.vocab_size <= kMostSampledIds &&
                    s.logits_stride >= s.vocab_size && s.num_rows >= 0,
                "vocab_size=", s.vocab_size, " logits_stride=", s.logits_stride,
                " num_rows=", s.num_rows);
  if (s.num_rows == 0) return;
  score_kernel<<<static_cast<unsigned>(s.num_rows), kThreads, 0, stream>>>(s);
  check_launch("score");
}

}  // namespace trireme::kernels::cuda
