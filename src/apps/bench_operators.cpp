#include "apps/bench_operators.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/mix.h"

namespace trireme::apps {
namespace {

constexpr std::int64_t kMostTokens = 1 << 16;
constexpr std::size_t kMostSizes = 64;
constexpr double kWord = 4;  // of float32 and int32

double number(std::int64_t value) { return static_cast<double>(value); }

/// Keys that the tokens of a prompt see, together.
double keys_of_prompt(std::int64_t tokens, std::int64_t window) {
  const double seen = number(window == 0 ? tokens : std::min(tokens, window));
  return seen * (seen + 1) / 2 + (number(tokens) - seen) * seen;
}

/// Collects the operators of a step. In double, since the extents of a config.json can be such that
/// their products are beyond 64 bits.
class StepOperators {
 public:
  StepOperators(const models::DecoderDesign& design, DType dtype, std::int64_t tokens,
                std::int64_t context)
      : design_(design),
        config_(design.config),
        size_(number(static_cast<std::int64_t>(size_of(dtype)))),
        tokens_(tokens),
        context_(context) {}

  std::vector<BenchOperator> make() {
    const std::int64_t layers = config_.num_layers;
    embedding("embedding", tokens_, config_.vocab_size);
    rms_norm("rms_norm", 1, tokens_, config_.hidden_size, config_.hidden_size);
    add_attention();
    elementwise(OperatorKind::add_rms_norm, "add_rms_norm", 2 * layers - 1, 4);
    const std::int64_t num_moe =
        std::count(config_.layer_is_moe.begin(), config_.layer_is_moe.end(), true);
    if (num_moe < layers) add_mlp(layers - num_moe);
    if (num_moe > 0) add_experts(num_moe);
    elementwise(OperatorKind::add, "add", 1, 3);
    add_logits();
    return std::move(operators_);
  }

 private:
  BenchOperator& add(OperatorKind kind, const std::string& name, std::int64_t per_step,
                     std::int64_t rows, std::int64_t n, std::int64_t k) {
    BenchOperator& added = operators_.emplace_back();
    added.kind = kind;
    added.name = name;
    added.shape = cat(rows, " x ", n);
    added.per_step = per_step;
    added.rows = rows;
    added.n = n;
    added.k = k;
    return added;
  }
  /// All that is named is moved.
  static void set_bytes(BenchOperator& added, double in, double out) {
    added.in_bytes = in;
    added.out_bytes = out;
    added.bytes = in + out;
  }

  void embedding(const std::string& name, std::int64_t rows, std::int64_t table_rows) {
    BenchOperator& added =
        add(OperatorKind::embedding, name, 1, rows, config_.hidden_size, table_rows);
    const double row = number(config_.hidden_size) * size_;
    added.bytes = number(rows) * (2 * row + kWord);
    added.in_bytes = number(table_rows) * row;
    added.out_bytes = number(rows) * row;
  }
  void rms_norm(const std::string& name, std::int64_t per_step, std::int64_t rows, std::int64_t n,
                std::int64_t stride) {
    BenchOperator& added = add(OperatorKind::rms_norm, name, per_step, rows, n, stride);
    added.bytes = number(rows) * number(n) * 2 * size_ + number(n) * kWord;
    // Parts of rows are changed in place.
    const bool is_part = stride > n;
    added.in_bytes = (is_part ? 0 : number(rows) * number(n) * size_) + number(n) * kWord;
    added.out_bytes = number(rows) * number(stride) * size_;
  }
  /// `passes` over hidden states. add_rms_norm writes two of its four, add one of three.
  void elementwise(OperatorKind kind, const std::string& name, std::int64_t per_step, int passes) {
    BenchOperator& added = add(kind, name, per_step, tokens_, config_.hidden_size, 0);
    const double states = number(tokens_) * number(config_.hidden_size) * size_;
    added.bytes = passes * states;
    added.in_bytes = states;
    added.out_bytes = 2 * states;
    if (kind == OperatorKind::add_rms_norm) {
      added.bytes += number(config_.hidden_size) * kWord;
      added.in_bytes += number(config_.hidden_size) * kWord;
    }
  }
  BenchOperator& linear(const std::string& name, std::int64_t per_step, std::int64_t rows,
                        std::int64_t n, std::int64_t k, bool has_bias = false,
                        bool makes_logits = false) {
    BenchOperator& added = add(OperatorKind::linear, name, per_step, rows, n, k);
    added.shape = cat(rows, " x ", n, " x ", k);
    added.has_bias = has_bias;
    added.makes_logits = makes_logits;
    const double weight = number(n) * number(k) * size_ + (has_bias ? number(n) * kWord : 0);
    const double x = number(rows) * number(k) * size_;
    const double y = number(rows) * number(n) * (makes_logits ? kWord : size_);
    added.bytes = weight + x + y;
    added.operations = 2 * number(rows) * number(n) * number(k);
    // Algorithms are chosen with the largest M of a bucket, less than twice the rows.
    added.in_bytes = weight + 2 * x;
    added.out_bytes = 2 * y;
    return added;
  }

