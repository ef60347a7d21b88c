// The kernels of a small decoder (SmolLM2-135M's shape, bf16 weights) in the order a step runs
// them: what a step costs with everything between the products, beside the bytes of weights it must
// read. usage: layers_bench [threads [generic|avx2|avx512_bf16 [float32|bfloat16 (activations)]]]

#include <omp.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "machine.h"

namespace {

using namespace trireme;
using namespace trireme::kernels;
using kernels::cpu::InstructionSet;

constexpr std::int64_t kLayers = 30, kHidden = 576, kIntermediate = 1536, kHeads = 9, kKvHeads = 3;
constexpr std::int64_t kHeadDim = 64, kVocabulary = 49152, kBlock = 16;
constexpr std::int64_t kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;

std::size_t elements(std::int64_t rows, std::int64_t columns) {
  return static_cast<std::size_t>(rows * columns);
}

struct Layer {
  std::vector<bfloat16> qkv, out, gate_up, down;
  std::vector<std::byte> k, v;
};

struct Step {
  std::int64_t num_seqs, num_cached, num_new;
};

class Decoder {
 public:
  Decoder(InstructionSet set, DType dtype)
      : set_(set), dtype_(dtype), gemm_(set, dtype == DType::bfloat16), layers_(kLayers) {
    const bfloat16 value(0.01f);
    for (Layer& layer : layers_) {
      layer.qkv.assign(elements(kQkv, kHidden), value);
      layer.out.assign(elements(kHidden, kHidden), value);
      layer.gate_up.assign(elements(2 * kIntermediate, kHidden), value);
      layer.down.assign(elements(kHidden, kIntermediate), value);
    }
    head_.assign(elements(kVocabulary, kHidden), value);
    norm_.assign(kHidden, 1.0f);
    table_.assign(elements(8192, kHeadDim), 0.5f);
  }

  static double weight_bytes() {
    const std::int64_t layer = (kQkv + kHidden) * kHidden + 3 * kIntermediate * kHidden;
    return 2.0 * static_cast<double>(kLayers * layer + kVocabulary * kHidden);
  }

  void prepare(const Step& step) {
    step_ = step;
    const std::int64_t length = step.num_cached + step.num_new;
    max_blocks_ = (length + kBlock - 1) / kBlock;
    const std::int64_t size = step.num_seqs * max_blocks_ * kBlock * kKvHeads * kHeadDim;
    for (Layer& layer : layers_) {
      layer.k.assign(static_cast<std::size_t>(size) * size_of(dtype_), std::byte{});
      layer.v = layer.k;
    }
    q_begin_ = {0};
    first_.clear(), blocks_.clear(), slots_.clear(), positions_.clear();
    for (std::int64_t seq = 0; seq < step.num_seqs; ++seq) {
      q_begin_.push_back(static_cast<std::int32_t>((seq + 1) * step.num_new));
      first_.push_back(static_cast<std::int32_t>(step.num_cached));
      for (std::int64_t block = 0; block < max_blocks_; ++block) {
        blocks_.push_back(static_cast<std::int32_t>(seq * max_blocks_ + block));
      }
      for (std::int64_t at = step.num_cached; at < length; ++at) {
        slots_.push_back(seq * max_blocks_ * kBlock + at);
        positions_.push_back(static_cast<std::int32_t>(at));
      }
    }
    const std::int64_t tokens = step.num_seqs * step.num_new;
    hidden_.assign(elements(tokens, kHidden), 0.1f);
    normed_ = attended_ = projected_ = hidden_;
    qkv_.assign(elements(tokens, kQkv), 0.0f);
    both_.assign(elements(tokens, 2 * kIntermediate), 0.0f);
    inner_.assign(elements(tokens, kIntermediate), 0.0f);
    logits_.assign(elements(step.num_seqs, kVocabulary), 0.0f);
  }

