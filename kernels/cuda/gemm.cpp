#include "kernels/gemm.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>
#include <vector>

#include "kernels/activation.h"
#include "kernels/cuda/detail/large_product.h"
#include "kernels/cuda/detail/library_product.cuh"
#include "kernels/cuda/detail/small_product.h"
#include "kernels/fill.h"
#include "kernels/norm.h"

namespace trireme::kernels::cuda {
namespace {

/// Rounds for all candidates, then for those that are near the best: the clock of a GPU at its
/// power limit differs by some percent from one moment to the next.
constexpr int kFirstRounds = 3, kLastRounds = 15;
constexpr float kNear = 1.06f, kClearlyLess = 0.995f;
constexpr float kNever = 1e30f;
constexpr std::int64_t kComparedRows = 32;
constexpr std::int64_t kUsualRows = 512;

using Event = UniqueHandle<CudaTraits<cudaEvent_t, cudaEventDestroy>>;
using Graph = UniqueHandle<CudaTraits<cudaGraph_t, cudaGraphDestroy>>;
using GraphExec = UniqueHandle<CudaTraits<cudaGraphExec_t, cudaGraphExecDestroy>>;

bool takes_own(const Gemm::Operands& o, ProductForm form) {
  return form == ProductForm::tiles ? o.m > kMostSmallRows && takes_large_product(o)
                                    : takes_small_product(o, form);
}
void run_own(const Gemm::Operands& o, ProductForm form, Stream stream) {
  form == ProductForm::tiles ? large_product(o, stream) : small_product(o, form, stream);
}

Gemm::Operands without_bias(Gemm::Operands o) {
  o.bias = nullptr;
  return o;
}

/// What the library computes of a product: all columns where silu_and_mul follows.
Gemm::Operands library_part(Gemm::Operands o) {
  if (o.gate_up == nullptr) return o;
  o.y = std::exchange(o.gate_up, nullptr);
  o.y_stride = o.n;
  o.y_dtype = o.dtype;
  return o;
}

/// Values as in a model: what lies there may be zeros, for which the GPU needs less power and runs
/// faster, and which any sum keeps.
void fill_x(const Gemm::Operands& o, Stream stream) {
  fill_normal(const_cast<void*>(o.x), o.dtype, (o.m - 1) * o.x_stride + o.k, {}, 1, 1.0f, stream);
}

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