  std::int64_t q_size() const { return config_.num_heads * config_.head_dim; }
  std::int64_t kv_size() const { return config_.num_kv_heads * config_.head_dim; }
  /// Keys and values of a block.
  double block_bytes() const { return 2 * number(kv_size() * kBenchTokensPerBlock) * size_; }
  std::int64_t blocks_of(std::int64_t tokens) const {
    return (tokens + kBenchTokensPerBlock - 1) / kBenchTokensPerBlock;
  }
  std::int64_t limited_blocks(std::int64_t wanted) const {
    const double most = std::max(1.0, kMostBenchCacheBytes / block_bytes());
    return number(wanted) > most ? static_cast<std::int64_t>(most) : wanted;
  }

  void add_attention() {
    const std::int64_t layers = config_.num_layers, hidden = config_.hidden_size;
    const std::int64_t qkv = q_size() + 2 * kv_size();
    linear("qkv", layers, tokens_, qkv, hidden, design_.qkv_bias);
    if (design_.qk_norm == layers::QkNorm::all_heads) {
      rms_norm("q_norm", layers, tokens_, q_size(), qkv);
      rms_norm("k_norm", layers, tokens_, kv_size(), qkv);
    }
    add_norm_rope_append();
    std::map<std::int64_t, std::int64_t> layers_of_window;
    for (const std::int64_t window : config_.layer_window) ++layers_of_window[window];
    for (const auto& [window, count] : layers_of_window) {
      add_attention(OperatorKind::attention_decodes, window, count);
      add_attention(OperatorKind::attention_prompt, window, count);
    }
    linear("o", layers, tokens_, hidden, q_size(), design_.output_bias);
  }
  void add_norm_rope_append() {
    const std::int64_t qkv = q_size() + 2 * kv_size();
    BenchOperator& added = add(OperatorKind::norm_rope_append, "norm_rope_append",
                               config_.num_layers, tokens_, qkv, std::max(tokens_, context_));
    added.cache_blocks = blocks_of(tokens_);
    const double row = number(qkv) * size_, rows = number(tokens_);
    const double table = number(config_.head_dim) * kWord;
    constexpr double kPositionAndSlot = 12;
    added.bytes = rows * (2 * row + table + kPositionAndSlot);
    added.in_bytes = number(added.k) * table + 2 * table;
    added.out_bytes = rows * row + number(added.cache_blocks) * block_bytes();
  }
  void add_attention(OperatorKind kind, std::int64_t window, std::int64_t per_step) {
    const bool is_decode = kind == OperatorKind::attention_decodes;
    const std::int64_t length = is_decode ? context_ : tokens_;
    BenchOperator& added = add(kind, is_decode ? "attention of decodes" : "attention of a prompt",
                               per_step, tokens_, q_size(), length);
    added.window = window;
    added.shape = cat(is_decode ? cat(tokens_, " x 1 on ", length) : cat("1 x ", tokens_), ", ",
                      config_.num_heads, "/", config_.num_kv_heads,
                      window == 0 ? "" : cat(", last ", window));
    added.cache_blocks = limited_blocks((is_decode ? tokens_ : 1) * blocks_of(length));
    const double rows = number(tokens_), q = rows * number(q_size()) * size_;
    const double seen = number(window == 0 ? length : std::min(length, window));
    const double keys = is_decode ? rows * seen : keys_of_prompt(tokens_, window);
    const double read_keys = is_decode ? rows * seen : rows;
    added.bytes = 2 * read_keys * number(kv_size()) * size_ + 2 * q;
    added.operations = 4 * keys * number(q_size());
    added.in_bytes = q + number(added.cache_blocks) * block_bytes();
    added.out_bytes = q;
  }

