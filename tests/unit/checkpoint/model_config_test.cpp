#include "checkpoint/model_config.h"

#include <gtest/gtest.h>

#include "tests/support/refusal.h"
#include "tests/support/temporary_directory.h"

namespace trireme::checkpoint {
namespace {

/// A sound config.json with some keys replaced; null removes nothing, it stays null.
Json config_with(const std::string& changes) {
  Json config = parse_json(R"({
    "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "vocab_size": 512, "max_position_embeddings": 256, "rms_norm_eps": 1e-5})",
                           "base");
  const Json replaced = parse_json(changes, "changes");
  for (const auto& [key, value] : replaced.items()) config[key] = value;
  return config;
}

ModelConfig load(const std::string& changes, const std::string& generation = "") {
  const test::TemporaryDirectory directory;
  directory.write("config.json", config_with(changes).dump());
  if (!generation.empty()) directory.write("generation_config.json", generation);
  return load_model_config(directory.path());
}

using Windows = std::vector<std::int64_t>;
using Moe = std::vector<bool>;

TEST(ModelConfig, ReadsSizesAndDefaults) {
  const ModelConfig model = load("{}");

  EXPECT_EQ(model.architecture, "LlamaForCausalLM");
  EXPECT_EQ(model.hidden_size, 64);
  EXPECT_EQ(model.head_dim, 8);
  EXPECT_EQ(model.num_kv_heads, 2);
  EXPECT_EQ(model.max_positions, 256);
  EXPECT_EQ(model.dtype, DType::bfloat16);
  EXPECT_FALSE(model.tie_word_embeddings);
  EXPECT_EQ(model.rope.type, "default");
  EXPECT_EQ(model.rope.theta, 10000);
  EXPECT_EQ(model.layer_window, Windows({0, 0, 0, 0}));
  EXPECT_EQ(model.layer_is_moe, Moe({false, false, false, false}));
  EXPECT_TRUE(model.eos_token_ids.empty());
  EXPECT_TRUE(model.generation.is_null());
}

TEST(ModelConfig, TakesNullForAbsent) {
  const ModelConfig model =
      load(R"({"num_key_value_heads": null, "head_dim": null, "rope_scaling": null,
    "sliding_window": null, "eos_token_id": null, "quantization_config": null, "num_experts": null,
    "layer_types": null, "torch_dtype": null})");

  EXPECT_EQ(model.num_kv_heads, 8);
  EXPECT_EQ(model.head_dim, 8);
  EXPECT_EQ(model.num_experts, 0);
}

TEST(ModelConfig, KnowsBothSpellingsOfDtype) {
  EXPECT_EQ(load(R"({"torch_dtype": "float16"})").dtype, DType::float16);
  EXPECT_EQ(load(R"({"dtype": "float32"})").dtype, DType::float32);
}

TEST(ModelConfig, KnowsBothSpellingsOfRope) {
  for (const char* spelling :
       {R"({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}})",
        R"({"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 2.0}})",
        R"({"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2}})"}) {
    const ModelConfig model = load(spelling);
    EXPECT_EQ(model.rope.type, "linear") << spelling;
    EXPECT_EQ(model.rope.theta, 5e5) << spelling;
    EXPECT_EQ(model.rope.factor, 2) << spelling;
    EXPECT_EQ(model.max_positions, 256) << spelling;
  }
}

TEST(ModelConfig, CountsPositionsAfterScaling) {
  EXPECT_EQ(load(R"({"rope_scaling": {"type": "yarn", "factor": 4,
    "original_max_position_embeddings": 256}})")
                .max_positions,
            1024);
  EXPECT_EQ(load(R"({"rope_scaling": {"rope_type": "llama3", "factor": 2, "low_freq_factor": 1,
    "high_freq_factor": 4, "original_max_position_embeddings": 64}})")
                .max_positions,
            256);
}

TEST(ModelConfig, ReadsYarn) {
  const RopeConfig rope = load(R"({"rope_scaling": {"type": "yarn", "factor": 4, "beta_fast": 16,
    "beta_slow": 2, "mscale": 0.7, "mscale_all_dim": 1.1, "attention_factor": 1.2, "truncate": false,
    "original_max_position_embeddings": 128}})")
                              .rope;

  EXPECT_EQ(rope.beta_fast, 16);
  EXPECT_EQ(rope.beta_slow, 2);
  EXPECT_EQ(rope.mscale, 0.7);
  EXPECT_EQ(rope.mscale_all_dim, 1.1);
  EXPECT_EQ(rope.attention_factor, 1.2);
  EXPECT_FALSE(rope.truncate);
  EXPECT_EQ(rope.original_max_positions, 128);
}

