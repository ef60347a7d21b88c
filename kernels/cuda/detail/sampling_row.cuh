#pragma once

#include "kernels/cuda/detail/sampling_logits.cuh"
#include "kernels/sampling.h"

/// What the scan of the logits leaves in the workspace for each row. A row is scanned in parts by
/// one cta each; which ids a part has depends on nothing else, so that the sums do not either.
namespace trireme::kernels::cuda {

constexpr int kScanThreads = 256;
constexpr int kQuadsPerThread = 4;
constexpr int kQuadsPerPart = kScanThreads * kQuadsPerThread;
constexpr int kIdsPerPart = 4 * kQuadsPerPart;

struct ScanSummary {
  Best best;          ///< of the draw, if no filter is on
  double model_sum;   ///< Σ exp(logit − largest), if log-probabilities are wanted
  double scaled_sum;  ///< the same of the logits / temperature, if has_mass
  float largest;      ///< logit
  int has_finite;     ///< whether a logit / temperature is
};

/// A row's memory: a counter of the parts that are done, the row's summary, the parts' summaries,
/// and the largest logit of each thread's quads in each part.
struct RowWorkspace {
  unsigned char* memory;
  int num_parts;

  static __host__ __device__ std::int64_t parts_of(std::int64_t vocab_size) {
    return (vocab_size + kIdsPerPart - 1) / kIdsPerPart;
  }
  static __host__ __device__ std::int64_t bytes(std::int64_t vocab_size) {
    const std::int64_t num_parts = parts_of(vocab_size);
    return kCounterBytes + (1 + num_parts) * static_cast<std::int64_t>(sizeof(ScanSummary)) +
           num_parts * kScanThreads * static_cast<std::int64_t>(sizeof(float));
  }
  __device__ RowWorkspace(const Sampling& s, std::int64_t row)
      : memory(static_cast<unsigned char*>(s.workspace) + row * bytes(s.vocab_size)),
        num_parts(static_cast<int>(parts_of(s.vocab_size))) {}

  __device__ unsigned* counter() const { return reinterpret_cast<unsigned*>(memory); }
  __device__ ScanSummary* summary() const {
    return reinterpret_cast<ScanSummary*>(memory + kCounterBytes);
  }
  __device__ ScanSummary* parts() const { return summary() + 1; }
  __device__ float* maxima() const { return reinterpret_cast<float*>(parts() + num_parts); }

 private:
  static constexpr std::int64_t kCounterBytes = 32;
};

/// What a row asks for.
struct RowForm {
  int top_k;  ///< 0: leaves nothing out
  bool is_greedy, is_filtered, has_mass, has_logprob, has_top;

  __device__ RowForm(const SamplingRow& row, const Sampling& s)
      : top_k(row.top_k > 0 && row.top_k < s.vocab_size ? row.top_k : 0),
        is_greedy(row.temperature == 0.0f),
        is_filtered(!is_greedy && (top_k > 0 || row.top_p < 1 || row.min_p > 0)),
        has_mass(is_filtered && top_k == 0 && row.top_p < 1),
        has_logprob(row.num_top >= 0),
        has_top(row.num_top > 0 && s.max_top > 0) {}
};

/// The token of row `row_idx`; -1: none. For one thread.
__device__ inline void write_token(const Sampling& s, const SamplingRow& row, std::int64_t row_idx,
                                   const RowLogits& logits, const LogSumExp& model, int token) {
  s.tokens[row_idx] = token;
  if (s.last_token != nullptr && row.slot >= 0) s.last_token[row.slot] = token;
  if (row.num_top >= 0) {
    s.logprobs[row_idx] = token < 0 ? 0.0f : model.logprob(logits.values[token]);
  }
}

/// Draws for rows with filters, and lists the best for rows that want them; after the scan.
void launch_filters(const Sampling& sampling, Stream stream);

}  // namespace trireme::kernels::cuda