  void silu_and_mul(std::int64_t per_step, std::int64_t rows, std::int64_t n) {
    BenchOperator& added = add(OperatorKind::silu_and_mul, "silu_and_mul", per_step, rows, n, 0);
    const double y = number(rows) * number(n) * size_;
    set_bytes(added, 2 * y, y);
  }
  void add_mlp(std::int64_t per_step) {
    const std::int64_t inner = config_.intermediate_size, hidden = config_.hidden_size;
    BenchOperator& gate_up = linear("gate_up", per_step, tokens_, 2 * inner, hidden);
    gate_up.has_silu_and_mul = true;
    gate_up.bytes -= number(tokens_) * number(inner) * size_;  // all columns are memory to work in
    gate_up.out_bytes += 2 * number(tokens_) * number(inner) * size_;
    linear("down", per_step, tokens_, hidden, inner);
  }

  void add_experts(std::int64_t per_step) {
    const std::int64_t experts = config_.num_experts, top_k = config_.experts_per_token;
    const std::int64_t hidden = config_.hidden_size, inner = config_.moe_intermediate_size;
    std::vector<std::int32_t> chosen = random_experts(tokens_, experts, top_k);
    std::sort(chosen.begin(), chosen.end());
    num_active_ = std::unique(chosen.begin(), chosen.end()) - chosen.begin();
    const double pairs = number(tokens_ * top_k), rows = number(tokens_);
    const std::string choice = cat(tokens_, " x ", top_k, " of ", experts);
    linear("router", per_step, tokens_, experts, hidden, false, true);

    BenchOperator& route = add(OperatorKind::route, "route", per_step, tokens_, experts, top_k);
    route.shape = choice;
    set_bytes(route, rows * number(experts) * kWord, 3 * pairs * kWord);
    BenchOperator& sort =
        add(OperatorKind::sort_by_expert, "sort_by_expert", per_step, tokens_, experts, top_k);
    sort.shape = choice;
    set_bytes(sort, pairs * kWord, (2 * pairs + number(experts + 1)) * kWord);

    // As ops::experts() decides.
    const bool is_fused = inner % 16 == 0;
    experts_product(OperatorKind::experts_gate_up, "experts' gate_up", per_step, 2 * inner, hidden,
                    rows * number(hidden), pairs * number(is_fused ? inner : 2 * inner));
    if (!is_fused) silu_and_mul(per_step, tokens_ * top_k, inner);
    experts_product(OperatorKind::experts_down, "experts' down", per_step, hidden, inner,
                    pairs * number(inner), pairs * number(hidden));

    BenchOperator& combine =
        add(OperatorKind::combine, "combine", per_step, tokens_, hidden, top_k);
    combine.shape = cat(tokens_, " x ", top_k, " x ", hidden);
    set_bytes(combine, pairs * (number(hidden) * size_ + 2 * kWord), rows * number(hidden) * size_);
  }
  void experts_product(OperatorKind kind, const std::string& name, std::int64_t per_step,
                       std::int64_t n, std::int64_t k, double x_elements, double y_elements) {
    BenchOperator& added = add(kind, name, per_step, tokens_, n, k);
    const std::int64_t experts = config_.num_experts, top_k = config_.experts_per_token;
    added.shape = cat(tokens_, " x ", top_k, " on ", num_active_, ", ", n, " x ", k);
    const double weight = number(n) * number(k) * size_;
    added.bytes = number(num_active_) * weight + (x_elements + y_elements) * size_;
    added.operations = 2 * number(tokens_ * top_k) * number(n) * number(k);
    added.in_bytes = number(experts) * weight + x_elements * size_;
    added.out_bytes = y_elements * size_;
  }

