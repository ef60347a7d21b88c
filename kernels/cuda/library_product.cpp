#include "kernels/cuda/detail/library_product.cuh"

#include <algorithm>
#include <array>
#include <bit>

namespace trireme::kernels::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{64} << 20;

using Algorithm = cublasLtMatmulAlgo_t;
static_assert(sizeof(Algorithm) == sizeof(ProductChoice{}.algorithm));

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    fail(ErrorKind::cuda, cat(call, ": ", cublasLtGetStatusString(status)));
  }
}

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return CUDA_R_32F;
    case DType::bfloat16:
      return CUDA_R_16BF;
    case DType::float16:
      return CUDA_R_16F;
    default:
      fail(ErrorKind::internal, cat("no product of ", name_of(dtype)));
  }
}

LibraryProblem::Layout make_layout(DType dtype, std::int64_t rows, std::int64_t columns,
                                   std::int64_t stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, type_of(dtype), static_cast<std::uint64_t>(rows),
                                   static_cast<std::uint64_t>(columns), stride),
        "cublasLtMatrixLayoutCreate");
  return LibraryProblem::Layout(layout);
}

using Preference =
    UniqueHandle<CudaTraits<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>>;

Preference make_preference(const Gemm::Operands& o) {
  cublasLtMatmulPreference_t raw = nullptr;
  check(cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
  Preference preference(raw);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(raw, attribute, &value, sizeof value),
          "cublasLtMatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  const std::uint32_t alignment =
      product_key(o).is_aligned ? 16 : static_cast<std::uint32_t>(size_of(o.dtype));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment);
  return preference;
}

}  // namespace

LibraryProblem::LibraryProblem(const Gemm::Operands& o)
    : w(make_layout(o.dtype, o.k, o.n, o.k)),
      x(make_layout(o.dtype, o.k, o.m, o.x_stride)),
      y(make_layout(o.y_dtype, o.n, o.m, o.y_stride)) {
  cublasLtMatmulDesc_t raw = nullptr;
  check(cublasLtMatmulDescCreate(&raw, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  desc = MatmulDesc(raw);
  const cublasOperation_t transposed = CUBLAS_OP_T;
  check(cublasLtMatmulDescSetAttribute(raw, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                       sizeof transposed),
        "cublasLtMatmulDescSetAttribute");
}

LibraryProducts::LibraryProducts() {
  cublasLtHandle_t raw = nullptr;
  check(cublasLtCreate(&raw), "cublasLtCreate");
  handle_ = UniqueHandle<CudaTraits<cublasLtHandle_t, cublasLtDestroy>>(raw);
  void* memory = nullptr;
  check(cudaMalloc(&memory, kWorkspaceBytes), "cudaMalloc of the products' workspace");
  workspace_ = UniqueHandle<CudaTraits<void*, cudaFree>>(memory);
}

std::vector<ProductChoice> LibraryProducts::candidates(const Gemm::Operands& o,
                                                       const LibraryProblem& problem,
                                                       int most) const {
  std::array<cublasLtMatmulHeuristicResult_t, kMostCandidates> results{};
  int count = 0;
  check(cublasLtMatmulAlgoGetHeuristic(handle_.get(), problem.desc.get(), problem.w.get(),
                                       problem.x.get(), problem.y.get(), problem.y.get(),
                                       make_preference(o).get(), std::min(most, kMostCandidates),
                                       results.data(), &count),
        "cublasLtMatmulAlgoGetHeuristic");
  std::vector<ProductChoice> found;
  for (int i = 0; i < count; ++i) {
    const auto& result = results[static_cast<std::size_t>(i)];
    if (result.state != CUBLAS_STATUS_SUCCESS) continue;
    found.push_back({.algorithm = std::bit_cast<std::array<std::uint64_t, 8>>(result.algo)});
  }
  if (found.empty()) {
    fail(ErrorKind::cuda, cat("cuBLASLt has no product of [", o.m, ", ", o.k, "] by [", o.n, ", ",
                              o.k, "] in ", name_of(o.dtype)));
  }
  return found;
}

bool LibraryProducts::multiply(const Gemm::Operands& o, const LibraryProblem& problem,
                               const ProductChoice& choice, Stream stream) const {
  const float one = 1, zero = 0;
  const auto algorithm = std::bit_cast<Algorithm>(choice.algorithm);
  return cublasLtMatmul(handle_.get(), problem.desc.get(), &one, o.weight, problem.w.get(), o.x,
                        problem.x.get(), &zero, o.y, problem.y.get(), o.y, problem.y.get(),
                        &algorithm, workspace_.get(), kWorkspaceBytes,
                        stream) == CUBLAS_STATUS_SUCCESS;
}

bool LibraryProducts::knows(const ProductKey& key, const ProductChoice& choice) const {
  const LibraryProblem problem({.x_stride = key.k,
                                .dtype = key.dtype,
                                .y_stride = key.n,
                                .y_dtype = key.y_dtype,
                                .m = key.bucket,
                                .n = key.n,
                                .k = key.k});
  const auto algorithm = std::bit_cast<Algorithm>(choice.algorithm);
  cublasLtMatmulHeuristicResult_t result{};
  return cublasLtMatmulAlgoCheck(handle_.get(), problem.desc.get(), problem.w.get(),
                                 problem.x.get(), problem.y.get(), problem.y.get(), &algorithm,
                                 &result) == CUBLAS_STATUS_SUCCESS &&
         result.state == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= kWorkspaceBytes;
}

bool LibraryProducts::is_unsplit(const ProductChoice& choice) {
  const auto algorithm = std::bit_cast<Algorithm>(choice.algorithm);
  const auto value_of = [&](cublasLtMatmulAlgoConfigAttributes_t attribute) {
    std::uint32_t value = 0;
    std::size_t written = 0;
    check(
        cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written),
        "cublasLtMatmulAlgoConfigGetAttribute");
    return value;
  };
  return value_of(CUBLASLT_ALGO_CONFIG_SPLITK_NUM) <= 1 &&
         value_of(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) == CUBLASLT_REDUCTION_SCHEME_NONE;
}

std::string machine_of_timings() {
  int device = 0;
  cudaDeviceProp properties{};
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  std::string name = properties.name;
  std::replace(name.begin(), name.end(), '\n', ' ');
  return cat(name, ", cuBLASLt ", cublasLtGetVersion());
}

}  // namespace trireme::kernels::cuda
