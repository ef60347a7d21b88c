#pragma once

#include <functional>
#include <span>
#include <vector>

#include "apps/bench_operators.h"
#include "apps/cuda/operand_pool.h"
#include "ops/context.h"

namespace trireme::apps {

/// What the GPU reaches at its best, against which operators are held.
struct Ceilings {
  double copy_bytes_per_us = 0;  ///< read + written, by a kernel that copies rows
  double read_bytes_per_us = 0;  ///< by a kernel that only reads: greedy draws
  double operations_per_us = 0;  ///< of a product of 8192 x 8192 x 8192 by cuBLASLt, tuned
};

/// What operators only read, and what they change.
struct OperatorPools {
  OperandPool in, out;
};

/// Times operators on the GPU of this thread as a step runs them: in recorded graphs, products with
/// the algorithms that are the fastest here. Operands change from call to call, so that weights and
/// keys come from memory; activations of few tokens stay in the cache, as in a step.
class OperatorTimer {
 public:
  /// Takes memory for the largest of these operators. Throws Error(out_of_memory).
  OperatorTimer(const models::DecoderDesign& design, DType dtype,
                std::span<const BenchOperator> operators);

  Ceilings ceilings();
  /// Of one call, the median of nine graphs.
  double microseconds(const BenchOperator& op);
  /// Keeps the products' algorithms that were timed for the next start.
  void save_products() const;

 private:
  using Call = std::function<void()>;

  double time(const Call& call, double named_bytes);
  double time_graph(const Call& call, int calls, int runs);
  /// Other operands at every call.
  kernels::cuda::Gemm::Operands operands_of(std::int64_t m, std::int64_t n, std::int64_t k,
                                            DType y_dtype);
  double copy_rate();
  double read_rate();
  double product_rate();

  Call call_of(const BenchOperator& op);
  Call embedding(const BenchOperator& op);
  Call rms_norm(const BenchOperator& op);
  Call add_rms_norm(const BenchOperator& op);
  Call add(const BenchOperator& op);
  Call linear(const BenchOperator& op);
  Call norm_rope_append(const BenchOperator& op);
  Call attention(const BenchOperator& op);
  Call silu_and_mul(const BenchOperator& op);
  Call route(const BenchOperator& op);
  Call sort_by_expert(const BenchOperator& op);
  Call experts(const BenchOperator& op);
  Call combine(const BenchOperator& op);
  Call sample(const BenchOperator& op);

  kernels::KvCache next_cache(OperandPool& pool, std::int64_t num_blocks);
  /// Memory that holds these values until the next operator.
  template <typename T>
  T* indices(const std::vector<T>& values) {
    return static_cast<T*>(kept_.emplace_back(to_device(values)).data());
  }
  /// Where the pairs of random_experts() stand; on the GPU, until the next operator.
  struct Places {
    std::int32_t *slots, *expert_begin, *pair_at, *place_of_pair, *workspace;
    std::int64_t num_pairs;
  };
  Places sorted_pairs(std::int64_t tokens);
  void sort(const Places& places) const;

  checkpoint::ModelConfig config_;
  layers::QkNorm qk_norm_;
  DType dtype_;
  ops::Context context_;
  OperatorPools pools_;
  std::vector<tensor::DeviceBuffer> kept_;
};

}  // namespace trireme::apps