  void add_logits() {
    const std::size_t first = operators_.size();
    const std::int64_t rows = std::min(tokens_, kMostBenchLogitRows), hidden = config_.hidden_size;
    embedding("rows of logits", rows, tokens_);
    rms_norm("last rms_norm", 1, rows, hidden, hidden);
    linear("head", 1, rows, config_.vocab_size, hidden, false, true);
    BenchOperator& sample = add(OperatorKind::sample, "sample", 1, rows, config_.vocab_size, 0);
    set_bytes(sample, number(rows) * number(config_.vocab_size) * kWord, number(rows) * kWord);
    for (std::size_t i = first; i < operators_.size(); ++i) operators_[i].is_of_layers = false;
  }

  const models::DecoderDesign& design_;
  const checkpoint::ModelConfig& config_;
  double size_;
  std::int64_t tokens_, context_;
  std::int64_t num_active_ = 0;
  std::vector<BenchOperator> operators_;
};

std::vector<std::string> parts_of(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

}  // namespace

std::vector<BenchOperator> step_operators(const models::DecoderDesign& design, DType dtype,
                                          std::int64_t tokens, std::int64_t context) {
  return StepOperators(design, dtype, tokens, context).make();
}

std::vector<std::int32_t> random_experts(std::int64_t tokens, std::int64_t num_experts,
                                         std::int64_t top_k) {
  TRIREME_CHECK(tokens >= 0 && top_k >= 0 && top_k <= num_experts, "tokens=", tokens,
                " top_k=", top_k, " num_experts=", num_experts);
  std::vector<std::int32_t> experts(static_cast<std::size_t>(num_experts)), chosen;
  std::iota(experts.begin(), experts.end(), 0);
  chosen.reserve(static_cast<std::size_t>(tokens * top_k));
  std::uint64_t draw = 0;
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(top_k); ++i) {
      std::swap(experts[i], experts[i + splitmix64(draw++) % (experts.size() - i)]);
      chosen.push_back(experts[i]);
    }
  }
  return chosen;
}

std::vector<std::int64_t> parse_tokens(const std::string& text) {
  std::vector<std::int64_t> sizes;
  for (const std::string& part : parts_of(text)) {
    std::int64_t size = 0;
    const char* end = part.data() + part.size();
    const auto [rest, error] = std::from_chars(part.data(), end, size);
    if (error != std::errc() || rest != end || size < 1 || size > kMostTokens ||
        sizes.size() == kMostSizes) {
      fail(ErrorKind::usage,
           cat("trireme bench kernels: --tokens is '", text, "', expected up to ", kMostSizes,
               " numbers from 1 to ", kMostTokens, " and commas between them, such as 1,64,8192"));
    }
    sizes.push_back(size);
  }
  return sizes;
}

std::vector<BenchOperator> selected(const std::vector<BenchOperator>& operators,
                                    const std::string& parts) {
  if (parts.empty()) return operators;
  const auto holds = [](const BenchOperator& one, const std::string& part) {
    return one.name.find(part) != std::string::npos;
  };
  std::vector<BenchOperator> result;
  const std::vector<std::string> wanted = parts_of(parts);
  for (const std::string& part : wanted) {
    if (!part.empty() && std::ranges::any_of(operators, [&](const BenchOperator& one) {
          return holds(one, part);
        })) {
      continue;
    }
    std::string names;
    for (const BenchOperator& one : operators) names += cat(names.empty() ? "" : "; ", one.name);
    fail(ErrorKind::usage, cat("trireme bench kernels: --ops has '", part,
                               "', expected parts of these names: ", names));
  }
  for (const BenchOperator& one : operators) {
    if (std::ranges::any_of(wanted, [&](const std::string& part) { return holds(one, part); })) {
      result.push_back(one);
    }
  }
  return result;
}

}  // namespace trireme::apps
