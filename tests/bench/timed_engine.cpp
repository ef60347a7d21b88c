#include "timed_engine.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/weight_loader.h"
#include "comm/process_groups.h"
#include "engine/engine.h"
#include "models/model.h"

namespace trireme::bench {
namespace {

constexpr std::int64_t kTokensPerBlock = 16;

/// Gives the requests of a round when those of the round before are done, and keeps the times.
class Rounds : public engine::RequestSource, public engine::ResultSink {
 public:
  Rounds(const Workload& workload, int num_rounds, std::int64_t vocab_size, double (*clock)())
      : workload_(workload), num_rounds_(num_rounds), vocab_size_(vocab_size), clock_(clock) {}

  std::optional<engine::Request> next() override {
    if (num_given_ == workload_.num_seqs) {
      if (num_finished_ < workload_.num_seqs || exhausted()) return std::nullopt;
      end_round();
    }
    if (num_given_ == 0) begin_s_ = clock_();
    ++num_given_;
    engine::Request request;
    request.index = next_index_++;
    request.params.max_tokens = workload_.output_tokens;
    request.params.ignore_eos = true;
    for (std::int64_t i = 0; i < workload_.prompt_tokens; ++i) {
      random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
      request.prompt_tokens.push_back(
          static_cast<std::int32_t>((random_ >> 33) % static_cast<std::uint64_t>(vocab_size_)));
    }
    return request;
  }

  bool exhausted() const override {
    return std::ssize(times) + 1 == num_rounds_ && num_given_ == workload_.num_seqs;
  }

  void finish(engine::Completion completion) override {
    TRIREME_CHECK(completion.error.empty(), completion.error);
    ++num_finished_;
    all_started_s_ = std::max(all_started_s_, completion.first_token_s);
    done_s_ = clock_();
  }

  void on_step(const engine::EngineStats& stats) {
    steps_.push_back({monotonic_seconds(), clock_(), stats.output_tokens});
  }

  void end_round() {
    TRIREME_CHECK(num_finished_ == workload_.num_seqs, "finished=", num_finished_);
    RoundTime time{.prompt_s = done_s_ - begin_s_, .output_s = 0, .output_tokens = 0};
    // The first step that was over when all had begun to answer; a last step is not in the list.
    const auto started = std::ranges::find_if(
        steps_, [this](const Step& step) { return step.wall_s >= all_started_s_; });
    if (started != steps_.end()) {
      time.prompt_s = started->clock_s - begin_s_;
      time.output_s = done_s_ - started->clock_s;
      time.output_tokens = workload_.num_seqs * workload_.output_tokens * (std::ssize(times) + 1) -
                           started->output_tokens;
    }
    times.push_back(time);
    steps_.clear();
    num_given_ = num_finished_ = 0;
  }

  std::vector<RoundTime> times;

 private:
  struct Step {
    double wall_s, clock_s;  ///< when it ended
    std::int64_t output_tokens;
  };

  Workload workload_;
  int num_rounds_;
  std::int64_t vocab_size_;
  double (*clock_)();
  std::uint64_t random_ = 1;
  std::int64_t next_index_ = 0, num_given_ = 0, num_finished_ = 0;
  double begin_s_ = 0, all_started_s_ = 0, done_s_ = 0;
  std::vector<Step> steps_;
};

}  // namespace

struct TimedModel::Impl {
  explicit Impl(const std::string& model_dir)
      : topology(topology::Sizes{}),
        groups(comm::make_process_groups(comm::MpiComm::world(), topology, "mpi")),
        config(checkpoint::load_model_config(model_dir)) {
    if (config.num_experts > 0) {
      fail(ErrorKind::config, cat(model_dir, ": num_experts is ", config.num_experts,
                                  ", expected a dense model: its bounds are known"));
    }
    const auto checkpoint = checkpoint::Checkpoint::open(model_dir);
    checkpoint::WeightLoader loader(checkpoint, &groups.node);
    model = models::make_model(config,
                               {.sizes = {},
                                .coordinates = {},
                                .layers = {0, static_cast<int>(config.num_layers)},
                                .max_seq_len = config.max_positions},
                               loader);
    weight_bytes = static_cast<double>(loader.load().bytes_kept);
    if (config.tie_word_embeddings) return;
    weight_bytes -= static_cast<double>(config.vocab_size * config.hidden_size) *
                    static_cast<double>(size_of(config.dtype));
  }

