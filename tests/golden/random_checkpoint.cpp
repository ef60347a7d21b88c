#include "random_checkpoint.h"

#include <cmath>
#include <fstream>
#include <random>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"
#include "tests/support/safetensors_file.h"

namespace trireme::test {
namespace {

template <typename T>
void append(std::string& bytes, float value) {
  const T element(value);
  bytes.append(reinterpret_cast<const char*>(&element), sizeof(element));
}

class Writer {
 public:
  explicit Writer(const std::function<std::string(const std::string&)>& dtype_of)
      : dtype_of_(dtype_of) {}

  void matrix(const std::string& name, std::int64_t rows, std::int64_t columns) {
    // So spread that products with a normalised vector stay near 1.
    add(name, {rows, columns}, 0, 80.0 / std::sqrt(static_cast<double>(columns)));
  }
  void norm(const std::string& name, std::int64_t size) { add(name, {size}, 40, 12); }

  std::vector<TestTensor> tensors;

 private:
  void add(const std::string& name, std::vector<std::int64_t> shape, double mean, double spread) {
    std::normal_distribution<double> normal(mean, spread);
    const std::string dtype = dtype_of_(name);
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) count *= extent;
    std::string bytes;
    for (std::int64_t i = 0; i < count; ++i) {
      const double clipped = std::min(63.0, std::max(-63.0, std::round(normal(random_))));
      const auto value = static_cast<float>(clipped / 64);
      if (dtype == "F32") append<float>(bytes, value);
      if (dtype == "BF16") append<bfloat16>(bytes, value);
      if (dtype == "F16") append<float16>(bytes, value);
    }
    tensors.push_back({name, dtype, std::move(shape), std::move(bytes)});
  }

  const std::function<std::string(const std::string&)>& dtype_of_;
  std::mt19937 random_{7};
};

void add_layer(Writer& writer, const Json& config, std::int64_t layer) {
  const std::string prefix = cat("model.layers.", layer, ".");
  const std::int64_t hidden = config["hidden_size"];
  const std::int64_t heads = config["num_attention_heads"],
                     kv_heads = config["num_key_value_heads"];
  const std::int64_t dim = config["head_dim"];
  const bool is_olmoe = config["architectures"][0] == "OlmoeForCausalLM";
  writer.norm(prefix + "input_layernorm.weight", hidden);
  writer.norm(prefix + "post_attention_layernorm.weight", hidden);
  writer.matrix(prefix + "self_attn.q_proj.weight", heads * dim, hidden);
  writer.matrix(prefix + "self_attn.k_proj.weight", kv_heads * dim, hidden);
  writer.matrix(prefix + "self_attn.v_proj.weight", kv_heads * dim, hidden);
  writer.matrix(prefix + "self_attn.o_proj.weight", hidden, heads * dim);
  writer.norm(prefix + "self_attn.q_norm.weight", is_olmoe ? heads * dim : dim);
  writer.norm(prefix + "self_attn.k_norm.weight", is_olmoe ? kv_heads * dim : dim);

  const auto mlp = [&](const std::string& name, std::int64_t size) {
    writer.matrix(name + "gate_proj.weight", size, hidden);
    writer.matrix(name + "up_proj.weight", size, hidden);
    writer.matrix(name + "down_proj.weight", hidden, size);
  };
  const Json dense = config.value("mlp_only_layers", Json::array());
  if (std::find(dense.begin(), dense.end(), layer) != dense.end()) {
    mlp(prefix + "mlp.", config["intermediate_size"]);
    return;
  }
  const std::int64_t experts = config["num_experts"];
  writer.matrix(prefix + "mlp.gate.weight", experts, hidden);
  for (std::int64_t expert = 0; expert < experts; ++expert) {
    mlp(cat(prefix, "mlp.experts.", expert, "."), config["moe_intermediate_size"]);
  }
}

}  // namespace

void write_random_checkpoint(const std::string& directory, const Json& config,
                             const std::function<std::string(const std::string&)>& dtype_of) {
  Writer writer(dtype_of);
  const std::int64_t vocab = config["vocab_size"], hidden = config["hidden_size"];
  writer.matrix("model.embed_tokens.weight", vocab, hidden);
  for (std::int64_t layer = 0; layer < config["num_hidden_layers"]; ++layer) {
    add_layer(writer, config, layer);
  }
  writer.norm("model.norm.weight", hidden);
  if (!config.value("tie_word_embeddings", false)) writer.matrix("lm_head.weight", vocab, hidden);
  std::ofstream(directory + "/config.json") << config.dump();
  std::ofstream(directory + "/model.safetensors", std::ios::binary)
      << safetensors_file(writer.tensors);
}

}  // namespace trireme::test
