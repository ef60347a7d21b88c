#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "models/decoder.h"

/// What `bench kernels` times, as far as it needs no GPU: the operators of a step on one GPU, and
/// what each of them has to move and to compute.
namespace trireme::apps {

enum class OperatorKind {
  embedding,          ///< rows of n elements from a table of k rows
  rms_norm,           ///< of n elements, rows apart by k
  add_rms_norm,       ///< of n elements
  add,                ///< of n elements
  linear,             ///< [rows, k] by [n, k], perhaps with silu_and_mul
  norm_rope_append,   ///< rows of n = queries, keys and values
  attention_decodes,  ///< sequences, each a token that sees k keys, rows of n
  attention_prompt,   ///< a sequence without cached keys, rows of n
  silu_and_mul,       ///< n elements of 2 n
  route,              ///< k of n experts for each row
  sort_by_expert,     ///< the same
  experts_gate_up,    ///< [n, k] of each expert that a row chose, with silu_and_mul where that fits
  experts_down,       ///< the same without
  combine,            ///< k rows of n to one
  sample,             ///< greedily from n logits
};

/// One operator of a step. Its bytes are those that must move, each once; operations are those of
/// products and attention, two for each multiplication, and none of other operators.
struct BenchOperator {
  OperatorKind kind = OperatorKind::embedding;
  std::string name;
  std::string shape;  ///< for people
  std::int64_t per_step = 1;
  std::int64_t rows = 0, n = 0, k = 0;
  std::int64_t window = 0;        ///< of attention; 0: full
  std::int64_t cache_blocks = 0;  ///< of KV memory, where it is used
  bool has_bias = false;
  bool makes_logits = false;      ///< linear: y is float32
  bool has_silu_and_mul = false;  ///< linear: y has n / 2 columns
  bool is_of_layers = true;       ///< false: it takes rows of logits, and a prompt has but one
  double bytes = 0, operations = 0;
  /// Memory that a call names: what it only reads, and what it changes.
  double in_bytes = 0, out_bytes = 0;
};

inline constexpr std::int64_t kBenchTokensPerBlock = 64;
/// Decodes of more KV memory share blocks.
inline constexpr double kMostBenchCacheBytes = 4.0 * (std::int64_t{1} << 30);
/// Logits are made for so many rows at most, as in a step of the default max_batch_size.
inline constexpr std::int64_t kMostBenchLogitRows = 1024;

/// The operators of a step of `tokens` rows in the model's order: attention both as decodes that
/// see `context` keys and as one prompt. Experts are those of random_experts().
std::vector<BenchOperator> step_operators(const models::DecoderDesign& design, DType dtype,
                                          std::int64_t tokens, std::int64_t context);

/// top_k different experts of each token, [tokens, top_k]; the same at every call.
std::vector<std::int32_t> random_experts(std::int64_t tokens, std::int64_t num_experts,
                                         std::int64_t top_k);

/// "1,8,64" as numbers. Throws Error(usage) for anything else, numbers outside [1, 65536], and more
/// than 64 of them.
std::vector<std::int64_t> parse_tokens(const std::string& text);

/// Those whose name holds one of the parts, which are separated by commas; empty: all. Throws
/// Error(usage) for a part that no name holds.
std::vector<BenchOperator> selected(const std::vector<BenchOperator>& operators,
                                    const std::string& parts);

}  // namespace trireme::apps
