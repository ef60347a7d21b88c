/// Times every CUDA kernel at the shapes of Llama-3.1-8B and Qwen3-30B-A3B in bfloat16 and prints a
/// line each: microseconds, and GB/s of the bytes that must be moved or TFLOP/s of the products.
/// Operands rotate through gigabytes, so that weights and caches come from memory.
///
/// usage: kernels_cuda_bench [PART...]   parts: small moe decode prefill sampling gemm few grouped;
/// none: all
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/cuda/detail/small_product.h"
#include "kernels/embedding.h"
#include "kernels/gemm.h"
#include "kernels/moe.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/sampling.h"
#include "tensor/device.h"

namespace {

using namespace trireme;
using namespace trireme::kernels;
using std::int32_t;
using std::int64_t;

constexpr DType kType = DType::bfloat16;

/// Random bfloat16 that is valid float32 as well.
class Pool {
 public:
  explicit Pool(std::size_t bytes) : buffer_(bytes, "benchmark operands", "the benchmark's pool") {
    std::mt19937 engine(1);
    std::normal_distribution<float> normal(0.0f, 0.5f);
    std::vector<bfloat16> some(std::size_t{8} << 20);
    for (bfloat16& value : some) value = bfloat16(normal(engine));
    const tensor::Stream stream;
    const std::size_t step = some.size() * 2;
    for (std::size_t at = 0; at + step <= bytes; at += step) {
      stream.copy_to_device(static_cast<std::byte*>(buffer_.data()) + at, some.data(), step);
    }
    stream.synchronize();
  }

  /// Memory of that size, another one at every call until the pool begins anew.
  void* next(int64_t bytes) {
    const auto size = (static_cast<std::size_t>(bytes) + 4095) / 4096 * 4096;
    if (at_ + size > buffer_.size_bytes()) at_ = 0;
    void* memory = static_cast<std::byte*>(buffer_.data()) + at_;
    at_ += size;
    return memory;
  }

 private:
  tensor::DeviceBuffer buffer_;
  std::size_t at_ = 0;
};

template <typename T>
tensor::DeviceBuffer upload(const std::vector<T>& values) {
  const tensor::Stream stream;
  tensor::DeviceBuffer buffer(values.size() * sizeof(T), "benchmark indices", "the benchmark");
  stream.copy_to_device(buffer.data(), values.data(), values.size() * sizeof(T));
  stream.synchronize();
  return buffer;
}
template <typename T>
T* as(const tensor::DeviceBuffer& buffer) {
  return static_cast<T*>(buffer.data());
}

struct Bench {
  Pool in{std::size_t{12} << 30}, out{std::size_t{6} << 30};
  tensor::Stream stream;
  tensor::Event begin{tensor::Event::Timing::on}, end{tensor::Event::Timing::on};

  /// Microseconds of one call, of graphs of `calls`: the median of nine.
  double time(const std::function<void()>& call, int calls = 20) {
    call();
    const tensor::Graph graph(stream, [&] {
      for (int i = 0; i < calls; ++i) call();
    });
    std::vector<float> times;
    for (int run = 0; run < 9; ++run) {
      begin.record(stream);
      graph.launch(stream);
      end.record(stream);
      end.synchronize();
      times.push_back(end.milliseconds_since(begin));
    }
    std::sort(times.begin(), times.end());
    return 1e3 * times[4] / calls;
  }

