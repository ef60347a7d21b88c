#include <algorithm>
#include <functional>
#include <numeric>
#include <set>

#include "device_data.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/cuda/detail/small_product.h"
#include "kernels/embedding.h"
#include "kernels/moe.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/sampling.h"
#include "kernels/step_batch.h"

// The kernels of decode steps begin while those before them still run. What they compute must be,
// bit for bit, what they compute one by one.
namespace trireme::kernels {
namespace {

constexpr DType kType = DType::bfloat16;
constexpr std::int64_t kHidden = 512, kHeads = 8, kKvHeads = 2, kHeadDim = 128, kInner = 704;
constexpr std::int64_t kQkv = (kHeads + 2 * kKvHeads) * kHeadDim, kVocab = 2000;
constexpr std::int64_t kExperts = 16, kTopK = 4, kExpertInner = 192;
constexpr std::int64_t kLayers = 3, kBlockTokens = 16, kMaxBlocks = 24;
constexpr int kSteps = 300;

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

struct Case {
  const char* name;
  std::int64_t num_seqs;
  cuda::ProductForm form;  ///< or the library
};

/// Random weights: matrices keep the size of what they multiply.
Bytes matrix(std::int64_t rows, std::int64_t columns, unsigned seed) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(columns));
  return upload(to_dtype(random_floats(rows * columns, seed, scale), kType));
}

struct Layer {
  explicit Layer(unsigned first_seed) : seed(first_seed) {}

  unsigned seed;
  OnDevice<float> norm{random_floats(kHidden, seed)}, mlp_norm{random_floats(kHidden, seed + 1)},
      moe_norm{random_floats(kHidden, seed + 2)}, q_norm{random_floats(kHeadDim, seed + 3)},
      k_norm{random_floats(kHeadDim, seed + 4)};
  Bytes qkv = matrix(kQkv, kHidden, seed + 5), o = matrix(kHidden, kHeads*kHeadDim, seed + 6),
        gate_up = matrix(2 * kInner, kHidden, seed + 7), down = matrix(kHidden, kInner, seed + 8),
        router = matrix(kExperts, kHidden, seed + 9),
        expert_gate_up = matrix(kExperts * 2 * kExpertInner, kHidden, seed + 10),
        expert_down = matrix(kExperts * kHidden, kExpertInner, seed + 11);
  Bytes k_cache = room_for(kMaxBlocks * 16 * kKvHeads * kBlockTokens * kHeadDim, kType),
        v_cache = room_for(kMaxBlocks * 16 * kKvHeads * kBlockTokens * kHeadDim, kType);
};