  topology::Topology topology;
  comm::ProcessGroups groups;
  checkpoint::ModelConfig config;
  std::unique_ptr<models::CausalLm> model;
  double weight_bytes = 0;
};

TimedModel::TimedModel(const std::string& model_dir) : impl_(std::make_unique<Impl>(model_dir)) {}
TimedModel::~TimedModel() = default;

std::vector<RoundTime> TimedModel::run(const EngineSettings& settings, const Workload& workload,
                                       int rounds) {
  const checkpoint::ModelConfig& config = impl_->config;
  ops::Context ops(settings.set, settings.dtype == DType::bfloat16);
  layers::ForwardContext context{.ops = ops,
                                 .groups = impl_->groups,
                                 .attention_dp = false,
                                 .moe_max_num_tokens = settings.max_num_tokens,
                                 .progress = {}};
  // Room for just these sequences, so that warming up touches all of it.
  const std::int64_t length = workload.prompt_tokens + workload.output_tokens;
  const std::int64_t kv_tokens = workload.num_seqs * (length + 2 * kTokensPerBlock);
  const std::int64_t token_bytes = 2 * config.num_layers * config.num_kv_heads * config.head_dim *
                                   static_cast<std::int64_t>(size_of(settings.dtype));
  Rounds source(workload, rounds + 1, config.vocab_size, settings.clock);
  // Without reuse every prompt is computed; without planning ahead a token is seen when it is made.
  engine::Engine engine(
      {.limits = {.num_lanes = 1,
                  .max_batch_size = settings.max_batch_size,
                  .max_num_tokens = settings.max_num_tokens},
       .kv = {.memory_bytes = kv_tokens * token_bytes,
              .tokens_per_block = kTokensPerBlock,
              .dtype = settings.dtype,
              .max_seq_len = length,
              .max_num_tokens = settings.max_num_tokens},
       .enable_block_reuse = false,
       .plan_ahead = 0},
      {.topology = impl_->topology,
       .rank = 0,
       .groups = impl_->groups,
       .model = *impl_->model,
       .context = context,
       .hidden_size = config.hidden_size,
       .vocab_size = config.vocab_size,
       .rules = {.tokenizer = nullptr, .eos_token_ids = {}, .max_seq_len = length},
       .source = &source,
       .sink = &source,
       .poll = {},
       .stop_requested = {},
       .on_step = [&source](const engine::EngineStats& stats) { source.on_step(stats); }});
  TRIREME_CHECK(engine.run(), "rounds=", rounds);
  TRIREME_CHECK(engine.stats().num_preemptions == 0, "sequences=", workload.num_seqs);
  source.end_round();
  return {source.times.begin() + 1, source.times.end()};
}

double TimedModel::weight_bytes() const { return impl_->weight_bytes; }

double TimedModel::layer_flops() const {
  const checkpoint::ModelConfig& config = impl_->config;
  const std::int64_t attention =
      (2 * config.num_heads + 2 * config.num_kv_heads) * config.head_dim * config.hidden_size;
  const std::int64_t mlp = 3 * config.hidden_size * config.intermediate_size;
  return 2.0 * static_cast<double>(config.num_layers * (attention + mlp));
}

double TimedModel::head_flops() const {
  return 2.0 * static_cast<double>(impl_->config.hidden_size * impl_->config.vocab_size);
}

const checkpoint::ModelConfig& TimedModel::config() const { return impl_->config; }

}  // namespace trireme::bench
