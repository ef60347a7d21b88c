#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "apps/bench_commands.h"
#include "apps/commands.h"
#include "base/clock.h"
#include "base/error.h"
#include "checkpoint/weight_loader.h"
#include "comm/mpi_comm.h"
#include "comm/process_groups.h"
#include "engine/engine.h"
#include "job/product_cache.h"
#include "models/device_workspace.h"
#include "models/model.h"
#include "ops/op_timer.h"

namespace trireme::apps {
namespace {

config::Syntax bench_engine_syntax() {
  return {.command = "bench engine",
          .summary =
              "Times the engine on a model of random weights (normal, deviation 0.02, norms 1): "
              "only MODEL/config.json is read. Prompts are random, all of one length, answered "
              "greedily to the given length, without block reuse.",
          .examples = {"trireme bench engine meta-llama/Llama-3.1-8B --shape 1000:512:256 --shape "
                       "1:128:256"},
          .arguments = {"MODEL"},
          .flags = {{"shape", "N:IN:OUT", "Work",
                     "prompts, tokens of each, tokens to generate; may be given several times"},
                    {"repeat", "N", "Work", "timed rounds of each shape (default 1)"},
                    {"warm-up", "N", "Work", "rounds of each shape before them (default 1)"},
                    {"profile", "", "Work",
                     "cuda: also the time of each operator, without recorded graphs, which slows "
                     "decodes"},
                    {"deterministic", "", "Computing",
                     "cuda: the same bits whatever rows run together"},
                    {"device", "NAME", "Computing", "cpu or cuda (default: cuda where a GPU is)"},
                    {"dtype", "TYPE", "Computing", "of weights and activations (default bfloat16)"},
                    {"max-batch-size", "N", "Computing", "sequences of a step (default 1024)"},
                    {"max-num-tokens", "N", "Computing", "tokens of a step (default 8192)"}},
          .epilogue =
              "A line for each round: seconds, prompt and output tokens a second over all of "
              "it, steps, and how long the host planned, launched and waited."};
}

struct Shape {
  std::int64_t num_prompts = 0, input = 0, output = 0;
};

Shape parse_shape(const std::string& text) {
  Shape shape;
  char end = 0;
  const int found = std::sscanf(text.c_str(), "%ld:%ld:%ld%c", &shape.num_prompts, &shape.input,
                                &shape.output, &end);
  const auto fits = [](std::int64_t x) { return x >= 1 && x <= std::int64_t{1} << 20; };
  if (found != 3 || !fits(shape.num_prompts) || !fits(shape.input) || !fits(shape.output)) {
    fail(ErrorKind::usage, cat("trireme bench engine: --shape is '", text,
                               "', expected N:IN:OUT, such as 1000:512:256"));
  }
  return shape;
}

/// The same prompts each round, but the numbers of their rows.
class Prompts : public engine::RequestSource, public engine::ResultSink {
 public:
  Prompts(const Shape& shape, std::int64_t vocab_size) : shape_(shape), vocab_size_(vocab_size) {}

  std::optional<engine::Request> next() override {
    if (exhausted()) return std::nullopt;
    engine::Request request;
    request.index = num_given_++;
    request.params.max_tokens = shape_.output;
    request.params.ignore_eos = true;
    request.prompt_tokens.reserve(static_cast<std::size_t>(shape_.input));
    for (std::int64_t i = 0; i < shape_.input; ++i) {
      random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
      request.prompt_tokens.push_back(
          static_cast<std::int32_t>((random_ >> 33) % static_cast<std::uint64_t>(vocab_size_)));
    }
    return request;
  }
  bool exhausted() const override { return num_given_ == shape_.num_prompts; }
  void finish(engine::Completion completion) override {
    if (!completion.error.empty()) fail(ErrorKind::internal, completion.error);
    ++num_finished_;
  }
  std::int64_t num_finished() const { return num_finished_; }