/// A model of few layers, each of attention, a dense MLP and experts, and its decode step.
class Model {
 public:
  explicit Model(const Case& of) : case_(of), num_pairs_(of.num_seqs * kTopK) {
    for (unsigned i = 0; i < kLayers; ++i) layers_.emplace_back(100 * i + 7);
    std::vector<std::int32_t> table(at(of.num_seqs * kMaxBlocks));
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), std::mt19937(3));
    copy(block_table_.data(), table);
  }

  /// Decodes kSteps tokens of each sequence from the beginning; `each` is called after each kernel,
  /// `step` runs the launches it is given. Gives the tokens and, at the end, all hidden states.
  std::pair<std::vector<std::int32_t>, std::vector<std::uint8_t>> decode(
      const std::function<void()>& each,
      const std::function<void(const std::function<void()>&)>& step) {
    reset();
    std::vector<std::int32_t> tokens;
    std::vector<std::uint8_t> states;
    for (int i = 0; i < kSteps; ++i) {
      std::vector<cuda::StepRow> rows;
      for (std::int64_t seq = 0; seq < case_.num_seqs; ++seq) {
        rows.push_back({.slot = static_cast<std::int32_t>(seq),
                        .first_position = static_cast<std::int32_t>(i + seq * 3),
                        .first_token = static_cast<std::int32_t>(seq),
                        .num_tokens = 1});
      }
      copy(rows_.data(), rows);
      step([&] { launch(each); });
      stream_.synchronize();
      const std::vector<std::int32_t> sampled = last_token_.values();
      tokens.insert(tokens.end(), sampled.begin(), sampled.end());
      const std::vector<std::uint8_t> state = hidden_.values();
      states.insert(states.end(), state.begin(), state.end());
    }
    return {tokens, states};
  }

  const tensor::Stream& stream() const { return stream_; }

 private:
  template <typename T>
  void copy(void* to, const std::vector<T>& from) const {
    stream_.copy_to_device(to, from.data(), from.size() * sizeof(T));
    stream_.synchronize();
  }

  void reset() {
    const auto clear = [&](const Bytes& memory) { stream_.fill(memory.data(), 0, memory.size()); };
    for (const Layer& layer : layers_) {
      clear(layer.k_cache);
      clear(layer.v_cache);
    }
    clear(attention_workspace_);
    clear(sampling_workspace_);
    std::vector<std::int32_t> first(at(case_.num_seqs));
    std::iota(first.begin(), first.end(), 11);
    copy(last_token_.data(), first);
    std::vector<SamplingRow> sampling(at(case_.num_seqs));
    for (std::size_t i = 0; i < sampling.size(); ++i) {
      // Draws of several kinds, so that the tokens wander.
      sampling[i] = {.position = static_cast<std::int64_t>(i),
                     .key = 77 + i,
                     .logits_row = static_cast<std::int32_t>(i),
                     .temperature = 1.0f,
                     .top_k = i % 2 == 0 ? 0 : 40,
                     .slot = static_cast<std::int32_t>(i)};
    }
    copy(sampling_rows_.data(), sampling);
  }

  void multiply(const Bytes& x, const Bytes& weight, void* y, std::int64_t n, std::int64_t k,
                DType y_dtype = kType) {
    const cuda::Gemm::Operands operands{.x = x.data(),
                                        .x_stride = k,
                                        .weight = weight.data(),
                                        .dtype = kType,
                                        .y = y,
                                        .y_stride = n,
                                        .y_dtype = y_dtype,
                                        .m = case_.num_seqs,
                                        .n = n,
                                        .k = k};
    if (case_.form == cuda::ProductForm::library) return library_.run(operands, stream_.get());
    cuda::small_product(operands, case_.form, stream_.get());
  }

  void attend(const Layer& layer, const std::function<void()>& each) {
    const KvCache cache{layer.k_cache.data(),
                        layer.v_cache.data(),
                        kType,
                        kMaxBlocks * 16,
                        kKvHeads,
                        kBlockTokens,
                        kHeadDim};
    multiply(x_, layer.qkv, qkv_.data(), kQkv, kHidden);
    each();
    cuda::norm_rope_append({.qkv = qkv_.data(),
                            .row_stride = kQkv,
                            .num_tokens = case_.num_seqs,
                            .num_heads = kHeads,
                            .q_norm = layer.q_norm.data(),
                            .k_norm = layer.k_norm.data(),
                            .eps = 1e-5f,
                            .positions = positions_.data(),
                            .cos_sin = cos_sin_.data(),
                            .rotary_dim = kHeadDim,
                            .slot_mapping = slot_mapping_.data(),
                            .cache = cache},
                           stream_.get());
    each();
    cuda::attention({.q = qkv_.data(),
                     .q_stride = kQkv,
                     .num_heads = kHeads,
                     .scale = 0.09f,
                     .cache = cache,
                     .batch = {case_.num_seqs, q_begin_.data(), first_position_.data(),
                               block_table_.data(), kMaxBlocks, table_row_.data(), case_.num_seqs},
                     .num_tokens = case_.num_seqs,
                     .out = attended_.data(),
                     .workspace = attention_workspace_.data()},
                    stream_.get());
    each();
    multiply(attended_, layer.o, y_.data(), kHidden, kHeads * kHeadDim);
    each();
  }

  void apply_experts(const Layer& layer, const std::function<void()>& each) {
    CUstream_st* stream = stream_.get();
    multiply(x_, layer.router, router_logits_.data(), kExperts, kHidden, DType::float32);
    each();
    cuda::route_softmax({.logits = router_logits_.data(),
                         .num_tokens = case_.num_seqs,
                         .num_experts = kExperts,
                         .top_k = kTopK,
                         .normalize = true,
                         .ids = expert_ids_.data(),
                         .weights = expert_weights_.data(),
                         .slots = expert_slots_.data()},
                        stream);
    each();
    cuda::sort_by_expert(expert_slots_.data(), num_pairs_, kExperts, expert_begin_.data(),
                         pair_at_.data(), place_of_pair_.data(), sort_workspace_.data(), stream);
    each();
    cuda::GroupedProduct product{.x = x_.data(),
                                 .x_stride = kHidden,
                                 .pair_at = pair_at_.data(),
                                 .top_k = kTopK,
                                 .weight = layer.expert_gate_up.data(),
                                 .expert_begin = expert_begin_.data(),
                                 .num_slots = kExperts,
                                 .num_places = num_pairs_,
                                 .y = expert_inner_.data(),
                                 .n = 2 * kExpertInner,
                                 .k = kHidden,
                                 .has_silu_and_mul = true};
    cuda::grouped_product(product, stream);
    each();
    product = {.x = expert_inner_.data(),
               .x_stride = kExpertInner,
               .weight = layer.expert_down.data(),
               .expert_begin = expert_begin_.data(),
               .num_slots = kExperts,
               .num_places = num_pairs_,
               .y = pairs_.data(),
               .n = kHidden,
               .k = kExpertInner,
               .follows_product = true};
    cuda::grouped_product(product, stream);
    each();
    cuda::combine(pairs_.data(), place_of_pair_.data(), expert_weights_.data(), case_.num_seqs,
                  kTopK, kHidden, y_.data(), kType, stream);
    each();
  }

  void launch(const std::function<void()>& each) {
    CUstream_st* stream = stream_.get();
    const std::int64_t rows = case_.num_seqs;
    const auto add_norm = [&](const OnDevice<float>& weight) {
      cuda::add_rms_norm(y_.data(), hidden_.data(), weight.data(), 1e-5f, x_.data(), rows, kHidden,
                         kType, stream);
      each();
    };
    cuda::StepArrays arrays{.rows = rows_.data(),
                            .last_token = last_token_.data(),
                            .num_seqs = rows,
                            .num_tokens = rows,
                            .tokens_per_block = kBlockTokens,
                            .token_ids = token_ids_.data(),
                            .positions = positions_.data(),
                            .q_begin = q_begin_.data(),
                            .first_position = first_position_.data(),
                            .table_row = table_row_.data(),
                            .groups = {},
                            .num_groups = 1};
    arrays.groups[0] = {block_table_.data(), kMaxBlocks, slot_mapping_.data()};
    cuda::expand_step(arrays, stream);
    each();
    cuda::embedding(token_ids_.data(), rows, embedding_.data(), 0, kVocab, kHidden, hidden_.data(),
                    kType, stream);
    each();
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      if (i == 0) {
        cuda::rms_norm(hidden_.data(), kHidden, layer.norm.data(), 1e-5f, x_.data(), kHidden, rows,
                       kHidden, kType, stream);
        each();
      } else {
        add_norm(layer.norm);
      }
      attend(layer, each);
      add_norm(layer.mlp_norm);
      multiply(x_, layer.gate_up, gate_up_.data(), 2 * kInner, kHidden);
      each();
      cuda::silu_and_mul(gate_up_.data(), inner_.data(), rows, kInner, kType, stream);
      each();
      multiply(inner_, layer.down, y_.data(), kHidden, kInner);
      each();
      add_norm(layer.moe_norm);
      apply_experts(layer, each);
    }
    cuda::add(y_.data(), hidden_.data(), rows * kHidden, kType, stream);
    each();
    multiply(hidden_, embedding_, logits_.data(), kVocab, kHidden, DType::float32);
    each();
    cuda::sample({.logits = logits_.data(),
                  .logits_stride = kVocab,
                  .vocab_size = kVocab,
                  .rows = sampling_rows_.data(),
                  .num_rows = rows,
                  .last_token = last_token_.data(),
                  .tokens = tokens_.data(),
                  .logprobs = logprobs_.data(),
                  .workspace = sampling_workspace_.data()},
                 stream);
    each();
  }

  template <typename T>
  OnDevice<T> room(std::int64_t size) const {
    return OnDevice<T>(at(size));
  }
  Bytes rows_of(std::int64_t size) const { return room_for(case_.num_seqs * size, kType); }

  Case case_;
  std::int64_t num_pairs_;
  tensor::Stream stream_;
  cuda::Gemm library_{cuda::Gemm::Kernels::library};
  std::vector<Layer> layers_;
  Bytes embedding_ = matrix(kVocab, kHidden, 5);
  OnDevice<float> cos_sin_{random_floats(kMaxBlocks * kBlockTokens * kHeadDim, 6, 0.7f)};
  OnDevice<cuda::StepRow> rows_ = room<cuda::StepRow>(case_.num_seqs);
  OnDevice<std::int32_t> last_token_ = room<std::int32_t>(case_.num_seqs),
                         token_ids_ = room<std::int32_t>(case_.num_seqs),
                         positions_ = room<std::int32_t>(case_.num_seqs),
                         q_begin_ = room<std::int32_t>(case_.num_seqs + 1),
                         first_position_ = room<std::int32_t>(case_.num_seqs),
                         table_row_ = room<std::int32_t>(case_.num_seqs),
                         block_table_ = room<std::int32_t>(case_.num_seqs * kMaxBlocks),
                         tokens_ = room<std::int32_t>(case_.num_seqs);
  OnDevice<std::int64_t> slot_mapping_ = room<std::int64_t>(case_.num_seqs);
  OnDevice<std::int32_t> expert_ids_ = room<std::int32_t>(num_pairs_),
                         expert_slots_ = room<std::int32_t>(num_pairs_),
                         pair_at_ = room<std::int32_t>(num_pairs_),
                         place_of_pair_ = room<std::int32_t>(num_pairs_),
                         expert_begin_ = room<std::int32_t>(kExperts + 1),
                         sort_workspace_ =
                             room<std::int32_t>(cuda::sort_workspace_size(num_pairs_, kExperts));
  OnDevice<float> expert_weights_ = room<float>(num_pairs_),
                  router_logits_ = room<float>(case_.num_seqs * kExperts),
                  logits_ = room<float>(case_.num_seqs * kVocab),
                  logprobs_ = room<float>(case_.num_seqs);
  Bytes hidden_ = rows_of(kHidden), x_ = rows_of(kHidden), y_ = rows_of(kHidden),
        qkv_ = rows_of(kQkv), attended_ = rows_of(kHeads * kHeadDim),
        gate_up_ = rows_of(2 * kInner), inner_ = rows_of(kInner),
        expert_inner_ = room_for(num_pairs_ * kExpertInner, kType),
        pairs_ = room_for(num_pairs_ * kHidden, kType);
  Bytes attention_workspace_{cuda::attention_workspace_bytes(kHeadDim)},
      sampling_workspace_{cuda::sampling_workspace_bytes(case_.num_seqs, kVocab)};
  OnDevice<SamplingRow> sampling_rows_ = room<SamplingRow>(case_.num_seqs);
};

