#include "apps/cuda/operator_timer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "job/product_cache.h"
#include "kernels/embedding.h"
#include "kernels/sampling.h"
#include "ops/ops.h"

namespace trireme::apps {
namespace {

namespace cuda = kernels::cuda;
using tensor::TensorView;

constexpr double kMebibyte = std::int64_t{1} << 20;
/// So much is named by calls before the first operands come again: several times the cache.
constexpr double kRotatedBytes = 256 * kMebibyte;
constexpr double kShortestGraphMicroseconds = 2000;
constexpr std::int64_t kProductSize = 8192;
constexpr std::int64_t kReadRows = 65536, kReadColumns = 4096;  ///< half a gigabyte in two bytes

double named_bytes(const BenchOperator& op) { return op.in_bytes + op.out_bytes; }

/// Room for three calls of the largest operator, or, where memory is short, for one.
OperatorPools make_pools(std::span<const BenchOperator> operators, DType dtype) {
  // What the ceilings need, and the rounding of some operands.
  constexpr double kLeast = 1024 * kMebibyte, kRounding = kMebibyte;
  double in = 0, out = 0;
  const BenchOperator* largest = nullptr;
  for (const BenchOperator& op : operators) {
    if (largest == nullptr || named_bytes(op) > named_bytes(*largest)) largest = &op;
    in = std::max(in, op.in_bytes + kRounding);
    out = std::max(out, op.out_bytes + kRounding);
  }
  const auto free = static_cast<double>(tensor::device_memory().free_bytes);
  for (const double calls : {3.0, 1.0}) {
    const double all_in = std::max(calls * in, kLeast), all_out = std::max(calls * out, kLeast);
    // The rest is for indices and workspaces.
    if (all_in + all_out > 0.85 * free) continue;
    return {OperandPool(static_cast<std::size_t>(all_in), dtype),
            OperandPool(static_cast<std::size_t>(all_out), dtype)};
  }
  fail(ErrorKind::out_of_memory,
       cat("trireme bench kernels: operands need ", (in + out) / kMebibyte, " MiB of GPU memory (",
           largest == nullptr ? "" : cat(largest->name, " ", largest->shape, ": "),
           largest == nullptr ? 0 : named_bytes(*largest) / kMebibyte, " MiB), of which ",
           free / kMebibyte, " are free; lower --tokens or --context, or leave it out by --ops"));
}

ops::Context make_context(std::int64_t head_dim, DType dtype) {
  constexpr std::size_t kNoArena = 256;
  ops::Context context(std::make_shared<ops::CudaContext>(kNoArena, head_dim), dtype);
  job::load_products(*context.cuda);
  return context;
}

}  // namespace

OperatorTimer::OperatorTimer(const models::DecoderDesign& design, DType dtype,
                             std::span<const BenchOperator> operators)
    : config_(design.config),
      qk_norm_(design.qk_norm),
      dtype_(dtype),
      context_(make_context(design.config.head_dim, dtype)),
      pools_(make_pools(operators, dtype)) {}

void OperatorTimer::save_products() const { job::save_products(*context_.cuda); }

double OperatorTimer::microseconds(const BenchOperator& op) {
  kept_.clear();
  const Call call = call_of(op);
  context_.cuda->stream.synchronize();
  return time(call, named_bytes(op));
}

double OperatorTimer::time(const Call& call, double named_bytes) {
  // The first call of a kernel may set it up, which cannot be recorded.
  call();
  context_.cuda->stream.synchronize();
  const int calls = static_cast<int>(
      std::clamp(std::ceil(kRotatedBytes / std::max(named_bytes, 1.0)), 4.0, 256.0));
  const double estimate = std::max(time_graph(call, calls, 1), 0.1);
  const int enough =
      static_cast<int>(std::clamp(std::ceil(kShortestGraphMicroseconds / estimate), 4.0, 1024.0));
  return time_graph(call, std::max(calls, enough), 9);
}

double OperatorTimer::time_graph(const Call& call, int calls, int runs) {
  const tensor::Stream& stream = context_.cuda->stream;
  const tensor::Graph graph(stream, [&] {
    for (int i = 0; i < calls; ++i) call();
  });
  tensor::Event begin(tensor::Event::Timing::on), end(tensor::Event::Timing::on);
  graph.launch(stream);
  std::vector<float> times;
  for (int run = 0; run < runs; ++run) {
    begin.record(stream);
    graph.launch(stream);
    end.record(stream);
    end.synchronize();
    times.push_back(end.milliseconds_since(begin));
  }
  std::ranges::sort(times);
  return 1e3 * static_cast<double>(times[times.size() / 2]) / calls;
}

Ceilings OperatorTimer::ceilings() { return {copy_rate(), read_rate(), product_rate()}; }

/// An embedding of all rows in their order is a copy; the best of some lengths of rows.
double OperatorTimer::copy_rate() {
  constexpr std::int64_t kBytes = std::int64_t{512} << 20;
  double best = 0;
  for (const std::int64_t row_bytes : {4096, 8192, 16384, 32768}) {
    kept_.clear();
    const std::int64_t rows = kBytes / row_bytes;
    const std::int64_t size = row_bytes / static_cast<std::int64_t>(size_of(dtype_));
    std::vector<std::int32_t> in_order(static_cast<std::size_t>(rows));
    std::iota(in_order.begin(), in_order.end(), 0);
    const std::int32_t* ids = indices(in_order);
    const double us = time(
        [&] {
          cuda::embedding(ids, rows, pools_.in.next({rows, size}, dtype_).data, 0, rows, size,
                          pools_.out.next({rows, size}, dtype_).data, dtype_, context_.stream());
        },
        2.0 * kBytes);
    best = std::max(best, 2.0 * kBytes / us);
  }
  return best;
}

cuda::Gemm::Operands OperatorTimer::operands_of(std::int64_t m, std::int64_t n, std::int64_t k,
                                                DType y_dtype) {
  return {.x = pools_.in.next({m, k}, dtype_).data,
          .x_stride = k,
          .weight = pools_.in.next({n, k}, dtype_).data,
          .dtype = dtype_,
          .y = pools_.out.next({m, n}, y_dtype).data,
          .y_stride = n,
          .y_dtype = y_dtype,
          .m = m,
          .n = n,
          .k = k};
}

/// A product of one row reads a large weight and little else.
double OperatorTimer::read_rate() {
  cuda::Gemm gemm;
  const std::array products = {operands_of(1, kReadRows, kReadColumns, dtype_),
                               operands_of(1, kReadRows, kReadColumns, dtype_)};
  if (dtype_ != DType::float32) gemm.tune(products, context_.stream());
  const double bytes =
      static_cast<double>(kReadRows * kReadColumns) * static_cast<double>(size_of(dtype_));
  return bytes /
         time([&] { gemm.run(operands_of(1, kReadRows, kReadColumns, dtype_), context_.stream()); },
              bytes);
}

double OperatorTimer::product_rate() {
  cuda::Gemm gemm(cuda::Gemm::Kernels::library);
  const auto operands = [&] {
    return operands_of(kProductSize, kProductSize, kProductSize, dtype_);
  };
  const std::array products = {operands(), operands()};
  gemm.tune(products, context_.stream());
  constexpr auto kSize = static_cast<double>(kProductSize);
  const double us = time([&] { gemm.run(operands(), context_.stream()); }, kRotatedBytes / 8);
  return 2 * kSize * kSize * kSize / us;
}

OperatorTimer::Call OperatorTimer::call_of(const BenchOperator& op) {
  switch (op.kind) {
    case OperatorKind::embedding:
      return embedding(op);
    case OperatorKind::rms_norm:
      return rms_norm(op);
    case OperatorKind::add_rms_norm:
      return add_rms_norm(op);
    case OperatorKind::add:
      return add(op);
    case OperatorKind::linear:
      return linear(op);
    case OperatorKind::norm_rope_append:
      return norm_rope_append(op);
    case OperatorKind::attention_decodes:
    case OperatorKind::attention_prompt:
      return attention(op);
    case OperatorKind::silu_and_mul:
      return silu_and_mul(op);
    case OperatorKind::route:
      return route(op);
    case OperatorKind::sort_by_expert:
      return sort_by_expert(op);
    case OperatorKind::experts_gate_up:
    case OperatorKind::experts_down:
      return experts(op);
    case OperatorKind::combine:
      return combine(op);
    case OperatorKind::sample:
      return sample(op);
  }
  return {};
}

}  // namespace trireme::apps
