#include "checkpoint/model_config.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "checkpoint/config_reader.h"
#include "checkpoint/files.h"
#include "checkpoint/json_file.h"
#include "checkpoint/rope_config.h"

namespace trireme::checkpoint {
namespace {

// Far above every published model, low enough that products of two stay far from overflow.
constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 22;
constexpr std::int64_t kMaxHeads = 1 << 16;
constexpr std::int64_t kMaxHeadDim = 4096;
constexpr std::int64_t kMaxExperts = 1 << 14;
constexpr std::int64_t kMaxPositions = std::int64_t{1} << 30;

std::string read_architecture(const ConfigReader& config) {
  const Json* names = config.find_array("architectures");
  if (names == nullptr || names->empty()) {
    fail(ErrorKind::checkpoint,
         cat(config.where(), ": architectures is missing, expected a list with the model's class"));
  }
  if (!names->front().is_string()) config.refuse("architectures", *names, "a list of strings");
  return names->front().get<std::string>();
}

void check_architecture(const std::string& architecture, const std::string& path,
                        std::span<const std::string_view> known) {
  if (known.empty() || std::ranges::find(known, architecture) != known.end()) return;
  std::string names;
  for (const std::string_view name : known) names += cat(names.empty() ? "" : ", ", name);
  fail(ErrorKind::checkpoint,
       cat(path, ": architectures is \"", architecture, "\", expected one of ", names));
}

void refuse_what_is_not_supported(const ConfigReader& config, const Json& document) {
  if (const Json* quantization = config.find_object("quantization_config")) {
    const ConfigReader details(*quantization, config.where());
    fail(ErrorKind::checkpoint,
         cat(config.where(), ": quantization_config: quant_method is \"",
             details.find_string({"quant_method"}).value_or("not named"),
             "\", expected an unquantised model (float32, bfloat16, float16)"));
  }
  const std::string activation = config.find_string({"hidden_act"}).value_or("silu");
  if (activation != "silu") config.refuse("hidden_act", document["hidden_act"], "silu");
}

DType read_dtype(const ConfigReader& config) {
  const std::optional<std::string> name = config.find_string({"dtype", "torch_dtype"});
  if (!name) return DType::bfloat16;
  const std::optional<DType> dtype = float_dtype_from_name(*name);
  if (!dtype) {
    fail(ErrorKind::checkpoint, cat(config.where(), ": dtype (torch_dtype) is \"", *name,
                                    "\", expected float32, bfloat16 or float16"));
  }
  return *dtype;
}

void read_sizes(const ConfigReader& config, ModelConfig& model) {
  model.num_layers = config.integer({"num_hidden_layers"}, 1, kMaxLayers);
  model.hidden_size = config.integer({"hidden_size"}, 1, kMaxExtent);
  model.vocab_size = config.integer({"vocab_size"}, 1, kMaxExtent);
  model.intermediate_size = config.integer({"intermediate_size"}, 1, kMaxExtent);
  model.rms_norm_eps = config.find_number({"rms_norm_eps"}, 1e-30, 1).value_or(model.rms_norm_eps);
  model.tie_word_embeddings = config.find_boolean({"tie_word_embeddings"}).value_or(false);
  model.attention_bias = config.find_boolean({"attention_bias"}).value_or(false);
}

void read_heads(const ConfigReader& config, ModelConfig& model) {
  model.num_heads = config.integer({"num_attention_heads"}, 1, kMaxHeads);
  model.num_kv_heads =
      config.find_integer({"num_key_value_heads"}, 1, kMaxHeads).value_or(model.num_heads);
  if (model.num_heads % model.num_kv_heads != 0) {
    fail(ErrorKind::checkpoint,
         cat(config.where(), ": num_attention_heads is ", model.num_heads,
             ", expected a multiple of num_key_value_heads ", model.num_kv_heads));
  }
  const std::optional<std::int64_t> head_dim = config.find_integer({"head_dim"}, 2, kMaxHeadDim);
  if (!head_dim && model.hidden_size % model.num_heads != 0) {
    fail(ErrorKind::checkpoint, cat(config.where(), ": hidden_size is ", model.hidden_size,
                                    ", expected a multiple of num_attention_heads ",
                                    model.num_heads, ", or head_dim given"));
  }
  model.head_dim = head_dim.value_or(model.hidden_size / model.num_heads);
  if (model.head_dim < 2 || model.head_dim > kMaxHeadDim || model.head_dim % 2 != 0) {
    fail(ErrorKind::checkpoint, cat(config.where(), ": head_dim is ", model.head_dim,
                                    ", expected an even number from 2 to ", kMaxHeadDim));
  }
}

/// With layer_types: as it says. Else from `max_window_layers` on, unless use_sliding_window is
/// false.
void read_windows(const ConfigReader& config, ModelConfig& model) {
  const std::int64_t window = config.find_integer({"sliding_window"}, 1, kMaxPositions).value_or(0);
  const bool used = config.find_boolean({"use_sliding_window"}).value_or(true);
  model.sliding_window = used ? window : 0;
  model.layer_window.assign(static_cast<std::size_t>(model.num_layers), 0);

  const Json* types = config.find_array("layer_types");
  if (types == nullptr) {
    const bool some = config.has("use_sliding_window");
    const std::int64_t first =
        config.find_integer({"max_window_layers"}, 0, kMaxPositions).value_or(0);
    for (std::int64_t layer = some ? first : 0; layer < model.num_layers; ++layer) {
      model.layer_window[static_cast<std::size_t>(layer)] = model.sliding_window;
    }
    return;
  }
  if (static_cast<std::int64_t>(types->size()) != model.num_layers) {
    fail(ErrorKind::checkpoint, cat(config.where(), ": layer_types has ", types->size(),
                                    " entries, expected num_hidden_layers ", model.num_layers));
  }
  for (std::size_t layer = 0; layer < types->size(); ++layer) {
    const Json& type = (*types)[layer];
    if (type == "full_attention") continue;
    if (type != "sliding_attention") {
      config.refuse(cat("layer_types[", layer, "]"), type, "full_attention or sliding_attention");
    }
    if (model.sliding_window == 0) {
      config.refuse(cat("layer_types[", layer, "]"), type,
                    "full_attention, since sliding_window is not given or not used");
    }
    model.layer_window[layer] = model.sliding_window;
  }
}

void read_experts(const ConfigReader& config, ModelConfig& model) {
  model.layer_is_moe.assign(static_cast<std::size_t>(model.num_layers), false);
  model.num_experts =
      config.find_integer({"num_experts", "num_local_experts", "n_routed_experts"}, 0, kMaxExperts)
          .value_or(0);
  if (model.num_experts == 0) return;
  model.experts_per_token = config.integer({"num_experts_per_tok"}, 1, model.num_experts);
  model.moe_intermediate_size = config.find_integer({"moe_intermediate_size"}, 1, kMaxExtent)
                                    .value_or(model.intermediate_size);
  model.num_shared_experts =
      config.find_integer({"n_shared_experts", "num_shared_experts"}, 0, kMaxExperts).value_or(0);
  model.norm_topk_prob = config.find_boolean({"norm_topk_prob"}).value_or(false);

  const std::int64_t step = config.find_integer({"decoder_sparse_step"}, 1, kMaxLayers).value_or(1);
  for (std::int64_t layer = 0; layer < model.num_layers; ++layer) {
    model.layer_is_moe[static_cast<std::size_t>(layer)] = (layer + 1) % step == 0;
  }
  const Json* dense = config.find_array("mlp_only_layers");
  if (dense == nullptr) return;
  for (const Json& value : *dense) {
    const std::optional<std::int64_t> layer = as_integer(value);
    if (!layer || *layer < 0 || *layer >= model.num_layers) {
      config.refuse("mlp_only_layers", *dense, cat("layers from 0 to ", model.num_layers - 1));
    }
    model.layer_is_moe[static_cast<std::size_t>(*layer)] = false;
  }
}

void add_eos_ids(const Json& document, const std::string& where, ModelConfig& model) {
  const auto found = document.find("eos_token_id");
  if (found == document.end() || found->is_null()) return;
  const ConfigReader config(document, where);
  for (const Json& value : found->is_array() ? *found : Json::array({*found})) {
    const std::optional<std::int64_t> id = as_integer(value);
    if (!id || *id < 0 || *id >= model.vocab_size) {
      config.refuse("eos_token_id", *found,
                    cat("ids from 0 to vocab_size - 1 = ", model.vocab_size - 1));
    }
    const auto token = static_cast<std::int32_t>(*id);
    if (std::ranges::find(model.eos_token_ids, token) == model.eos_token_ids.end()) {
      model.eos_token_ids.push_back(token);
    }
  }
}

}  // namespace

ModelConfig load_model_config(const std::string& model_dir,
                              std::span<const std::string_view> known_architectures) {
  const std::string path = model_dir + "/config.json";
  ModelConfig model;
  model.model_dir = model_dir;
  model.raw = read_json_object(path);
  const ConfigReader whole(model.raw, path);
  model.architecture = read_architecture(whole);
  check_architecture(model.architecture, path, known_architectures);
  // Models of several media keep their language model's configuration one level deeper.
  const Json* text = whole.has("hidden_size") ? nullptr : whole.find_object("text_config");
  const Json& document = text == nullptr ? model.raw : *text;
  const ConfigReader config(document, text == nullptr ? path : path + ": text_config");

  refuse_what_is_not_supported(config, document);
  read_sizes(config, model);
  read_heads(config, model);
  model.dtype = read_dtype(config);
  const RopeAndPositions rope =
      read_rope(config, config.integer({"max_position_embeddings"}, 2, kMaxPositions));
  model.rope = rope.rope;
  model.max_positions = rope.max_positions;
  read_windows(config, model);
  read_experts(config, model);
  add_eos_ids(document, config.where(), model);

  const std::string generation_path = model_dir + "/generation_config.json";
  if (file_exists(generation_path)) {
    model.generation = read_json_object(generation_path);
    add_eos_ids(model.generation, generation_path, model);
  }
  return model;
}

}  // namespace trireme::checkpoint
