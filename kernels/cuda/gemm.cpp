#include "kernels/gemm.h"

#include <algorithm>
#include <array>
#include <functional>
#include <vector>

#include "kernels/cuda/detail/library_product.cuh"
#include "kernels/norm.h"

namespace trireme::kernels::cuda {
namespace {

constexpr std::size_t kTimedRounds = 5;
constexpr float kClearlyLess = 0.985f;
constexpr float kNever = 1e30f;

using Event = UniqueHandle<CudaTraits<cudaEvent_t, cudaEventDestroy>>;
using Graph = UniqueHandle<CudaTraits<cudaGraph_t, cudaGraphDestroy>>;
using GraphExec = UniqueHandle<CudaTraits<cudaGraphExec_t, cudaGraphExecDestroy>>;

/// What it takes to run a choice for all products; false where it does not take them.
using Launch = std::function<bool()>;

/// The launches as a graph, without the host's time between them; null if they cannot be one.
GraphExec capture(const Launch& launch, Stream stream) {
  if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
    cudaGetLastError();
    return {};
  }
  const bool is_launched = launch();
  cudaGraph_t raw = nullptr;
  const cudaError_t status = cudaStreamEndCapture(stream, &raw);
  const Graph graph(raw);
  cudaGraphExec_t exec = nullptr;
  if (!is_launched || status != cudaSuccess || cudaGraphInstantiate(&exec, raw, 0) != cudaSuccess) {
    cudaGetLastError();
    return {};
  }
  return GraphExec(exec);
}

/// A choice that is timed again and again.
struct Candidate {
  ProductChoice choice;
  Launch launch;
  GraphExec graph;  ///< null: launched one by one
  bool is_usable = false;
  std::vector<float> times = {};
};

class Timer {
 public:
  explicit Timer(Stream stream) : stream_(stream) {
    for (Event& event : events_) {
      cudaEvent_t raw = nullptr;
      check(cudaEventCreate(&raw), "cudaEventCreate");
      event = Event(raw);
    }
  }

  float milliseconds(const Candidate& candidate) const {
    // The first launch of a graph covers the host's time for the second.
    if (candidate.graph) check(cudaGraphLaunch(candidate.graph.get(), stream_), "cudaGraphLaunch");
    check(cudaEventRecord(events_[0].get(), stream_), "cudaEventRecord");
    if (candidate.graph) {
      check(cudaGraphLaunch(candidate.graph.get(), stream_), "cudaGraphLaunch");
    } else if (!candidate.launch()) {
      return kNever;
    }
    check(cudaEventRecord(events_[1].get(), stream_), "cudaEventRecord");
    check(cudaEventSynchronize(events_[1].get()), "a product");
    float result = 0;
    check(cudaEventElapsedTime(&result, events_[0].get(), events_[1].get()),
          "cudaEventElapsedTime");
    return result;
  }

 private:
  Stream stream_;
  std::array<Event, 2> events_;
};

}  // namespace

struct Gemm::Impl {
  Kernels kernels = Kernels::all;
  LibraryProducts library;
  ProductTable tuned, proposed;

  std::vector<Candidate> candidates(std::span<const Operands> products,
                                    const LibraryProblem& problem, Stream stream) const;
  void run_library(const Operands& o, const ProductKey& key, Stream stream);
};

Gemm::Gemm(Kernels kernels) : impl_(std::make_unique<Impl>()) { impl_->kernels = kernels; }
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

/// The library's first, likely best first, then the own ones. All have run once.
std::vector<Candidate> Gemm::Impl::candidates(std::span<const Operands> products,
                                              const LibraryProblem& problem, Stream stream) const {
  std::vector<Candidate> all;
  for (const ProductChoice& choice :
       library.candidates(products[0], problem, LibraryProducts::kMostCandidates)) {
    all.push_back({choice,
                   [this, products, &problem, choice, stream] {
                     return std::all_of(products.begin(), products.end(), [&](const Operands& o) {
                       return library.multiply(o, problem, choice, stream);
                     });
                   },
                   {}});
  }
  for (const SmallForm form : kSmallForms) {
    if (kernels == Kernels::library || !takes_small_product(products[0], form)) continue;
    all.push_back({{.form = form},
                   [products, form, stream] {
                     for (const Operands& o : products) small_product(o, form, stream);
                     return true;
                   },
                   {}});
  }
  for (Candidate& candidate : all) {
    candidate.is_usable = candidate.launch();
    check(cudaStreamSynchronize(stream), "a product");
    // Larger ones take longer than the host needs to launch them.
    if (candidate.is_usable && products[0].m <= kMostSmallRows) {
      candidate.graph = capture(candidate.launch, stream);
    }
  }
  return all;
}

