#include "kernels/gemm.h"

#include <algorithm>
#include <array>
#include <functional>
#include <vector>

#include "kernels/cuda/detail/library_product.cuh"
#include "kernels/fill.h"
#include "kernels/norm.h"

namespace trireme::kernels::cuda {
namespace {

constexpr std::size_t kTimedRounds = 5;
constexpr float kClearlyLess = 0.985f;
constexpr float kNever = 1e30f;
constexpr std::int64_t kComparedRows = 32;
constexpr std::int64_t kUsualRows = 512;

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

  ProductKey key_of(const Operands& o) const {
    ProductKey key = product_key(o);
    if (kernels == Kernels::invariant) key.bucket = 0;
    return key;
  }
  std::vector<Candidate> candidates(std::span<const Operands> products,
                                    const LibraryProblem& problem, Stream stream) const;
  void choose_invariant(const Operands& o, Stream stream);
  bool keeps_rows(const Operands& o, const ProductChoice& choice, Stream stream) const;
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
    if (kernels != Kernels::all || !takes_small_product(products[0], form)) continue;
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

/// Whether rows get the same bits in a product of other rows, and wherever they stand in it. An
/// algorithm that splits K by the number of rows fails here.
bool Gemm::Impl::keeps_rows(const Operands& o, const ProductChoice& choice, Stream stream) const {
  const std::size_t row_bytes = static_cast<std::size_t>(o.n) * size_of(o.y_dtype);
  const auto x_bytes = static_cast<std::size_t>(o.x_stride) * size_of(o.dtype);
  // What lies there may be zeros, which any sum keeps.
  fill_normal(const_cast<void*>(o.x), o.dtype, o.m * o.x_stride, {}, 1, 1.0f, stream);
  const auto rows = [&](std::int64_t first, std::int64_t count) -> std::vector<std::byte> {
    Operands part = o;
    part.x = static_cast<const std::byte*>(o.x) + static_cast<std::size_t>(first) * x_bytes;
    part.m = count;
    if (!library.multiply(part, LibraryProblem(part), choice, stream)) return {};
    const std::int64_t kept = std::min(count, kComparedRows);
    std::vector<std::byte> y(static_cast<std::size_t>(kept) * row_bytes);
    check(cudaMemcpy2DAsync(y.data(), row_bytes, o.y,
                            static_cast<std::size_t>(o.y_stride) * size_of(o.y_dtype), row_bytes,
                            static_cast<std::size_t>(kept), cudaMemcpyDeviceToHost, stream),
          "cudaMemcpy2DAsync");
    check(cudaStreamSynchronize(stream), "a product");
    return y;
  };
  const std::vector<std::byte> all = rows(0, o.m);
  if (all.empty()) return false;
  for (const std::int64_t first : {0, 1, 5}) {
    for (const std::int64_t count : {1, 2, 8, 17, 40, 59}) {
      if (first + count > o.m) continue;
      const std::vector<std::byte> part = rows(first, count);
      const std::size_t compared =
          static_cast<std::size_t>(std::min(count, kComparedRows - first)) * row_bytes;
      if (part.empty() ||
          !std::equal(part.begin(), part.begin() + static_cast<std::ptrdiff_t>(compared),
                      all.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(first) *
                                                                row_bytes))) {
        return false;
      }
    }
  }
  return true;
}

// The library's best for a step of usual size that is invariant: not by its time, which differs
// from run to run.
void Gemm::Impl::choose_invariant(const Operands& o, Stream stream) {
  Operands usual = o;
  usual.m = kUsualRows;
  const LibraryProblem problem(usual);
  for (const ProductChoice& choice :
       library.candidates(usual, problem, LibraryProducts::kMostCandidates)) {
    if (!LibraryProducts::is_unsplit(choice) || !keeps_rows(o, choice, stream)) continue;
    tuned[key_of(o)] = choice;
    return;
  }
  fail(ErrorKind::cuda,
       cat("deterministic is true, and cuBLASLt has no product by a weight [", o.n, ", ", o.k,
           "] in ", name_of(o.dtype), " that keeps a row's bits; set it to false"));
}

void Gemm::tune(std::span<const Operands> products, Stream stream) {
  if (products.empty() || products[0].m == 0 || products[0].n == 0) return;
  const ProductKey key = impl_->key_of(products[0]);
  if (impl_->tuned.contains(key)) return;
  for (const Operands& other : products) {
    TRIREME_CHECK(impl_->key_of(other) == key && other.m == products[0].m, "m=", other.m,
                  " n=", other.n, " k=", other.k);
  }
  if (impl_->kernels == Kernels::invariant) return impl_->choose_invariant(products[0], stream);
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
  if (best == kNever) {
    fail(ErrorKind::cuda,
         cat("deterministic: cuBLASLt has no product by a weight [", key.n, ", ", key.k, "] in ",
             name_of(key.dtype), " that keeps a row's bits; set deterministic to false"));
  }
}

void Gemm::Impl::run_library(const Operands& o, const ProductKey& key, Stream stream) {
  const LibraryProblem problem(o);
  const auto chosen = tuned.find(key);
  if (chosen != tuned.end() && chosen->second.form == SmallForm::none &&
      library.multiply(o, problem, chosen->second, stream)) {
    return;
  }
  if (kernels == Kernels::invariant) {
    fail(ErrorKind::cuda, cat("deterministic: no algorithm is known for a product of [", o.m, ", ",
                              o.k, "] by [", o.n, ", ", o.k, "] in ", name_of(o.dtype)));
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
  const ProductKey key = impl_->key_of(operands);
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
  if (impl_->kernels != Kernels::all) return;
  write_table(path, text_of(impl_->tuned, machine_of_timings()));
}

std::string Gemm::load(const std::string& path) {
  if (impl_->kernels != Kernels::all) return "its algorithms are for all kernels";
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
