#include "kernels/sampling.h"

#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/sampling_noise.cuh"
#include "kernels/cuda/detail/sampling_row.cuh"

// One pass over the logits: a cta for each part of each row keeps its part in registers; the last
// one of a row brings the parts together.
namespace trireme::kernels::cuda {
namespace {

constexpr int kIdsPerThread = 4 * kQuadsPerThread;

/// A thread's logits of a part: quads first_quad + threadIdx.x, then every kScanThreads.
struct OwnLogits {
  float at[kIdsPerThread];

  __device__ OwnLogits(const RowLogits& logits, int first_quad) {
    Quad quads[kQuadsPerThread];
    logits.load(first_quad + static_cast<int>(threadIdx.x), kScanThreads, quads);
#pragma unroll
    for (int i = 0; i < kIdsPerThread; ++i) at[i] = without_nan(quads[i / 4].at[i % 4]);
  }

  /// The largest and its lowest id; 0: all are −inf.
  __device__ Best best(int first_quad) const {
    float largest = -INFINITY;
    int place = -1;
#pragma unroll
    for (int i = 0; i < kIdsPerThread; ++i) {
      if (at[i] > largest) {
        largest = at[i];
        place = i;
      }
    }
    if (place < 0) return 0;
    const int quad = first_quad + static_cast<int>(threadIdx.x) + place / 4 * kScanThreads;
    return best_of(largest, 4 * quad + place % 4);
  }
};

/// Σ exp(x / temperature − largest) over the cta.
__device__ double sum_of_exp(const OwnLogits& own, float temperature, float largest) {
  double sum = 0;
#pragma unroll
  for (int i = 0; i < kQuadsPerThread; ++i) {
    float terms = 0;  // of few, so that float32 is good enough
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      terms += exp_below(scaled(own.at[4 * i + j], temperature), largest);
    }
    sum += terms;
  }
  return cta_reduce(sum, Plus());
}

__device__ bool has_finite(const OwnLogits& own, float temperature, float largest) {
  if (largest < INFINITY) return true;  // it is finite itself
  bool any = false;
#pragma unroll
  for (int i = 0; i < kIdsPerThread; ++i) any = any || isfinite(scaled(own.at[i], temperature));
  return __syncthreads_or(any) != 0;
}

__device__ ScanSummary scan_part(const SamplingRow& row, const RowForm& form,
                                 const RowLogits& logits, const RowWorkspace& workspace) {
  const int part = static_cast<int>(blockIdx.x), first_quad = part * kQuadsPerPart;
  const OwnLogits own(logits, first_quad);
  ScanSummary summary = {own.best(first_quad), 0, 0, -INFINITY, 0};
  if (form.is_filtered || form.has_top) {
    workspace.maxima()[part * kScanThreads + threadIdx.x] =
        summary.best == 0 ? -INFINITY : value_of(summary.best);
  }
  summary.best = cta_reduce(summary.best, Larger());
  if (summary.best == 0) return summary;
  summary.largest = value_of(summary.best);
  if (form.has_logprob) summary.model_sum = sum_of_exp(own, 1.0f, summary.largest);

  const float temperature = form.is_greedy ? 1.0f : row.temperature;
  const float largest = scaled(summary.largest, temperature);  // division keeps the order
  summary.has_finite = largest > -INFINITY && has_finite(own, temperature, largest);
  if (form.has_mass && largest > -INFINITY) {
    summary.scaled_sum = sum_of_exp(own, temperature, largest);
  }
  if (form.is_greedy || form.is_filtered) return summary;
  summary.best = 0;
  if (largest == -INFINITY) return summary;
  const auto values = [&](int quad) {
    Quad four = logits.load(quad);
    for (float& value : four.at) value = scaled(without_nan(value), temperature);
    return four;
  };
  const int end_quad = min(first_quad + kQuadsPerPart, logits.num_quads());
  const Noise noise{row.key, static_cast<std::uint64_t>(row.position)};
  summary.best = cta_reduce(draw(values, first_quad, end_quad, largest, noise), Larger());
  return summary;
}

/// The sum of a part relative to the row's largest value.
__device__ double moved_sum(double sum, float from, float to) {
  return sum == 0 ? 0.0 : sum * exp_below(static_cast<double>(from), static_cast<double>(to));
}

/// Brings a row's parts together; called by a whole warp, in which every lane gets the result.
__device__ ScanSummary merge_parts(const RowWorkspace& workspace, const RowForm& form,
                                   float temperature) {
  const auto part_at = [&](int part) {
    const ScanSummary* from = workspace.parts() + part;
    return ScanSummary{__ldcg(&from->best), __ldcg(&from->model_sum), __ldcg(&from->scaled_sum),
                       __ldcg(&from->largest), __ldcg(&from->has_finite)};
  };
  const int lane = static_cast<int>(threadIdx.x) % 32;
  ScanSummary row = {0, 0, 0, -INFINITY, 0};
  for (int part = lane; part < workspace.num_parts; part += 32) {
    const ScanSummary summary = part_at(part);
    row.best = Larger()(row.best, summary.best);
    row.largest = fmaxf(row.largest, summary.largest);
    row.has_finite |= summary.has_finite;
  }
  row.best = warp_reduce(row.best, Larger());
  row.largest = warp_reduce(row.largest, Larger());
  row.has_finite = __any_sync(kWholeWarp, row.has_finite != 0);
  if (!form.has_logprob && !form.has_mass) return row;
  const float largest = scaled(row.largest, temperature);
  for (int part = lane; part < workspace.num_parts; part += 32) {
    const ScanSummary summary = part_at(part);
    row.model_sum += moved_sum(summary.model_sum, summary.largest, row.largest);
    row.scaled_sum += moved_sum(summary.scaled_sum, scaled(summary.largest, temperature), largest);
  }
  row.model_sum = warp_reduce(row.model_sum, Plus());
  row.scaled_sum = warp_reduce(row.scaled_sum, Plus());
  return row;
}

__global__ void __launch_bounds__(kScanThreads, 6) scan_kernel(const Sampling s) {
  start_next_kernel();
  wait_for_earlier_kernels();
  const std::int64_t row_idx = blockIdx.y;
  const SamplingRow row = s.rows[row_idx];
  if (row.logits_row < 0) return;
  const RowForm form(row, s);
  const RowLogits logits(s.logits, s.logits_stride, row.logits_row, s.vocab_size);
  const RowWorkspace workspace(s, row_idx);
  const ScanSummary part = scan_part(row, form, logits, workspace);

  if (threadIdx.x >= 32) return;
  unsigned num_before = 0;
  if (threadIdx.x == 0) {
    workspace.parts()[blockIdx.x] = part;
    __threadfence();
    // Goes back to 0 with the last part.
    num_before = atomicInc(workspace.counter(), gridDim.x - 1);
  }
  num_before = __shfl_sync(kWholeWarp, num_before, 0);
  if (num_before != gridDim.x - 1) return;
  __threadfence();
  const ScanSummary summary = merge_parts(workspace, form, form.is_greedy ? 1.0f : row.temperature);
  if (threadIdx.x != 0) return;
  *workspace.summary() = summary;
  if (!form.is_filtered) {
    const int token = summary.has_finite != 0 ? id_of(summary.best) : -1;
    write_token(s, row, row_idx, logits, {summary.largest, summary.model_sum}, token);
  }
}

}  // namespace

std::size_t sampling_workspace_bytes(std::int64_t max_rows, std::int64_t vocab_size) {
  return static_cast<std::size_t>(max_rows * RowWorkspace::bytes(vocab_size));
}

void sample(const Sampling& s, Stream stream) {
  TRIREME_CHECK(
      s.vocab_size >= 1 && s.vocab_size <= kMostSampledIds && s.logits_stride >= s.vocab_size,
      "vocab_size=", s.vocab_size, " logits_stride=", s.logits_stride);
  TRIREME_CHECK(
      s.num_rows >= 0 && s.num_rows <= 65535 && s.max_top >= 0 && s.max_top <= kMostTopLogprobs,
      "num_rows=", s.num_rows, " max_top=", s.max_top);
  if (s.num_rows == 0) return;
  const dim3 grid(static_cast<unsigned>(RowWorkspace::parts_of(s.vocab_size)),
                  static_cast<unsigned>(s.num_rows));
  launch_overlapped(scan_kernel, {grid, kScanThreads}, stream, s);
  check_launch("sample, scan");
  launch_filters(s, stream);
}

}  // namespace trireme::kernels::cuda
