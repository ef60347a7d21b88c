#include "job/run_facts.h"

#include "base/error.h"
#include "config/dump_config.h"
#include "job/progress.h"

namespace trireme::job {

engine::EngineOptions engine_options(const config::RunConfig& config,
                                     const topology::Topology& topology, const RunTerms& terms,
                                     const RunModel& model) {
  engine::EngineOptions options;
  options.limits = {.num_lanes = topology.sizes().pp,
                    .max_batch_size = config.limits.max_batch_size,
                    .max_num_tokens = config.limits.max_num_tokens,
                    .enable_chunked_prefill = config.limits.enable_chunked_prefill};
  options.kv = {.memory_bytes = config.kv_cache.host_memory_bytes,
                .tokens_per_block = config.kv_cache.tokens_per_block,
                .dtype = DType::float32,
                .max_seq_len = terms.max_seq_len,
                .max_num_tokens = config.limits.max_num_tokens};
  const std::string& kv_dtype =
      config.kv_cache.dtype == "auto" ? config.dtype : config.kv_cache.dtype;
  options.kv.dtype = float_dtype_from_name(kv_dtype).value_or(model.activation_dtype());
  if (model.is_on_gpu()) {
    options.kv.memory_bytes = model.memory_plan().kv_bytes;
  }
  options.enable_block_reuse = config.kv_cache.enable_block_reuse;
  options.plan_ahead = config.limits.plan_ahead;
  options.keeps_choices = config.paths.record_choices;
  options.reuse_seed = std::hash<std::string>()(terms.run_id);
  return options;
}

Json result_attributes(const config::RunConfig& config, const RunFiles& files,
                       const topology::Topology& topology, const RunTerms& terms,
                       const BuildInfo& build, const RunIdentity& parts) {
  const topology::Sizes& sizes = topology.sizes();
  Json attributes = Json::object();
  attributes["software"] = "trireme";
  attributes["software_version"] = build.version;
  attributes["git"] = build.git;
  attributes["created_unix"] = terms.unix_time;
  attributes["run_id"] = terms.run_id;
  attributes["model"] = config.paths.model;
  attributes["architecture"] = files.model.architecture;
  attributes["prompts"] = config.paths.prompts;
  for (const auto& [name, value] : parts) {
    if (name != "schema" && name != "limit" && name != "sampling")
      attributes[name + "_hash"] = value;
  }
  attributes["config"] =
      config::dump_config(config).dump(-1, ' ', true, Json::error_handler_t::replace);
  attributes["layout"] =
      cat("dp", sizes.dp, " pp", sizes.pp, " cp", sizes.cp, " tp", sizes.tp, " moe_tp",
          sizes.moe_tp, " moe_ep", sizes.moe_ep, sizes.attention_dp ? " attention_dp" : "");
  attributes["instruction_set"] = kernels::cpu::name_of(terms.instruction_set);
  attributes["threads_per_rank"] = terms.num_threads;
  return attributes;
}

std::string gpu_memory_text(const RunModel& model) {
  const models::MemoryPlan& plan = model.memory_plan();
  const auto text = [](std::int64_t bytes) { return bytes_text(static_cast<double>(bytes)); };
  return cat("GPU memory: planned ", text(plan.total_bytes()), " (weights ",
             text(plan.weight_bytes), ", KV ", text(plan.kv_bytes), ", workspace ",
             text(plan.workspace_bytes), "), taken ", text(model.allocated_gpu_bytes()));
}

}  // namespace trireme::job