TEST(ModelConfig, GivesEachLayerItsWindow) {
  EXPECT_EQ(load(R"({"sliding_window": 48})").layer_window, Windows({48, 48, 48, 48}));
  EXPECT_EQ(load(R"({"sliding_window": 48, "use_sliding_window": false})").layer_window,
            Windows({0, 0, 0, 0}));
  EXPECT_EQ(load(R"({"sliding_window": 48, "use_sliding_window": true, "max_window_layers": 3})")
                .layer_window,
            Windows({0, 0, 0, 48}));
  EXPECT_EQ(load(R"({"sliding_window": 48, "layer_types": ["sliding_attention", "full_attention",
    "sliding_attention", "full_attention"]})")
                .layer_window,
            Windows({48, 0, 48, 0}));
}

TEST(ModelConfig, KnowsEverySpellingOfExperts) {
  for (const char* key : {"num_experts", "num_local_experts", "n_routed_experts"}) {
    const ModelConfig model = load(cat("{\"", key, R"(": 16, "num_experts_per_tok": 2})"));
    EXPECT_EQ(model.num_experts, 16) << key;
    EXPECT_EQ(model.experts_per_token, 2) << key;
    EXPECT_EQ(model.moe_intermediate_size, 96) << key;
    EXPECT_EQ(model.layer_is_moe, Moe({true, true, true, true})) << key;
  }
}

TEST(ModelConfig, LeavesDenseLayersBetweenExperts) {
  const ModelConfig model =
      load(R"({"num_experts": 16, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "decoder_sparse_step": 2, "mlp_only_layers": [3], "norm_topk_prob": true})");

  EXPECT_EQ(model.layer_is_moe, Moe({false, true, false, false}));
  EXPECT_EQ(model.moe_intermediate_size, 32);
  EXPECT_TRUE(model.norm_topk_prob);
}

TEST(ModelConfig, JoinsEndIdsOfBothFiles) {
  const ModelConfig model =
      load(R"({"eos_token_id": 2})", R"({"eos_token_id": [7, 2], "temperature": 0.6})");

  EXPECT_EQ(model.eos_token_ids, std::vector<std::int32_t>({2, 7}));
  EXPECT_EQ(model.generation["temperature"], 0.6);
}

TEST(ModelConfig, ReadsTheTextPartOfAModelOfSeveralMedia) {
  Json config;
  config["architectures"] = {"SomeForConditionalGeneration"};
  config["text_config"] = config_with("{}");
  const test::TemporaryDirectory directory;
  directory.write("config.json", config.dump());

  const ModelConfig model = load_model_config(directory.path());

  EXPECT_EQ(model.architecture, "SomeForConditionalGeneration");
  EXPECT_EQ(model.hidden_size, 64);
}

TEST(ModelConfig, RefusesAnUnknownArchitectureBeforeItsKeys) {
  const test::TemporaryDirectory directory;
  directory.write("config.json", R"({"architectures": ["GPT2LMHeadModel"], "n_embd": 768})");
  const std::string_view known[] = {"LlamaForCausalLM", "MistralForCausalLM"};

  TRIREME_EXPECT_CONTAINS(
      test::refusal(ErrorKind::checkpoint, [&] { load_model_config(directory.path(), known); }),
      "architectures is \"GPT2LMHeadModel\", expected one of LlamaForCausalLM, MistralForCausalLM");
}

TEST(ModelConfig, NamesAFileThatIsMissing) {
  const test::TemporaryDirectory directory;

  TRIREME_EXPECT_CONTAINS(
      test::refusal(ErrorKind::missing, [&] { load_model_config(directory.path()); }),
      directory.path() + "/config.json: cannot be read");
}

TEST(ModelConfig, RefusesFilesThatAreNoJsonObjects) {
  for (const char* text : {"", "[]", "{", "{\"a\":1,\"a\":2}", "\"\xff\"", "3", "null"}) {
    const test::TemporaryDirectory directory;
    directory.write("config.json", text);
    TRIREME_EXPECT_CONTAINS(
        test::refusal(ErrorKind::checkpoint, [&] { load_model_config(directory.path()); }),
        "config.json");
  }
}