  void print(const std::string& what, double us, int64_t bytes, int64_t operations = 0) const {
    std::printf("%-46s %9.1f us %7.0f GB/s", what.c_str(), us,
                static_cast<double>(bytes) / us * 1e-3);
    if (operations > 0) {
      std::printf(" %7.0f TFLOP/s", static_cast<double>(operations) / us * 1e-6);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  CUstream_st* get() const { return stream.get(); }
};

const std::vector<int64_t> kTokens = {1, 8, 256, 1000, 8192};

void bench_small(Bench& b) {
  {
    const int64_t size = int64_t{1} << 28;
    b.print(
        "add (ceiling)",
        b.time([&] { cuda::add(b.in.next(size * 2), b.out.next(size * 2), size, kType, b.get()); },
               4),
        6 * size);
  }
  const auto* weight = static_cast<const float*>(b.in.next(1 << 20));
  for (const int64_t m : kTokens) {
    for (const int64_t size : {4096, 2048}) {
      const int64_t bytes = m * size * 2;
      b.print(cat("add_rms_norm ", m, " x ", size), b.time([&] {
        cuda::add_rms_norm(b.in.next(bytes), b.out.next(bytes), weight, 1e-5f, b.out.next(bytes), m,
                           size, kType, b.get());
      }),
              4 * bytes);
    }
    for (const auto& [rows, size] : {std::pair{m, int64_t{14336}}, {m * 8, int64_t{768}}}) {
      const int64_t bytes = rows * size * 2, n = rows;
      b.print(cat("silu_and_mul ", rows, " x ", size), b.time([&, s = size] {
        cuda::silu_and_mul(b.in.next(2 * bytes), b.out.next(bytes), n, s, kType, b.get());
      }),
              3 * bytes);
    }
    std::vector<int32_t> ids(static_cast<std::size_t>(m));
    std::mt19937 engine(3);
    for (int32_t& id : ids) id = static_cast<int32_t>(engine() % 128256);
    const auto ids_there = upload(ids);
    const void* table = b.in.next(int64_t{128256} * 4096 * 2);
    b.print(cat("embedding ", m, " x 4096"), b.time([&] {
      cuda::embedding(as<int32_t>(ids_there), m, table, 0, 128256, 4096, b.out.next(m * 8192),
                      kType, b.get());
    }),
            m * 16384);
  }
  for (const int64_t m : kTokens) {
    for (const int64_t kv_heads : {8, 4}) {
      const int64_t stride = (32 + 2 * kv_heads) * 128;
      std::vector<int32_t> positions(static_cast<std::size_t>(m));
      std::vector<int64_t> slots(positions.size());
      std::iota(slots.begin(), slots.end(), 0);
      for (std::size_t i = 0; i < slots.size(); ++i) positions[i] = static_cast<int32_t>(i % 4096);
      const auto positions_there = upload(positions);
      const auto slots_there = upload(slots);
      const auto* tables = static_cast<const float*>(b.in.next(4096 * 128 * 4));
      const int64_t blocks = m / 64 + 1, cache_bytes = blocks * 64 * kv_heads * 256;
      const bool has_norm = kv_heads == 4;
      b.print(cat(has_norm ? "norm+" : "", "rope+append ", m, " 32/", kv_heads), b.time([&] {
        cuda::norm_rope_append({.qkv = b.in.next(m * stride * 2),
                                .row_stride = stride,
                                .num_tokens = m,
                                .num_heads = 32,
                                .q_norm = has_norm ? weight : nullptr,
                                .k_norm = has_norm ? weight : nullptr,
                                .eps = 1e-5f,
                                .positions = as<int32_t>(positions_there),
                                .cos_sin = tables,
                                .rotary_dim = 128,
                                .slot_mapping = as<int64_t>(slots_there),
                                .cache = {b.out.next(cache_bytes), b.out.next(cache_bytes), kType,
                                          blocks, kv_heads, 64, 128}},
                               b.get());
      }),
              m * stride * 4);
    }
  }
}

/// Pairs of T tokens, top 8 of 128 experts.
struct Routing {
  tensor::DeviceBuffer slots, begin, pair_at, place, workspace, weights;
  int64_t num_pairs, num_active = 0;

  Routing(const Bench& b, int64_t num_tokens) : num_pairs(num_tokens * 8) {
    std::mt19937 engine(5);
    std::vector<int32_t> host, experts(128);
    std::set<int32_t> active;
    std::iota(experts.begin(), experts.end(), 0);
    for (int64_t token = 0; token < num_tokens; ++token) {
      std::shuffle(experts.begin(), experts.end(), engine);
      host.insert(host.end(), experts.begin(), experts.begin() + 8);
      active.insert(experts.begin(), experts.begin() + 8);
    }
    num_active = static_cast<int64_t>(active.size());
    slots = upload(host);
    begin = upload(std::vector<int32_t>(129));
    pair_at = upload(host);
    place = upload(host);
    weights = upload(std::vector<float>(host.size(), 0.125f));
    workspace = upload(
        std::vector<int32_t>(static_cast<std::size_t>(cuda::sort_workspace_size(num_pairs, 128))));
    sort(b);
    b.stream.synchronize();
  }
  void sort(const Bench& b) const {
    cuda::sort_by_expert(as<int32_t>(slots), num_pairs, 128, as<int32_t>(begin),
                         as<int32_t>(pair_at), as<int32_t>(place), as<int32_t>(workspace), b.get());
  }
};

void bench_moe(Bench& b) {
  for (const int64_t m : kTokens) {
    const Routing routing(b, m);
    const auto ids = upload(std::vector<int32_t>(static_cast<std::size_t>(m * 8)));
    b.print(cat("route_softmax ", m, " x 128, top 8"), b.time([&] {
      cuda::route_softmax({.logits = static_cast<const float*>(b.in.next(m * 512)),
                           .num_tokens = m,
                           .num_experts = 128,
                           .top_k = 8,
                           .normalize = true,
                           .ids = as<int32_t>(ids),
                           .weights = static_cast<float*>(b.out.next(m * 32))},
                          b.get());
    }),
            m * 576);
    b.print(cat("sort_by_expert ", m, " x 8"), b.time([&] { routing.sort(b); }), m * 96);
    b.print(cat("gather ", m, " x 8 x 2048"), b.time([&] {
      cuda::gather_rows(b.in.next(m * 4096), 2048, as<int32_t>(routing.pair_at), 8,
                        as<int32_t>(routing.begin) + 128, m * 8, 2048, b.out.next(m * 32768), kType,
                        b.get());
    }),
            m * 36864);
    b.print(cat("combine ", m, " x 8 x 2048"), b.time([&] {
      cuda::combine(b.in.next(m * 32768), as<int32_t>(routing.place), as<float>(routing.weights), m,
                    8, 2048, b.out.next(m * 4096), kType, b.get());
    }),
            m * 36864);
  }
}

void bench_grouped(Bench& b) {
  for (const int64_t m : {1, 2, 4, 8, 64, 256, 1000, 2048, 8192}) {
    const Routing routing(b, m);
    const int64_t pairs = m * 8;
    const auto product = [&](const char* name, int64_t n, int64_t k, bool is_first) {
      const double us = b.time([&] {
        cuda::grouped_product({.x = b.in.next((is_first ? m : pairs) * k * 2),
                               .x_stride = k,
                               .pair_at = is_first ? as<int32_t>(routing.pair_at) : nullptr,
                               .top_k = 8,
                               .weight = b.in.next(128 * n * k * 2),
                               .expert_begin = as<int32_t>(routing.begin),
                               .num_slots = 128,
                               .num_places = pairs,
                               .y = b.out.next(pairs * n * 2),
                               .n = n,
                               .k = k,
                               .has_silu_and_mul = is_first},
                              b.get());
      });
      const int64_t bytes = 2 * (routing.num_active * n * k + (is_first ? m : pairs) * k +
                                 pairs * (is_first ? n / 2 : n));
      b.print(cat("grouped ", name, " ", m, " x 8 (", routing.num_active, " active)"), us, bytes,
              2 * pairs * n * k);
    };
    product("gate_up+silu", 1536, 2048, true);
    product("down", 2048, 768, false);
  }
}

/// Sequences of equal lengths: num_new tokens behind num_cached.
void bench_attention(Bench& b, int64_t seqs, int64_t num_new, int64_t num_cached,
                     int64_t kv_heads) {
  const int64_t length = num_cached + num_new, max_blocks = (length + 63) / 64;
  const int64_t pool_bytes = std::min(seqs * max_blocks * kv_heads * 64 * 256, int64_t{5} << 30);
  const int64_t num_blocks = pool_bytes / (kv_heads * 64 * 256);
  std::vector<int32_t> order(static_cast<std::size_t>(num_blocks)), table, q_begin, first;
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(9));
  for (int64_t i = 0; i < seqs * max_blocks; ++i) {
    table.push_back(order[static_cast<std::size_t>(i % num_blocks)]);
  }
  for (int64_t s = 0; s <= seqs; ++s) q_begin.push_back(static_cast<int32_t>(s * num_new));
  first.assign(static_cast<std::size_t>(seqs), static_cast<int32_t>(num_cached));
  const auto table_there = upload(table), begin_there = upload(q_begin),
             first_there = upload(first);
  const auto workspace = upload(std::vector<std::uint8_t>(cuda::attention_workspace_bytes(128)));
  const int64_t tokens = seqs * num_new, q_bytes = tokens * 32 * 256;
  const double us = b.time(
      [&] {
        cuda::attention(
            {.q = b.in.next(q_bytes),
             .q_stride = 32 * 128,
             .num_heads = 32,
             .scale = 0.088f,
             .cache = {b.in.next(pool_bytes), b.in.next(pool_bytes), kType, num_blocks, kv_heads,
                       64, 128},
             .batch = {seqs, as<int32_t>(begin_there), as<int32_t>(first_there),
                       as<int32_t>(table_there), max_blocks, nullptr, num_new == 1 ? seqs : 0},
             .num_tokens = tokens,
             .out = b.out.next(q_bytes),
             .workspace = workspace.data()},
            b.get());
      },
      8);
  const int64_t bytes = 2 * seqs * length * kv_heads * 256 + 2 * q_bytes;
  const int64_t twice_keys = num_new * (2 * num_cached + num_new + 1);
  b.print(cat("attention ", seqs, " x ", num_new, " on ", length, ", 32/", kv_heads), us, bytes,
          2 * seqs * twice_keys * 32 * 128);
}

void bench_decode(Bench& b) {
  for (const int64_t kv_heads : {8, 4}) {
    for (const int64_t length : {640, 4096}) {
      for (const int64_t seqs : {1, 8, 64, 256, 1000}) {
        bench_attention(b, seqs, 1, length - 1, kv_heads);
      }
    }
  }
}

void bench_prefill(Bench& b) {
  for (const int64_t kv_heads : {8, 4}) bench_attention(b, 16, 512, 0, kv_heads);
  bench_attention(b, 2, 4096, 0, 8);
  bench_attention(b, 1, 8192, 0, 8);
  bench_attention(b, 4, 2048, 2048, 8);
  bench_attention(b, 64, 128, 0, 8);
  bench_attention(b, 64, 64, 960, 8);
  bench_attention(b, 128, 16, 1008, 8);
}

/// Flat logits; divided by a temperature of 0.1 they are peaked as a model's.
void bench_sampling(Bench& b) {
  constexpr int64_t kVocabulary = 128256;
  const SamplingRow greedy, with_logprobs{.num_top = 20}, flat{.temperature = 1},
      peaked{.temperature = 0.1f}, filtered{.top_p = 0.9, .temperature = 0.1f, .top_k = 50},
      with_top_p{.top_p = 0.9, .temperature = 0.1f};
  const std::pair<const char*, SamplingRow> forms[] = {{"greedy", greedy},
                                                       {"greedy, 20 logprobs", with_logprobs},
                                                       {"temperature", flat},
                                                       {"peaked temperature", peaked},
                                                       {"top_k 50, top_p 0.9", filtered},
                                                       {"top_p 0.9", with_top_p}};
  for (const int64_t m : {1, 8, 256, 1000}) {
    const int64_t bytes = m * kVocabulary * 4;
    const auto tokens = upload(std::vector<int32_t>(static_cast<std::size_t>(m)));
    const auto top = upload(std::vector<int32_t>(static_cast<std::size_t>(2 * 20 * m)));
    const auto logprobs = upload(std::vector<float>(static_cast<std::size_t>(m)));
    const auto workspace =
        upload(std::vector<std::uint8_t>(cuda::sampling_workspace_bytes(m, kVocabulary)));
    const auto logits = [&] { return static_cast<const float*>(b.in.next(bytes)); };
    for (const auto& [name, form] : forms) {
      std::vector<SamplingRow> rows(static_cast<std::size_t>(m), form);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i].key = i;
        rows[i].logits_row = static_cast<int32_t>(i);
      }
      const auto rows_there = upload(rows);
      b.print(cat("sample ", m, ", ", name), b.time([&] {
        cuda::sample({.logits = logits(),
                      .logits_stride = kVocabulary,
                      .vocab_size = kVocabulary,
                      .rows = as<SamplingRow>(rows_there),
                      .num_rows = m,
                      .max_top = 20,
                      .tokens = as<int32_t>(tokens),
                      .logprobs = as<float>(logprobs),
                      .top_ids = as<int32_t>(top),
                      .top_logprobs = as<float>(top) + 20 * m,
                      .workspace = workspace.data()},
                     b.get());
      }),
              bytes);
    }
    b.print(cat("score ", m), b.time([&] {
      cuda::score({.logits = logits(),
                   .logits_stride = kVocabulary,
                   .vocab_size = kVocabulary,
                   .targets = as<int32_t>(tokens),
                   .num_rows = m,
                   .logprobs = as<float>(logprobs)},
                  b.get());
    }),
            bytes);
  }
}