TEST(CudaChain, GivesTheBitsOfKernelsThatRunOneByOne) {
  TRIREME_REQUIRES_GPU();
  const Case cases[] = {
      {"dot", 1, cuda::ProductForm::dot},
      {"8 rows", 1, cuda::ProductForm::rows_8},
      {"16 rows", 6, cuda::ProductForm::rows_16},
      {"32 rows", 16, cuda::ProductForm::rows_32},
      {"the library", 5, cuda::ProductForm::library},
  };
  for (const Case& c : cases) {
    Model model(c);
    const auto one_by_one = model.decode([&] { model.stream().synchronize(); },
                                         [](const std::function<void()>& launch) { launch(); });
    tensor::Graph graph;
    const auto in_graph = model.decode([] {},
                                       [&](const std::function<void()>& launch) {
                                         if (!graph) graph = tensor::Graph(model.stream(), launch);
                                         graph.launch(model.stream());
                                       });
    const auto eagerly = model.decode([] {}, [](const std::function<void()>& launch) { launch(); });

    EXPECT_EQ(in_graph.first, one_by_one.first) << c.name << ", in a graph";
    EXPECT_TRUE(in_graph.second == one_by_one.second) << c.name << ", in a graph";
    EXPECT_TRUE(eagerly == one_by_one) << c.name << ", launched one after the other";
    // The inputs did change: tokens are drawn.
    EXPECT_NE(std::set(in_graph.first.begin(), in_graph.first.end()).size(), 1u) << c.name;
  }
}

}  // namespace
}  // namespace trireme::kernels