 private:
  Shape shape_;
  std::int64_t vocab_size_;
  std::uint64_t random_ = 1;
  std::int64_t num_given_ = 0, num_finished_ = 0;
};

struct BenchOptions {
  std::string model_dir;
  bool on_gpu = false, has_profile = false, is_deterministic = false;
  DType dtype = DType::bfloat16;
  std::int64_t max_batch_size = 1024, max_num_tokens = 8192, max_seq_len = 0;
  std::vector<Shape> shapes;
  std::int64_t repeat = 1, warm_up = 1;
};

BenchOptions bench_options(const config::Options& options) {
  BenchOptions bench;
  bench.model_dir = options.argument(0);
  for (const std::string& shape : options.values("shape")) {
    bench.shapes.push_back(parse_shape(shape));
    bench.max_seq_len =
        std::max(bench.max_seq_len, bench.shapes.back().input + bench.shapes.back().output);
  }
  if (bench.shapes.empty()) {
    fail(ErrorKind::usage, "trireme bench engine: --shape N:IN:OUT is missing");
  }
  bench.repeat = options.whole("repeat", 1, 1000).value_or(1);
  bench.warm_up = options.whole("warm-up", 0, 1000).value_or(1);
  bench.max_batch_size = options.whole("max-batch-size", 1, 1 << 16).value_or(1024);
  bench.max_num_tokens = options.whole("max-num-tokens", 1, 1 << 20).value_or(8192);
  const std::string dtype = options.value("dtype", "bfloat16");
  const auto known = float_dtype_from_name(dtype);
  if (!known) {
    fail(ErrorKind::usage, cat("trireme bench engine: --dtype is '", dtype,
                               "', expected bfloat16, float16 or float32"));
  }
  bench.dtype = *known;
  const std::string device = options.value("device", tensor::has_gpu() ? "cuda" : "cpu");
  if (device != "cpu" && device != "cuda") {
    fail(ErrorKind::usage,
         cat("trireme bench engine: --device is '", device, "', expected cpu or cuda"));
  }
  if (device == "cuda" && !tensor::has_gpu()) {
    fail(ErrorKind::config,
         "--device is cuda, expected cpu, since this build or this machine has "
         "no GPU");
  }
  bench.on_gpu = device == "cuda";
  bench.is_deterministic = options.has("deterministic");
  bench.has_profile = bench.on_gpu && options.has("profile");
  return bench;
}

/// A model of random weights with what it computes with.
class BenchModel {
 public:
  explicit BenchModel(const BenchOptions& options)
      : options_(options),
        topology_(topology::Sizes{}),
        groups_(comm::make_process_groups(comm::MpiComm::world().duplicate(), topology_, "mpi")),
        config_(checkpoint::load_model_config(options.model_dir)) {
    const double begin = monotonic_seconds();
    checkpoint::WeightLoader loader(
        {.mode = checkpoint::WeightLoader::Mode::synthetic,
         .place = options.on_gpu ? tensor::Place::device : tensor::Place::host,
         .dtype = options.dtype});
    model_ = models::make_model(config_,
                                {.sizes = topology_.sizes(),
                                 .coordinates = {},
                                 .layers = {0, static_cast<int>(config_.num_layers)},
                                 .max_seq_len = options.max_seq_len},
                                loader);
    loader.load();
    make_context();
    std::cout << options.model_dir << ": " << (loader.allocated_bytes() >> 20)
              << " MiB of random weights in " << name_of(options.dtype) << ", "
              << monotonic_seconds() - begin << " s\n";
  }

  void run() {
    const double begin = monotonic_seconds();
    for (const Shape& shape : options_.shapes) {
      for (std::int64_t round = -options_.warm_up; round < options_.repeat; ++round)
        run_round(shape, round);
      if (options_.has_profile) profile(shape);
    }
    std::cout << "all rounds: " << monotonic_seconds() - begin << " s\n";
  }

 private:
  void make_context();
  void run_round(const Shape& shape, std::int64_t round);
  void profile(const Shape& shape);