  float median() {
    const auto middle = times.begin() + std::ssize(times) / 2;
    std::nth_element(times.begin(), middle, times.end());
    return *middle;
  }
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
  bool multiply(const Operands& o, const LibraryProblem& problem, const ProductChoice& choice,
                Stream stream) const;
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

/// By the library; false if it does not take the algorithm for them.
bool Gemm::Impl::multiply(const Operands& o, const LibraryProblem& problem,
                          const ProductChoice& choice, Stream stream) const {
  if (!library.multiply(library_part(o), problem, choice, stream)) return false;
  if (o.gate_up != nullptr) silu_and_mul(o.gate_up, o.y, o.m, o.n / 2, o.dtype, stream);
  return true;
}

/// The library's first, likely best first, then the own ones. All have run once.
std::vector<Candidate> Gemm::Impl::candidates(std::span<const Operands> products,
                                              const LibraryProblem& problem, Stream stream) const {
  std::vector<Candidate> all;
  for (const ProductChoice& choice :
       library.candidates(library_part(products[0]), problem, LibraryProducts::kMostCandidates)) {
    all.push_back({choice,
                   [this, products, &problem, choice, stream] {
                     return std::all_of(products.begin(), products.end(), [&](const Operands& o) {
                       return multiply(o, problem, choice, stream);
                     });
                   },
                   {}});
  }
  for (const ProductForm form : kOwnForms) {
    if (kernels != Kernels::all || !takes_own(products[0], form)) continue;
    all.push_back({{.form = form},
                   [products, form, stream] {
                     for (const Operands& o : products) run_own(o, form, stream);
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
  fill_x(o, stream);
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
  Operands usual = library_part(o);
  usual.m = kUsualRows;
  const LibraryProblem problem(usual);
  for (const ProductChoice& choice :
       library.candidates(usual, problem, LibraryProducts::kMostCandidates)) {
    if (!LibraryProducts::is_unsplit(choice) || !keeps_rows(library_part(o), choice, stream)) {
      continue;
    }
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
  if (impl_->kernels == Kernels::invariant) {
    if (!takes_large_product(without_bias(products[0]))) {
      impl_->choose_invariant(products[0], stream);
    }
    return;
  }
  const LibraryProblem problem(library_part(products[0]));
  for (const Operands& product : products) fill_x(product, stream);
  std::vector<Candidate> candidates = impl_->candidates(products, problem, stream);
  const Timer timer(stream);
  const auto time_all = [&](int num_rounds) {
    // In turns, since the GPU's clock changes meanwhile.
    for (int round = 0; round < num_rounds; ++round) {
      for (Candidate& candidate : candidates) {
        candidate.times.push_back(candidate.is_usable ? timer.milliseconds(candidate) : kNever);
      }
    }
  };
  time_all(kFirstRounds);
  float best = kNever;
  for (Candidate& candidate : candidates) best = std::min(best, candidate.median());
  std::erase_if(candidates,
                [&](Candidate& candidate) { return candidate.median() > best * kNear; });
  if (candidates.size() > 1) time_all(kLastRounds);
  best = kNever;
  for (Candidate& candidate : candidates) {
    // The likely best come first: a later one must be better by more than noise.
    if (candidate.median() >= best * kClearlyLess) continue;
    best = candidate.median();
    impl_->tuned[key] = candidate.choice;
  }
  if (best == kNever) {
    fail(
        ErrorKind::cuda,
        cat("cuBLASLt takes none of the algorithms that it proposes for a product of [",
            products[0].m, ", ", key.k, "] by [", key.n, ", ", key.k, "] in ", name_of(key.dtype)));
  }
}

void Gemm::Impl::run_library(const Operands& o, const ProductKey& key, Stream stream) {
  const LibraryProblem problem(library_part(o));
  const auto chosen = tuned.find(key);
  if (chosen != tuned.end() && chosen->second.form == ProductForm::library &&
      multiply(o, problem, chosen->second, stream)) {
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
    at = proposed.emplace(exact, library.candidates(library_part(o), problem, 1).front()).first;
  }
  if (!multiply(o, problem, at->second, stream)) {
    fail(ErrorKind::cuda, cat("cuBLASLt refuses its own product of [", o.m, ", ", o.k, "] by [",
                              o.n, ", ", o.k, "] in ", name_of(o.dtype)));
  }
}

void Gemm::run(const Operands& operands, Stream stream) {
  if (operands.m == 0 || operands.n == 0) return;
  TRIREME_CHECK(operands.gate_up == nullptr ||
                    (operands.n % 2 == 0 && operands.bias == nullptr &&
                     operands.y_stride == operands.n / 2 && operands.y_dtype == operands.dtype),
                "n=", operands.n, " y_stride=", operands.y_stride);
  const ProductKey key = impl_->key_of(operands);
  if (impl_->kernels == Kernels::all) {
    const auto chosen = impl_->tuned.find(key);
    const ProductForm form =
        chosen == impl_->tuned.end() ? likely_small_form(operands) : chosen->second.form;
    if (takes_own(operands, form)) return run_own(operands, form, stream);
  }
  if (impl_->kernels == Kernels::invariant && takes_large_product(without_bias(operands))) {
    large_product(without_bias(operands), stream);
  } else {
    impl_->run_library(operands, key, stream);
  }
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
    const bool is_own = choice.form != ProductForm::library;
    if (is_own || impl_->library.knows(key, choice)) impl_->tuned.emplace(key, choice);
  }
  return {};
}

}  // namespace trireme::kernels::cuda