void Gemm::tune(std::span<const Operands> products, Stream stream) {
  if (products.empty() || products[0].m == 0 || products[0].n == 0) return;
  const ProductKey key = product_key(products[0]);
  if (impl_->tuned.contains(key)) return;
  for (const Operands& other : products) {
    TRIREME_CHECK(product_key(other) == key && other.m == products[0].m, "m=", other.m,
                  " n=", other.n, " k=", other.k);
  }
  const LibraryProblem problem(products[0]);
  std::vector<Candidate> candidates = impl_->candidates(products, problem, stream);
  const Timer timer(stream);
  // In turns, since the GPU's clock changes meanwhile.
  for (std::size_t round = 0; round < kTimedRounds; ++round) {
    for (Candidate& candidate : candidates) {
      candidate.times.push_back(candidate.is_usable ? timer.milliseconds(candidate) : kNever);
    }
  }
  float best = kNever;
  for (Candidate& candidate : candidates) {
    std::sort(candidate.times.begin(), candidate.times.end());
    const float median = candidate.times[kTimedRounds / 2];
    // The likely best come first: a later one must be better by more than noise.
    if (median >= best * kClearlyLess) continue;
    best = median;
    impl_->tuned[key] = candidate.choice;
  }
}

void Gemm::Impl::run_library(const Operands& o, const ProductKey& key, Stream stream) {
  const LibraryProblem problem(o);
  const auto chosen = tuned.find(key);
  if (chosen != tuned.end() && chosen->second.form == SmallForm::none &&
      library.multiply(o, problem, chosen->second, stream)) {
    return;
  }
  // Also where an algorithm does not take this M, though it took its bucket's.
  ProductKey exact = key;
  exact.bucket = o.m;
  auto at = proposed.find(exact);
  if (at == proposed.end()) {
    at = proposed.emplace(exact, library.candidates(o, problem, 1).front()).first;
  }
  if (!library.multiply(o, problem, at->second, stream)) {
    fail(ErrorKind::cuda, cat("cuBLASLt refuses its own product of [", o.m, ", ", o.k, "] by [",
                              o.n, ", ", o.k, "] in ", name_of(o.dtype)));
  }
}

void Gemm::run(const Operands& operands, Stream stream) {
  if (operands.m == 0 || operands.n == 0) return;
  const ProductKey key = product_key(operands);
  if (impl_->kernels == Kernels::all) {
    const auto chosen = impl_->tuned.find(key);
    const SmallForm form =
        chosen == impl_->tuned.end() ? likely_small_form(operands) : chosen->second.form;
    if (takes_small_product(operands, form)) return small_product(operands, form, stream);
  }
  impl_->run_library(operands, key, stream);
  if (operands.bias != nullptr) {
    add_bias(operands.bias, operands.y, operands.y_stride, operands.m, operands.n, operands.y_dtype,
             stream);
  }
}

void Gemm::save(const std::string& path) const {
  write_table(path, text_of(impl_->tuned, machine_of_timings()));
}

std::string Gemm::load(const std::string& path) {
  const ReadTable read = read_table(path, machine_of_timings());
  if (!read.reason.empty()) return cat(path, ": ", read.reason);
  for (const auto& [key, choice] : read.table) {
    // An algorithm that the library does not take for the whole bucket is looked for again.
    const bool is_own = choice.form != SmallForm::none;
    if (is_own || impl_->library.knows(key, choice)) impl_->tuned.emplace(key, choice);
  }
  return {};
}

}  // namespace trireme::kernels::cuda