TEST(ModelConfig, RefusesEachBrokenValueByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"architectures": null})", "architectures is missing"},
      {R"({"architectures": []})", "architectures is missing"},
      {R"({"architectures": "LlamaForCausalLM"})",
       "architectures is \"LlamaForCausalLM\", expected a list"},
      {R"({"architectures": [1]})", "architectures is [1]"},
      {R"({"hidden_size": null})", "hidden_size is missing, expected a whole number from 1"},
      {R"({"hidden_size": 0})", "hidden_size is 0, expected a whole number from 1"},
      {R"({"hidden_size": -64})", "hidden_size is -64"},
      {R"({"hidden_size": 64.5})", "hidden_size is 64.5"},
      {R"({"hidden_size": "64"})", "hidden_size is \"64\""},
      {R"({"hidden_size": 1e300})", "hidden_size is 1e+300"},
      {R"({"hidden_size": 18446744073709551615})", "hidden_size is 18446744073709551615"},
      {R"({"hidden_size": 4194305})", "hidden_size is 4194305"},
      {R"({"num_hidden_layers": 5000})", "num_hidden_layers is 5000"},
      {R"({"vocab_size": 0})", "vocab_size is 0"},
      {R"({"num_attention_heads": 0})", "num_attention_heads is 0"},
      {R"({"num_key_value_heads": 3})", "expected a multiple of num_key_value_heads 3"},
      {R"({"num_key_value_heads": 16})", "expected a multiple of num_key_value_heads 16"},
      {R"({"hidden_size": 65})", "expected a multiple of num_attention_heads 8, or head_dim given"},
      {R"({"head_dim": 7})", "head_dim is 7, expected an even number"},
      {R"({"head_dim": 0})", "head_dim is 0"},
      {R"({"rms_norm_eps": 0})", "rms_norm_eps is 0"},
      {R"({"rms_norm_eps": "1e-5"})", "rms_norm_eps is \"1e-5\""},
      {R"({"tie_word_embeddings": 1})", "tie_word_embeddings is 1, expected true or false"},
      {R"({"hidden_act": "gelu"})", "hidden_act is \"gelu\", expected silu"},
      {R"({"quantization_config": {"quant_method": "awq"}})", "quant_method is \"awq\""},
      {R"({"quantization_config": {}})", "quant_method is \"not named\""},
      {R"({"torch_dtype": "int8"})", "dtype (torch_dtype) is \"int8\""},
      {R"({"max_position_embeddings": 1})", "max_position_embeddings is 1"},
      {R"({"max_position_embeddings": 1e12})", "max_position_embeddings is"},
      {R"({"rope_theta": 0})", "rope_theta is 0"},
      {R"({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}})",
       "rope_parameters: full_attention is {\"rope_theta\":10000.0}, expected one set"},
      {R"({"rope_scaling": {"type": "dynamic", "factor": 2}})", "rope type is \"dynamic\""},
      {R"({"rope_scaling": {"rope_type": "longrope"}})", "rope type is \"longrope\""},
      {R"({"rope_scaling": {"type": "linear"}})", "rope_scaling: factor is missing"},
      {R"({"rope_scaling": {"type": "linear", "factor": 0.5}})", "factor is 0.5"},
      {R"({"rope_scaling": {"type": "linear", "factor": -1}})", "factor is -1"},
      {R"({"rope_scaling": []})", "rope_scaling is [], expected an object"},
      {R"({"rope_scaling": {"rope_type": "llama3", "factor": 2}})",
       "original_max_position_embeddings is missing"},
      {R"({"rope_scaling": {"rope_type": "llama3", "factor": 2, "low_freq_factor": 4,
          "high_freq_factor": 4, "original_max_position_embeddings": 64}})",
       "high_freq_factor is 4, expected more than low_freq_factor"},
      {R"({"sliding_window": -1})", "sliding_window is -1"},
      {R"({"layer_types": ["full_attention"]})",
       "layer_types has 1 entries, expected num_hidden_layers 4"},
      {R"({"layer_types": ["full_attention", "x", "full_attention", "full_attention"]})",
       "layer_types[1] is \"x\""},
      {R"({"layer_types": ["sliding_attention", "full_attention", "full_attention", "full_attention"]})",
       "sliding_window is not given"},
      {R"({"num_experts": 16})", "num_experts_per_tok is missing"},
      {R"({"num_experts": 16, "num_experts_per_tok": 17})", "num_experts_per_tok is 17"},
      {R"({"num_experts": 16, "num_local_experts": 8, "num_experts_per_tok": 2})",
       "num_local_experts is 8, expected 16"},
      {R"({"num_experts": 100000, "num_experts_per_tok": 2})", "num_experts is 100000"},
      {R"({"num_experts": 16, "num_experts_per_tok": 2, "mlp_only_layers": [4]})",
       "mlp_only_layers is [4]"},
      {R"({"num_experts": 16, "num_experts_per_tok": 2, "decoder_sparse_step": 0})",
       "decoder_sparse_step is 0"},
      {R"({"eos_token_id": 512})",
       "eos_token_id is 512, expected ids from 0 to vocab_size - 1 = 511"},
      {R"({"eos_token_id": [1, -2]})", "eos_token_id is [1,-2]"},
      {R"({"eos_token_id": "2"})", "eos_token_id is \"2\""},
  };

  for (const auto& [changes, message] : cases) {
    TRIREME_EXPECT_CONTAINS(test::refusal(ErrorKind::checkpoint, [&] { load(changes); }), message);
  }
}

}  // namespace
}  // namespace trireme::checkpoint
