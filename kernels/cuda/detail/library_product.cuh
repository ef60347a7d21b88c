#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/handle.h"
#include "kernels/cuda/detail/product_table.h"

namespace trireme::kernels::cuda {

inline void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) fail(ErrorKind::cuda, cat(call, ": ", cudaGetErrorString(status)));
}

template <typename Handle, auto destroy_handle>
struct CudaTraits {
  using type = Handle;
  static type null() { return nullptr; }
  static void destroy(type handle) noexcept { destroy_handle(handle); }
};

/// A product in the library's words. It counts by columns: Yᵀ [N, M] = (W as K x N)ᵀ · (X as K x
/// M).
struct LibraryProblem {
  using MatmulDesc = UniqueHandle<CudaTraits<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>>;
  using Layout = UniqueHandle<CudaTraits<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>>;
  MatmulDesc desc;
  Layout w, x, y;

  explicit LibraryProblem(const Gemm::Operands& operands);
};

/// Products by cuBLASLt, without bias: its handle and its workspace.
class LibraryProducts {
 public:
  LibraryProducts();

  /// The algorithms that the library proposes, the likely best first; at least one.
  std::vector<ProductChoice> candidates(const Gemm::Operands& operands,
                                        const LibraryProblem& problem, int most) const;
  /// Whether the library took the algorithm for these operands.
  bool multiply(const Gemm::Operands& operands, const LibraryProblem& problem,
                const ProductChoice& choice, Stream stream) const;
  /// Whether an algorithm that was read from a file is one for such products here.
  bool knows(const ProductKey& key, const ProductChoice& choice) const;
  /// Whether an algorithm sums over K in one piece, whatever M is.
  static bool is_unsplit(const ProductChoice& choice);

  static constexpr int kMostCandidates = 16;

 private:
  UniqueHandle<CudaTraits<cublasLtHandle_t, cublasLtDestroy>> handle_;
  UniqueHandle<CudaTraits<void*, cudaFree>> workspace_;
};

/// The current GPU and the library's version: what timings hold for.
std::string machine_of_timings();

}  // namespace trireme::kernels::cuda