void bench_gemm(Bench& b) {
  cuda::Gemm gemm, untuned;
  struct Weight {
    const char* name;
    int64_t n, k;
    bool is_logits;
  };
  for (const Weight& w : {Weight{"qkv", 6144, 4096, false},
                          {"o", 4096, 4096, false},
                          {"gate_up", 28672, 4096, false},
                          {"down", 4096, 14336, false},
                          {"head", 128256, 4096, true},
                          {"router", 128, 2048, true}}) {
    for (const int64_t m : {1, 8, 64, 256, 1000, 8192}) {
      if (w.is_logits && w.n > 1000 && m > 1024) continue;
      const DType y_dtype = w.is_logits ? DType::float32 : kType;
      const auto operands = [&]() -> cuda::Gemm::Operands {
        return {.x = b.in.next(m * w.k * 2),
                .x_stride = w.k,
                .weight = b.in.next(w.n * w.k * 2),
                .y = b.out.next(m * w.n * 4),
                .y_stride = w.n,
                .y_dtype = y_dtype,
                .m = m,
                .n = w.n,
                .k = w.k};
      };
      std::vector<cuda::Gemm::Operands> layers;
      for (int layer = 0; layer < (w.n * w.k > (1 << 28) ? 2 : 8); ++layer) {
        layers.push_back(operands());
      }
      gemm.tune(layers, b.get());
      // In turns: the clock falls while the card is at its power limit.
      double before = 1e30, us = 1e30;
      for (int turn = 0; turn < 3; ++turn) {
        before = std::min(before, b.time([&] { untuned.run(operands(), b.get()); }, 8));
        us = std::min(us, b.time([&] { gemm.run(operands(), b.get()); }, 8));
      }
      const int64_t y_bytes = m * w.n * static_cast<int64_t>(size_of(y_dtype));
      b.print(cat("gemm ", w.name, " m=", m, " (first choice ", static_cast<int64_t>(before), ")"),
              us, 2 * (w.n * w.k + m * w.k) + y_bytes, 2 * m * w.n * w.k);
    }
  }
}

