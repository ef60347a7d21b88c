#include "apps/bench_operators.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "apps/commands.h"
#include "base/error.h"
#include "models/families.h"
#include "tensor/device.h"

namespace trireme::apps {
namespace {

/// Of 3 layers: 8 query and 2 key-value heads of 64, all layers with an MLP.
models::DecoderDesign dense_design() {
  models::DecoderDesign design;
  design.config.num_layers = 3;
  design.config.hidden_size = 256;
  design.config.vocab_size = 1000;
  design.config.num_heads = 8;
  design.config.num_kv_heads = 2;
  design.config.head_dim = 64;
  design.config.intermediate_size = 512;
  design.config.layer_window = {0, 0, 0};
  design.config.layer_is_moe = {false, false, false};
  return design;
}

/// The same with 8 experts of which each token takes 2, in the last two layers.
models::DecoderDesign moe_design() {
  models::DecoderDesign design = dense_design();
  design.config.num_experts = 8;
  design.config.experts_per_token = 2;
  design.config.moe_intermediate_size = 128;
  design.config.layer_is_moe = {false, true, true};
  return design;
}

const BenchOperator& named(const std::vector<BenchOperator>& operators, const std::string& name) {
  const auto found = std::ranges::find(operators, name, &BenchOperator::name);
  if (found == operators.end()) fail(ErrorKind::internal, cat("no operator is named ", name));
  return *found;
}

std::vector<std::string> names_of(const std::vector<BenchOperator>& operators) {
  std::vector<std::string> names;
  for (const BenchOperator& one : operators) names.push_back(one.name);
  return names;
}

ErrorKind kind_of_error(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::internal;
}

TEST(BenchOperators, StandInTheOrderOfTheModel) {
  const auto operators = step_operators(moe_design(), DType::bfloat16, 4, 640);

  EXPECT_EQ(names_of(operators), (std::vector<std::string>{"embedding",
                                                           "rms_norm",
                                                           "qkv",
                                                           "norm_rope_append",
                                                           "attention of decodes",
                                                           "attention of a prompt",
                                                           "o",
                                                           "add_rms_norm",
                                                           "gate_up",
                                                           "down",
                                                           "router",
                                                           "route",
                                                           "sort_by_expert",
                                                           "experts' gate_up",
                                                           "experts' down",
                                                           "combine",
                                                           "add",
                                                           "rows of logits",
                                                           "last rms_norm",
                                                           "head",
                                                           "sample"}));
}

TEST(BenchOperators, AreCountedForAllLayers) {
  const auto operators = step_operators(moe_design(), DType::bfloat16, 4, 640);

  EXPECT_EQ(named(operators, "qkv").per_step, 3);
  EXPECT_EQ(named(operators, "add_rms_norm").per_step, 5);
  EXPECT_EQ(named(operators, "down").per_step, 1);
  EXPECT_EQ(named(operators, "experts' down").per_step, 2);
  EXPECT_EQ(named(operators, "head").per_step, 1);
}

TEST(BenchOperators, CountTheBytesAndOperationsOfProducts) {
  const auto operators = step_operators(dense_design(), DType::bfloat16, 4, 640);

  const BenchOperator& qkv = named(operators, "qkv");  // [4, 256] by [768, 256]
  EXPECT_EQ(qkv.bytes, 2 * (768 * 256 + 4 * 256 + 4 * 768));
  EXPECT_EQ(qkv.operations, 2 * 4 * 768 * 256);
  // The gates and ups are not written where silu_and_mul is inside.
  const BenchOperator& gate_up = named(operators, "gate_up");
  EXPECT_EQ(gate_up.bytes, 2 * (gate_up.n * 256 + 4 * 256 + 4 * gate_up.n / 2));
  const BenchOperator& head = named(operators, "head");  // logits are float32
  EXPECT_EQ(head.bytes, 2 * (1000 * 256 + 4 * 256) + 4 * 4 * 1000);
}

TEST(BenchOperators, CountBiasesWhereThereAreSome) {
  models::DecoderDesign design = dense_design();
  design.qkv_bias = true;

  const auto operators = step_operators(design, DType::float32, 4, 640);

  EXPECT_TRUE(named(operators, "qkv").has_bias);
  EXPECT_EQ(named(operators, "qkv").bytes, 4 * (768 * 256 + 4 * 256 + 4 * 768 + 768));
  EXPECT_FALSE(named(operators, "o").has_bias);
}

TEST(BenchOperators, CountKeysThatAreSeenOnce) {
  const auto operators = step_operators(dense_design(), DType::bfloat16, 3, 640);

  const BenchOperator& decodes = named(operators, "attention of decodes");
  EXPECT_EQ(decodes.bytes, 3 * 640 * 2 * 128 * 2 + 2 * 3 * 512 * 2);
  EXPECT_EQ(decodes.operations, 4 * 3 * 640 * 512);
  EXPECT_EQ(decodes.cache_blocks, 3 * 10);
  const BenchOperator& prompt = named(operators, "attention of a prompt");
  EXPECT_EQ(prompt.bytes, 3 * 2 * 128 * 2 + 2 * 3 * 512 * 2);
  EXPECT_EQ(prompt.operations, 4 * (1 + 2 + 3) * 512);
}

TEST(BenchOperators, HaveAttentionForEachWindow) {
  models::DecoderDesign design = dense_design();
  design.config.layer_window = {2, 0, 2};

  const auto operators = selected(step_operators(design, DType::bfloat16, 4, 640), "attention of");

  ASSERT_EQ(operators.size(), 4U);
  EXPECT_EQ(operators[0].per_step, 1);  // full
  EXPECT_EQ(operators[2].per_step, 2);
  EXPECT_EQ(operators[2].operations, 4 * 4 * 2 * 512);
  EXPECT_EQ(operators[3].operations, 4 * (1 + 2 + 2 + 2) * 512);
}

TEST(BenchOperators, ReadTheWeightsOfChosenExpertsAlone) {
  const auto operators = step_operators(moe_design(), DType::bfloat16, 1, 640);

  const BenchOperator& gate_up = named(operators, "experts' gate_up");
  const BenchOperator& down = named(operators, "experts' down");
  EXPECT_EQ(gate_up.bytes, 2 * (2 * 256 * 256 + 256 + 2 * 128));
  EXPECT_EQ(gate_up.operations, 2 * 2 * 256 * 256);
  EXPECT_EQ(down.bytes, 2 * (2 * 256 * 128 + 2 * 128 + 2 * 256));
  EXPECT_GE(gate_up.in_bytes, 2 * 8 * 256 * 256);  // but all are there
}

TEST(BenchOperators, NameAtLeastTheMemoryThatTheyMove) {
  for (const std::int64_t tokens : {1, 8, 1000, 8192}) {
    for (const BenchOperator& one : step_operators(moe_design(), DType::bfloat16, tokens, 640)) {
      EXPECT_GT(one.bytes, 0) << one.name;
      EXPECT_GT(one.in_bytes + one.out_bytes, 0) << one.name;
      EXPECT_GE(one.out_bytes, 0) << one.name;
      if (one.kind == OperatorKind::linear) {
        EXPECT_GE(one.in_bytes + one.out_bytes, one.bytes) << one.name;
      }
    }
  }
}

TEST(BenchOperators, MakeLogitsOfAFullBatchAtMost) {
  const auto operators = step_operators(dense_design(), DType::bfloat16, 8192, 640);

  EXPECT_EQ(named(operators, "head").rows, 1024);
  EXPECT_EQ(named(operators, "sample").rows, 1024);
  EXPECT_EQ(named(operators, "qkv").rows, 8192);
  EXPECT_FALSE(named(operators, "head").is_of_layers);
  EXPECT_TRUE(named(operators, "qkv").is_of_layers);
}

TEST(BenchOperators, ShareBlocksOfTooMuchMemory) {
  const auto operators = step_operators(dense_design(), DType::bfloat16, 65536, 65536);

  const BenchOperator& decodes = named(operators, "attention of decodes");
  EXPECT_LE(decodes.in_bytes, kMostBenchCacheBytes + 65536.0 * 512 * 2);
  EXPECT_GT(decodes.cache_blocks, 0);
}

TEST(RandomExperts, AreDifferentOnesForEachToken) {
  const std::vector<std::int32_t> chosen = random_experts(100, 16, 4);

  ASSERT_EQ(chosen.size(), 400U);
  for (std::size_t token = 0; token < 100; ++token) {
    const auto first = chosen.begin() + static_cast<std::ptrdiff_t>(4 * token);
    EXPECT_EQ(std::set<std::int32_t>(first, first + 4).size(), 4U) << token;
  }
  EXPECT_EQ(std::set<std::int32_t>(chosen.begin(), chosen.end()).size(), 16U);
  EXPECT_EQ(*std::ranges::max_element(chosen), 15);
  EXPECT_EQ(random_experts(3, 2, 2).size(), 6U);
}

TEST(ParseTokens, TakesNumbersBetweenCommas) {
  EXPECT_EQ(parse_tokens("8"), (std::vector<std::int64_t>{8}));
  EXPECT_EQ(parse_tokens("1,64,65536"), (std::vector<std::int64_t>{1, 64, 65536}));
}

TEST(ParseTokens, RefusesEverythingElse) {
  for (const char* text :
       {"", "0", "65537", "1,", ",1", "1;2", "1 ,2", "-1", "1.5", "x", "99999999999999999999"}) {
    EXPECT_EQ(kind_of_error([&] { parse_tokens(text); }), ErrorKind::usage) << text;
  }
  std::string many = "1";
  for (int i = 0; i < 64; ++i) many += ",1";
  EXPECT_EQ(kind_of_error([&] { parse_tokens(many); }), ErrorKind::usage);
}

TEST(SelectedOperators, AreThoseWhoseNamesHoldAPart) {
  const auto operators = step_operators(moe_design(), DType::bfloat16, 4, 640);

  EXPECT_EQ(names_of(selected(operators, "head,down")),
            (std::vector<std::string>{"down", "experts' down", "head"}));
  EXPECT_EQ(selected(operators, "").size(), operators.size());
  EXPECT_EQ(kind_of_error([&] { selected(operators, "head,hed"); }), ErrorKind::usage);
  EXPECT_EQ(kind_of_error([&] { selected(operators, "head,"); }), ErrorKind::usage);
}

/// Of what a command throws.
int exit_code_of(const std::vector<std::string>& arguments) {
  return exit_code(kind_of_error([&] { bench_command(arguments); }));
}

TEST(BenchKernels, ChecksItsCommandLineFirst) {
  EXPECT_EQ(exit_code_of({"kernels", "model", "--tokens", "0"}), 64);
  EXPECT_EQ(exit_code_of({"kernels", "model", "--dtype", "int8"}), 64);
  EXPECT_EQ(exit_code_of({"kernels", "model", "--context", "0"}), 64);
  EXPECT_EQ(exit_code_of({"kernels", "model", "--tokens", "65536", "--context", "1048576"}), 64);
}

TEST(BenchKernels, NeedsAGpu) {
  if constexpr (tensor::kHasCuda) {
    if (tensor::num_devices() > 0) GTEST_SKIP() << "there is a GPU";
  }

  EXPECT_EQ(exit_code_of({"kernels", TRIREME_TEST_DATA "/goldens/llama"}), 78);
}

}  // namespace
}  // namespace trireme::apps
