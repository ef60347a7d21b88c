#include "engine_runner.h"

#include <cmath>
#include <deque>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "models/device_workspace.h"
#include "models/model.h"

namespace trireme::test {
namespace {

/// Requests from memory: every `stride`-th from `first` on.
class ListSource : public engine::RequestSource {
 public:
  ListSource(const std::vector<engine::Request>& requests, int first, int stride) {
    for (auto i = static_cast<std::size_t>(first); i < requests.size();
         i += static_cast<std::size_t>(stride)) {
      waiting_.push_back(requests[i]);
    }
  }
  std::optional<engine::Request> next() override {
    if (waiting_.empty()) return std::nullopt;
    engine::Request request = std::move(waiting_.front());
    waiting_.pop_front();
    return request;
  }
  bool exhausted() const override { return waiting_.empty(); }

 private:
  std::deque<engine::Request> waiting_;
};

class ListSink : public engine::ResultSink {
 public:
  void finish(engine::Completion completion) override {
    Json row = Json::object();
    row["index"] = completion.request->index;
    row["sample"] = completion.sample;
    row["tokens"] = completion.output_tokens;
    row["logprobs"] = completion.logprobs;
    if (!completion.prompt_logprobs.empty()) {
      row["prompt_logprobs"] = std::vector<float>(completion.prompt_logprobs.begin() + 1,
                                                  completion.prompt_logprobs.end());
    }
    row["top_ids"] = completion.top_ids;
    row["top_logprobs"] = completion.top_logprobs;
    row["error"] = completion.error;
    row["finish_reason"] = static_cast<int>(completion.finish_reason);
    rows.push_back(std::move(row));
  }
  Json rows = Json::array();
};

void read_rows(const std::string& text, EngineOutcome& outcome) {
  const Json all = Json::parse(text);
  outcome.num_preemptions += all.at("preemptions").get<std::int64_t>();
  outcome.reused_tokens += all.at("reused").get<std::int64_t>();
  outcome.num_steps += all.at("steps").get<std::int64_t>();
  for (const Json& layer : all.at("experts")) {
    const auto number = layer.at("layer").get<std::int32_t>();
    for (const auto& [name, counts] :
         {std::pair("by_expert", &outcome.by_expert), std::pair("by_rank", &outcome.by_ep_rank)}) {
      std::int64_t idx = 0;
      for (const Json& count : layer.at(name))
        (*counts)[{number, idx++}] += count.get<std::int64_t>();
    }
  }
  for (const Json& row : all.at("rows")) {
    RowOutcome result;
    row.at("tokens").get_to(result.tokens);
    row.at("logprobs").get_to(result.logprobs);
    if (row.contains("prompt_logprobs")) row.at("prompt_logprobs").get_to(result.prompt_logprobs);
    row.at("top_ids").get_to(result.top_ids);
    row.at("top_logprobs").get_to(result.top_logprobs);
    row.at("error").get_to(result.error);
    row.at("finish_reason").get_to(result.finish_reason);
    const auto key =
        std::pair(row.at("index").get<std::int64_t>(), row.at("sample").get<std::int32_t>());
    const bool is_new = outcome.rows.emplace(key, std::move(result)).second;
    TRIREME_CHECK(is_new, "row ", key.first, " came twice");
  }
}

/// What a rank counted, all domains together.
Json expert_counts(const engine::ExpertLoadCounts& counts) {
  Json all = Json::array();
  for (std::size_t i = 0; i < counts.layers.size(); ++i) {
    Json layer = Json::object();
    layer["layer"] = counts.layers[i];
    for (const auto& [key, of_domain] : counts.domains) {
      const auto add = [&](const char* name, const std::vector<std::int64_t>& values,
                           std::int64_t size) {
        if (!layer.contains(name))
          layer[name] = std::vector<std::int64_t>(static_cast<std::size_t>(size));
        for (std::int64_t j = 0; j < size; ++j) {
          Json& sum = layer[name][static_cast<std::size_t>(j)];
          sum = sum.get<std::int64_t>() +
                values[i * static_cast<std::size_t>(size) + static_cast<std::size_t>(j)];
        }
      };
      add("by_expert", of_domain.by_expert, counts.num_experts);
      add("by_rank", of_domain.by_rank, counts.ep_size);
    }
    if (!counts.domains.empty()) all.push_back(std::move(layer));
  }
  return all;
}

std::unique_ptr<ops::Context> make_ops(const EngineCase& engine_case,
                                       const checkpoint::ModelConfig& config,
                                       const models::CausalLm& model) {
  if constexpr (ops::kHasCuda) {
    if (engine_case.on_gpu) {
      const std::int64_t bytes = models::device_arena_bytes(
          config, engine_case.sizes, model.kv_spec(),
          {.num_tokens = std::max(engine_case.max_num_tokens, engine_case.max_batch_size),
           .num_logit_rows = engine_case.max_batch_size,
           .num_vocab_columns = model.vocab_shard().num_columns,
           .dtype = engine_case.kv_dtype});
      return std::make_unique<ops::Context>(
          std::make_shared<ops::CudaContext>(static_cast<std::size_t>(bytes), config.head_dim,
                                             engine_case.deterministic),
          engine_case.kv_dtype);
    }
  }
  return std::make_unique<ops::Context>(kernels::cpu::detect_instruction_set(),
                                        engine_case.rounds_to_bf16);
}

}  // namespace

EngineOutcome run_engines(const comm::MpiComm& world, const EngineCase& engine_case,
                          const std::vector<engine::Request>& requests) {
  const topology::Topology topology(engine_case.sizes);
  const int rank = world.rank();
  const auto config = checkpoint::load_model_config(engine_case.model_dir);
  const auto checkpoint = checkpoint::Checkpoint::open(engine_case.model_dir);
  const auto groups = comm::make_process_groups(world.duplicate(), topology, "mpi");
  checkpoint::WeightLoader::Options loading;
  if (engine_case.on_gpu) loading = {.place = tensor::Place::device, .dtype = engine_case.kv_dtype};
  checkpoint::WeightLoader loader(checkpoint, &groups.node, loading);
  const topology::Coordinates at = topology.coordinates(rank);
  const auto model =
      models::make_model(config,
                         {.sizes = engine_case.sizes,
                          .coordinates = at,
                          .layers = topology::layers_of_stage(static_cast<int>(config.num_layers),
                                                              engine_case.sizes.pp, at.pp,
                                                              engine_case.pipeline_layers),
                          .max_seq_len = engine_case.max_seq_len,
                          .experts = engine_case.experts},
                         loader);
  loader.load();
  const std::unique_ptr<ops::Context> ops = make_ops(engine_case, config, *model);
  layers::ForwardContext context{.ops = *ops,
                                 .groups = groups,
                                 .attention_dp = engine_case.sizes.attention_dp,
                                 .moe_max_num_tokens = engine_case.moe_max_num_tokens,
                                 .progress = {}};

  ListSource source(requests, topology.sequence_group_index(rank), topology.num_sequence_groups());
  ListSink sink;
  engine::Engine engine({.limits = {.num_lanes = engine_case.sizes.pp,
                                    .max_batch_size = engine_case.max_batch_size,
                                    .max_num_tokens = engine_case.max_num_tokens,
                                    .enable_chunked_prefill = engine_case.enable_chunked_prefill},
                         .kv = {.memory_bytes = engine_case.kv_bytes,
                                .tokens_per_block = engine_case.tokens_per_block,
                                .dtype = engine_case.kv_dtype,
                                .max_seq_len = engine_case.max_seq_len,
                                .max_num_tokens = engine_case.max_num_tokens},
                         .enable_block_reuse = engine_case.enable_reuse,
                         .plan_ahead = engine_case.plan_ahead,
                         .reuse_seed = 1},
                        {.topology = topology,
                         .rank = rank,
                         .groups = groups,
                         .model = *model,
                         .context = context,
                         .hidden_size = config.hidden_size,
                         .vocab_size = config.vocab_size,
                         .rules = {.tokenizer = nullptr,
                                   .eos_token_ids = engine_case.eos_token_ids,
                                   .max_seq_len = engine_case.max_seq_len},
                         .source = &source,
                         .sink = &sink,
                         .poll = {},
                         .stop_requested = {},
                         .on_step = {}});
  TRIREME_CHECK(engine.run(), "rank=", rank);

  const engine::EngineStats stats = engine.stats();
  Json mine = Json::object();
  mine["rows"] = sink.rows;
  mine["experts"] = expert_counts(engine.expert_counts());
  mine["preemptions"] = stats.num_preemptions;
  mine["reused"] = stats.reused_tokens;
  mine["steps"] = stats.num_steps;
  EngineOutcome outcome;
  for (const std::string& text : world.all_gather(mine.dump())) read_rows(text, outcome);
  return outcome;
}

float largest_difference(const std::vector<float>& actual, const std::vector<float>& expected,
                         std::size_t skip) {
  if (actual.size() + skip != expected.size()) return INFINITY;
  float largest = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const float difference = std::abs(actual[i] - expected[i + skip]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
  }
  return largest;
}

}  // namespace trireme::test