  BenchOptions options_;
  topology::Topology topology_;
  comm::ProcessGroups groups_;
  checkpoint::ModelConfig config_;
  std::unique_ptr<models::CausalLm> model_;
  std::unique_ptr<ops::Context> ops_;
  std::unique_ptr<layers::ForwardContext> context_;
};

void BenchModel::make_context() {
  if constexpr (ops::kHasCuda) {
    if (options_.on_gpu) {
      const std::int64_t bytes = models::device_arena_bytes(
          config_, topology_.sizes(), model_->kv_spec(),
          {.num_tokens = std::max(options_.max_num_tokens, options_.max_batch_size),
           .num_logit_rows = options_.max_batch_size,
           .num_vocab_columns = model_->vocab_shard().num_columns,
           .dtype = options_.dtype});
      ops_ = std::make_unique<ops::Context>(
          std::make_shared<ops::CudaContext>(static_cast<std::size_t>(bytes), config_.head_dim,
                                             options_.is_deterministic),
          options_.dtype);
      job::load_products(*ops_->cuda);
    }
  }
  if (!ops_) {
    ops_ = std::make_unique<ops::Context>(kernels::cpu::detect_instruction_set(),
                                          options_.dtype == DType::bfloat16);
  }
  context_ = std::make_unique<layers::ForwardContext>(
      layers::ForwardContext{.ops = *ops_,
                             .groups = groups_,
                             .attention_dp = false,
                             .moe_max_num_tokens = options_.max_num_tokens,
                             .progress = {}});
}

void BenchModel::run_round(const Shape& shape, std::int64_t round) {
  Prompts prompts(shape, config_.vocab_size);
  const std::int64_t kv_bytes =
      options_.on_gpu
          ? static_cast<std::int64_t>(0.9 * static_cast<double>(tensor::free_gpu_bytes()))
          : std::int64_t{1} << 30;
  engine::Engine engine(
      {.limits = {.num_lanes = 1,
                  .max_batch_size = options_.max_batch_size,
                  .max_num_tokens = options_.max_num_tokens},
       .kv = {.memory_bytes = kv_bytes,
              .tokens_per_block = options_.on_gpu ? 64 : 16,
              .dtype = options_.on_gpu ? options_.dtype : DType::float32,
              .max_seq_len = options_.max_seq_len,
              .max_num_tokens = options_.max_num_tokens},
       .enable_block_reuse = false},
      {.topology = topology_,
       .rank = 0,
       .groups = groups_,
       .model = *model_,
       .context = *context_,
       .hidden_size = config_.hidden_size,
       .vocab_size = config_.vocab_size,
       .rules = {.tokenizer = nullptr, .eos_token_ids = {}, .max_seq_len = options_.max_seq_len},
       .source = &prompts,
       .sink = &prompts,
       .poll = {},
       .stop_requested = {},
       .on_step = {}});
  if constexpr (ops::kHasCuda) {
    if (options_.on_gpu) job::save_products(*ops_->cuda);
  }
  const double begin = monotonic_seconds();
  if (!engine.run() || prompts.num_finished() != shape.num_prompts) {
    fail(ErrorKind::internal, cat("finished ", prompts.num_finished(), " prompts"));
  }
  const double seconds = monotonic_seconds() - begin;
  const engine::EngineStats stats = engine.stats();
  const auto rate = [&](std::int64_t tokens) { return static_cast<double>(tokens) / seconds; };
  std::printf(
      "%5ld x %5ld -> %5ld %s %9.3f s %9.0f prompt tok/s %8.0f output tok/s %7.3f ms a step, %ld "
      "steps, plan %.3f %s %.3f waiting %.3f s, %ld preempted\n",
      shape.num_prompts, shape.input, shape.output, round < 0 ? "warm-up" : "timed  ", seconds,
      rate(shape.num_prompts * shape.input), rate(shape.num_prompts * shape.output),
      1e3 * seconds / static_cast<double>(std::max<std::int64_t>(1, stats.num_steps)),
      stats.num_steps, stats.plan_seconds, stats.is_on_gpu ? "launch" : "forward and sampling",
      stats.forward_seconds + stats.sample_seconds, stats.idle_seconds, stats.num_preemptions);
  std::fflush(stdout);
}

/// The operators of another round, the largest share first.
void BenchModel::profile(const Shape& shape) {
  if constexpr (ops::kHasCuda) {
    ops::OpTimer timer;
    ops_->cuda->timer = &timer;
    run_round(shape, 0);
    ops_->cuda->timer = nullptr;
    std::vector<std::pair<double, std::string>> lines;
    double sum = 0;
    for (const auto& [name, total] : timer.totals()) {
      sum += total.milliseconds;
      lines.emplace_back(total.milliseconds, cat(name, ", ", total.count, " times"));
    }
    std::ranges::sort(lines, std::greater<>());
    for (const auto& [milliseconds, name] : lines) {
      std::printf("  %10.1f ms %5.1f %%  %s\n", milliseconds, 100 * milliseconds / sum,
                  name.c_str());
    }
    std::printf("  %10.1f ms in all\n", sum);
  }
}

int bench_engine(const config::Options& options) {
  const BenchOptions bench = bench_options(options);
  int argc = 0;
  char** argv = nullptr;
  const comm::MpiEnvironment environment(&argc, &argv);
  if constexpr (ops::kHasCuda) {
    if (bench.on_gpu) {
      tensor::use_device(0);
      std::cout << tensor::device_name() << "\n";
    }
  }
  BenchModel(bench).run();
  return 0;
}

}  // namespace

Subcommand bench_engine_subcommand() { return {bench_engine_syntax(), bench_engine}; }

int bench_command(const std::vector<std::string>& arguments) {
  return run_subcommand("bench", "measures this machine",
                        {bench_engine_subcommand(), bench_kernels_subcommand()}, arguments);
}

}  // namespace trireme::apps
