#include "kernels/gemm.h"

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "base/handle.h"
#include "kernels/norm.h"

namespace trireme::kernels::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{64} << 20;
constexpr int kMostCandidates = 16;
constexpr int kTimedRounds = 5;
constexpr float kClearlyLess = 0.985f;
constexpr float kNever = 1e30f;

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    fail(ErrorKind::cuda, cat(call, ": ", cublasLtGetStatusString(status)));
  }
}
void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) fail(ErrorKind::cuda, cat(call, ": ", cudaGetErrorString(status)));
}

template <typename Handle, auto destroy_handle>
struct Traits {
  using type = Handle;
  static type null() { return nullptr; }
  static void destroy(type handle) noexcept { destroy_handle(handle); }
};
using LtHandle = UniqueHandle<Traits<cublasLtHandle_t, cublasLtDestroy>>;
using MatmulDesc = UniqueHandle<Traits<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>>;
using Layout = UniqueHandle<Traits<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>>;
using Preference =
    UniqueHandle<Traits<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>>;
using DeviceMemory = UniqueHandle<Traits<void*, cudaFree>>;
using Event = UniqueHandle<Traits<cudaEvent_t, cudaEventDestroy>>;

using TimingEvents = std::array<Event, 2>;

TimingEvents make_timing_events() {
  TimingEvents events;
  for (Event& event : events) {
    cudaEvent_t raw = nullptr;
    check(cudaEventCreate(&raw), "cudaEventCreate");
    event = Event(raw);
  }
  return events;
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

Layout make_layout(DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, type_of(dtype), static_cast<std::uint64_t>(rows),
                                   static_cast<std::uint64_t>(columns), stride),
        "cublasLtMatrixLayoutCreate");
  return Layout(layout);
}

/// The library counts by columns: Yᵀ [N, M] = (W as K x N)ᵀ · (X as K x M).
struct Problem {
  MatmulDesc desc;
  Layout w, x, y;

  explicit Problem(const Gemm::Operands& o)
      : w(make_layout(o.dtype, o.k, o.n, o.k)),
        x(make_layout(o.dtype, o.k, o.m, o.x_stride)),
        y(make_layout(o.y_dtype, o.n, o.m, o.y_stride)) {
    cublasLtMatmulDesc_t raw = nullptr;
    check(cublasLtMatmulDescCreate(&raw, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    desc = MatmulDesc(raw);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(cublasLtMatmulDescSetAttribute(raw, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                         sizeof transposed),
          "cublasLtMatmulDescSetAttribute");
  }
};

/// What an algorithm depends on: the bucket of M, N, K, types, and whether rows are 16 bytes apart.
using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, DType, DType, bool>;

bool is_aligned(const Gemm::Operands& o) {
  const auto aligned = [](const void* memory, std::int64_t stride, DType dtype) {
    return reinterpret_cast<std::uintptr_t>(memory) % 16 == 0 &&
           static_cast<std::size_t>(stride) * size_of(dtype) % 16 == 0;
  };
  return aligned(o.x, o.x_stride, o.dtype) && aligned(o.weight, o.k, o.dtype) &&
         aligned(o.y, o.y_stride, o.y_dtype);
}

Key key_of(const Gemm::Operands& o) {
  return {Gemm::bucket_of(o.m), o.n, o.k, o.dtype, o.y_dtype, is_aligned(o)};
}

}  // namespace

struct Gemm::Impl {
  LtHandle handle;
  DeviceMemory workspace;
  std::map<Key, cublasLtMatmulAlgo_t> tuned, proposed;