/// Few rows: the library's best algorithm, every own form, and what tuning over both has taken.
void bench_few(Bench& b) {
  constexpr const char* kFormNames[] = {"", "dot", "rows_8", "rows_16", "rows_32"};
  cuda::Gemm all, library(cuda::Gemm::Kernels::library);
  struct Weight {
    const char* name;
    int64_t n, k;
    bool is_logits;
  };
  for (const Weight& w : {Weight{"Llama qkv", 6144, 4096, false},
                          {"Llama o", 4096, 4096, false},
                          {"Llama gate_up", 28672, 4096, false},
                          {"Llama down", 4096, 14336, false},
                          {"Llama head", 128256, 4096, true},
                          {"Qwen3 qkv", 5120, 2048, false},
                          {"Qwen3 o", 2048, 4096, false},
                          {"Qwen3 router", 128, 2048, true},
                          {"Qwen3 head", 151936, 2048, true}}) {
    for (const int64_t m : {1, 2, 8, 16}) {
      const DType y_dtype = w.is_logits ? DType::float32 : kType;
      const auto operands = [&]() -> cuda::Gemm::Operands {
        return {.x = b.in.next(m * w.k * 2),
                .x_stride = w.k,
                .weight = b.in.next(w.n * w.k * 2),
                .y = b.out.next(m * w.n * 4),
                .y_stride = w.n,
                .y_dtype = y_dtype,
                .m = m,
                .n = w.n,
                .k = w.k};
      };
      std::vector<cuda::Gemm::Operands> layers;
      const int64_t num_layers = std::clamp<int64_t>((int64_t{200} << 20) / (w.n * w.k * 2), 2, 32);
      for (int64_t layer = 0; layer < num_layers; ++layer) layers.push_back(operands());
      library.tune(layers, b.get());
      all.tune(layers, b.get());
      const int64_t bytes =
          2 * (w.n * w.k + m * w.k) + m * w.n * static_cast<int64_t>(size_of(y_dtype));
      const auto line = [&](const char* what, const auto& call) {
        b.print(cat(w.name, " ", w.n, "x", w.k, " m=", m, " ", what), b.time(call), bytes);
      };
      line("library", [&] { library.run(operands(), b.get()); });
      for (const cuda::ProductForm form : cuda::kSmallForms) {
        if (!cuda::takes_small_product(operands(), form)) continue;
        line(kFormNames[static_cast<std::size_t>(form)],
             [&] { cuda::small_product(operands(), form, b.get()); });
      }
      line("tuned", [&] { all.run(operands(), b.get()); });
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::set<std::string> wanted(argv + 1, argv + argc);
  std::printf("%s\n", tensor::device_name().c_str());
  Bench bench;
  const std::pair<const char*, void (*)(Bench&)> parts[] = {
      {"small", bench_small},     {"moe", bench_moe},        {"decode", bench_decode},
      {"prefill", bench_prefill}, {"gemm", bench_gemm},      {"sampling", bench_sampling},
      {"few", bench_few},         {"grouped", bench_grouped}};
  for (const auto& [name, run] : parts) {
    if (wanted.empty() || wanted.contains(name)) run(bench);
  }
}