  void run() {
    const std::int64_t tokens = step_.num_seqs * step_.num_new;
    std::fill(hidden_.begin(), hidden_.end(), 0.1f);
    for (Layer& layer : layers_) {
      norm(tokens);
      multiply(normed_, layer.qkv, qkv_, tokens, kQkv, kHidden);
      attend(layer, tokens);
      multiply(attended_, layer.out, projected_, tokens, kHidden, kHidden);
      cpu::add(projected_.data(), hidden_.data(), tokens * kHidden);
      norm(tokens);
      multiply(normed_, layer.gate_up, both_, tokens, 2 * kIntermediate, kHidden);
      cpu::silu_and_mul(both_.data(), inner_.data(), tokens, kIntermediate, set_);
      multiply(inner_, layer.down, projected_, tokens, kHidden, kIntermediate);
      cpu::add(projected_.data(), hidden_.data(), tokens * kHidden);
    }
    norm(step_.num_seqs);
    multiply(normed_, head_, logits_, step_.num_seqs, kVocabulary, kHidden);
  }

 private:
  void norm(std::int64_t rows) {
    cpu::rms_norm(hidden_.data(), kHidden, norm_.data(), 1e-5f, normed_.data(), kHidden, rows,
                  kHidden, set_);
  }

  void multiply(const std::vector<float>& x, const std::vector<bfloat16>& weight,
                std::vector<float>& y, std::int64_t m, std::int64_t n, std::int64_t k) {
    gemm_.run({.x = x.data(),
               .x_stride = k,
               .weight = weight.data(),
               .weight_dtype = DType::bfloat16,
               .y = y.data(),
               .y_stride = n,
               .m = m,
               .n = n,
               .k = k});
  }

  void attend(Layer& layer, std::int64_t tokens) {
    const KvCache cache{layer.k.data(), layer.v.data(), dtype_,  step_.num_seqs * max_blocks_,
                        kKvHeads,       kBlock,         kHeadDim};
    float* k = qkv_.data() + kHeads * kHeadDim;
    cpu::rope(qkv_.data(), kQkv, positions_.data(), table_.data(), tokens, kHeads + kKvHeads,
              kHeadDim, kHeadDim, set_);
    cpu::append_kv(k, k + kKvHeads * kHeadDim, kQkv, slots_.data(), tokens, cache, set_);
    const AttentionBatch batch{step_.num_seqs, q_begin_.data(), first_.data(), blocks_.data(),
                               max_blocks_};
    cpu::attention(qkv_.data(), kQkv, kHeads, 0.125f, 0, cache, batch, attended_.data(), set_);
  }

  InstructionSet set_;
  DType dtype_;
  cpu::Gemm gemm_;
  std::vector<Layer> layers_;
  std::vector<bfloat16> head_;
  std::vector<float> norm_, table_;
  Step step_{};
  std::int64_t max_blocks_ = 0;
  std::vector<std::int32_t> q_begin_, first_, blocks_, positions_;
  std::vector<std::int64_t> slots_;
  std::vector<float> hidden_, normed_, attended_, projected_, qkv_, both_, inner_, logits_;
};

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : omp_get_max_threads();
  InstructionSet set = cpu::detect_instruction_set();
  for (const auto each : {InstructionSet::generic, InstructionSet::avx2}) {
    if (argc > 2 && std::string(argv[2]) == cpu::name_of(each)) set = each;
  }
  omp_set_num_threads(threads);
  const bool in_float = argc > 3 && std::string(argv[3]) == "float32";
  Decoder decoder(set, in_float ? DType::float32 : DType::bfloat16);
  const double bandwidth = bench::read_bandwidth(threads);
  std::printf("set=%s threads=%d activations=%s read_gb_s=%.1f\n", cpu::name_of(set), threads,
              in_float ? "float32" : "bfloat16", bandwidth);
  for (const Step& step :
       {Step{1, 128, 1}, Step{1, 1024, 1}, Step{8, 160, 1}, Step{32, 160, 1}, Step{1, 0, 512}}) {
    decoder.prepare(step);
    const double seconds = bench::best_seconds([&] { decoder.run(); }, 0.002, 12);
    std::printf("seqs=%ld cached=%ld new=%ld ms=%.2f tokens_s=%.0f weights_of_read=%.2f\n",
                step.num_seqs, step.num_cached, step.num_new, seconds * 1e3,
                static_cast<double>(step.num_seqs * step.num_new) / seconds,
                Decoder::weight_bytes() / seconds / 1e9 / bandwidth);
  }
}