  Impl();
  std::vector<cublasLtMatmulAlgo_t> candidates(const Operands& o, const Problem& problem,
                                               int most) const;
  cublasStatus_t multiply(const Operands& o, const Problem& problem,
                          const cublasLtMatmulAlgo_t& algorithm, Stream stream) const;
  float time(std::span<const Operands> products, const Problem& problem,
             const cublasLtMatmulAlgo_t& algorithm, const TimingEvents& events,
             Stream stream) const;
};

Gemm::Impl::Impl() {
  cublasLtHandle_t raw = nullptr;
  check(cublasLtCreate(&raw), "cublasLtCreate");
  handle = LtHandle(raw);
  void* memory = nullptr;
  check(cudaMalloc(&memory, kWorkspaceBytes), "cudaMalloc of the products' workspace");
  workspace = DeviceMemory(memory);
}

std::vector<cublasLtMatmulAlgo_t> Gemm::Impl::candidates(const Operands& o, const Problem& problem,
                                                         int most) const {
  cublasLtMatmulPreference_t raw = nullptr;
  check(cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
  const Preference preference(raw);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(raw, attribute, &value, sizeof value),
          "cublasLtMatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  const std::uint32_t alignment = is_aligned(o) ? 16 : static_cast<std::uint32_t>(size_of(o.dtype));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment);

  std::array<cublasLtMatmulHeuristicResult_t, kMostCandidates> results{};
  int count = 0;
  check(cublasLtMatmulAlgoGetHeuristic(handle.get(), problem.desc.get(), problem.w.get(),
                                       problem.x.get(), problem.y.get(), problem.y.get(), raw, most,
                                       results.data(), &count),
        "cublasLtMatmulAlgoGetHeuristic");
  std::vector<cublasLtMatmulAlgo_t> found;
  for (int i = 0; i < count; ++i) {
    if (results[static_cast<std::size_t>(i)].state == CUBLAS_STATUS_SUCCESS) {
      found.push_back(results[static_cast<std::size_t>(i)].algo);
    }
  }
  if (found.empty()) {
    fail(ErrorKind::cuda, cat("cuBLASLt has no product of [", o.m, ", ", o.k, "] by [", o.n, ", ",
                              o.k, "] in ", name_of(o.dtype)));
  }
  return found;
}

cublasStatus_t Gemm::Impl::multiply(const Operands& o, const Problem& problem,
                                    const cublasLtMatmulAlgo_t& algorithm, Stream stream) const {
  const float one = 1, zero = 0;
  return cublasLtMatmul(handle.get(), problem.desc.get(), &one, o.weight, problem.w.get(), o.x,
                        problem.x.get(), &zero, o.y, problem.y.get(), o.y, problem.y.get(),
                        &algorithm, workspace.get(), kWorkspaceBytes, stream);
}

float Gemm::Impl::time(std::span<const Operands> products, const Problem& problem,
                       const cublasLtMatmulAlgo_t& algorithm, const TimingEvents& events,
                       Stream stream) const {
  check(cudaEventRecord(events[0].get(), stream), "cudaEventRecord");
  for (const Operands& o : products) {
    if (multiply(o, problem, algorithm, stream) != CUBLAS_STATUS_SUCCESS) return kNever;
  }
  check(cudaEventRecord(events[1].get(), stream), "cudaEventRecord");
  check(cudaEventSynchronize(events[1].get()), "a product");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, events[0].get(), events[1].get()),
        "cudaEventElapsedTime");
  return milliseconds;
}

Gemm::Gemm() : impl_(std::make_unique<Impl>()) {}
Gemm::Gemm(Gemm&&) noexcept = default;
Gemm& Gemm::operator=(Gemm&&) noexcept = default;
Gemm::~Gemm() = default;

std::int64_t Gemm::bucket_of(std::int64_t m) {
  std::int64_t bucket = 1;
  while (bucket < m && bucket < 32) bucket *= 2;
  while (bucket < m) {
    // Steps of a quarter of the power of two below to 512, of an eighth from there on.
    std::int64_t power = 32;
    while (power * 2 <= bucket) power *= 2;
    bucket += power < 512 ? power / 4 : power / 8;
  }
  return bucket;
}

void Gemm::tune(std::span<const Operands> products, Stream stream) {
  if (products.empty() || products[0].m == 0) return;
  const Key key = key_of(products[0]);
  if (impl_->tuned.contains(key)) return;
  for (const Operands& other : products) {
    TRIREME_CHECK(key_of(other) == key && other.m == products[0].m, "m=", other.m, " n=", other.n,
                  " k=", other.k);
  }
  const Problem problem(products[0]);
  const auto candidates = impl_->candidates(products[0], problem, kMostCandidates);
  const TimingEvents events = make_timing_events();
  // In turns, since the GPU's clock changes meanwhile; the first round loads the kernels.
  std::vector<std::vector<float>> times(candidates.size());
  for (int round = -1; round < kTimedRounds; ++round) {
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const float milliseconds = impl_->time(products, problem, candidates[i], events, stream);
      if (round >= 0) times[i].push_back(milliseconds);
    }
  }
  float best = kNever;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    std::sort(times[i].begin(), times[i].end());
    const float median = times[i][kTimedRounds / 2];
    // The library has the likely best first: a later one must be better by more than noise.
    if (median >= best * kClearlyLess) continue;
    best = median;
    impl_->tuned[key] = candidates[i];
  }
}

void Gemm::run(const Operands& operands, Stream stream) {
  if (operands.m == 0 || operands.n == 0) return;
  const Key key = key_of(operands);
  const Problem problem(operands);
  const auto tuned = impl_->tuned.find(key);
  const bool has_run =
      tuned != impl_->tuned.end() &&
      impl_->multiply(operands, problem, tuned->second, stream) == CUBLAS_STATUS_SUCCESS;
  if (!has_run) {
    // Also where an algorithm does not take this M, though it took its bucket's.
    Key exact = key;
    std::get<0>(exact) = operands.m;
    auto at = impl_->proposed.find(exact);
    if (at == impl_->proposed.end()) {
      at = impl_->proposed.emplace(exact, impl_->candidates(operands, problem, 1).front()).first;
    }
    check(impl_->multiply(operands, problem, at->second, stream), "cublasLtMatmul");
  }
  if (operands.bias != nullptr) {
    add_bias(operands.bias, operands.y, operands.y_stride, operands.m, operands.n, operands.y_dtype,
             stream);
  }
}

}  // namespace trireme::kernels::cuda
