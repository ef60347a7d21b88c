#include "apps/plan_text.h"

#include <algorithm>
#include <iomanip>
#include <limits>
#include <sstream>

#include "base/error.h"
#include "io/disk_space.h"
#include "job/progress.h"
#include "models/layout_check.h"

namespace trireme::apps {
namespace {

std::string size_text(std::int64_t bytes) { return job::bytes_text(static_cast<double>(bytes)); }

// One line of the table of memory.
std::string memory_line(const std::string& stage, const std::string& layers,
                        const std::string& weights, const std::string& kv,
                        const std::string& workspace, const std::string& all) {
  std::ostringstream out;
  out << "  " << std::left << std::setw(7) << stage << std::setw(9) << layers << std::right
      << std::setw(12) << weights << std::setw(12) << kv << std::setw(12) << workspace
      << std::setw(12) << all << "\n";
  return std::move(out).str();
}

std::string layers_text(const models::MemoryInputs& inputs, int stage) {
  const std::vector<std::int64_t>& given = inputs.config.parallel.pipeline_layers;
  const topology::LayerRange range =
      topology::layers_of_stage(static_cast<int>(inputs.model.num_layers), inputs.sizes.pp, stage,
                                {given.begin(), given.end()});
  return range.end - range.begin == 1 ? cat(range.begin) : cat(range.begin, "-", range.end - 1);
}

std::string rows_text(std::int64_t count, const char* one) {
  return cat(job::grouped(count), " ", one, count == 1 ? "" : "s");
}

}  // namespace

std::string model_text(const job::RunFiles& files, const config::RunConfig& config) {
  const checkpoint::ModelConfig& model = files.model;
  return cat("model     ", config.paths.model, ": ", model.architecture, ", ", model.num_layers,
             " layers, ", size_text(files.checkpoint.file_bytes()), " of weights, ",
             job::grouped(model.max_positions), " positions, vocabulary of ",
             job::grouped(model.vocab_size), "\ncomputes  on ", config.device, " in ",
             config.dtype == "auto" ? std::string(name_of(model.dtype)) : config.dtype,
             ", ranks exchange over ", config.comm, ", ",
             rows_text(config.limits.threads_per_rank, "thread"), " a rank\n");
}

std::string memory_text(const models::MemoryInputs& inputs, const topology::Topology& topology) {
  std::string text = "memory of a rank";
  if (inputs.device_memory_bytes > 0) {
    text += cat(", which has ", size_text(inputs.device_memory_bytes));
  } else {
    text += " (KV memory as on a CPU: --device-memory, such as '80 GiB', tells the GPU's)";
  }
  text += "\n" + memory_line("stage", "layers", "weights", "KV", "workspace", "in all");
  std::int64_t num_sequences = std::numeric_limits<std::int64_t>::max();
  for (int stage = 0; stage < inputs.sizes.pp; ++stage) {
    const models::MemoryPlan plan = models::plan_memory(inputs, {.pp = stage});
    text += memory_line(cat(stage), layers_text(inputs, stage), size_text(plan.weight_bytes),
                        size_text(plan.kv_bytes), size_text(plan.workspace_bytes),
                        size_text(plan.total_bytes()));
    num_sequences = std::min(num_sequences,
                             plan.kv_bytes / std::max<std::int64_t>(1, plan.kv_bytes_per_sequence));
  }
  const config::EngineLimits& limits = inputs.config.limits;
  const std::int64_t slots = limits.max_batch_size * inputs.sizes.pp;
  const std::int64_t num_groups = topology.num_sequence_groups();
  const std::int64_t at_once = std::min(slots, num_sequences);
  text += cat("\nroom of a sequence group (the job has ", num_groups, ")\n  KV memory    holds ",
              rows_text(num_sequences, "sequence"), " of ",
              job::grouped(models::max_seq_len_of(inputs.model, inputs.config)),
              " tokens (max_seq_len)\n  a step       at most ",
              rows_text(limits.max_batch_size, "sequence"), " (max_batch_size) and ",
              rows_text(limits.max_num_tokens, "token"), " (max_num_tokens)\n");
  if (inputs.sizes.pp > 1)
    text += cat("  in flight    ", inputs.sizes.pp, " steps, a stage each\n");
  text += cat("  the job      ", rows_text(num_groups * slots, "sequence"), " at once");
  if (at_once < slots) {
    text += cat(", of the longest ", job::grouped(num_groups * at_once), " (KV memory)");
  }
  return text + "\n";
}

std::string prompts_text(const job::RunFiles& files, const config::RunConfig& config,
                         std::uint64_t disk_bytes) {
  std::string text =
      cat("prompts   ", config.paths.prompts, ": ", rows_text(files.num_prompts, "prompt"), ", ",
          rows_text(files.sampling.num_samples, "sample"), " of each\ndisk      ", "up to about ",
          job::bytes_text(static_cast<double>(disk_bytes)), " for journals and results");
  if (!config.paths.output.empty()) {
    text +=
        cat(", ", job::bytes_text(static_cast<double>(io::free_disk_bytes(config.paths.output))),
            " are free there");
  }
  return text + "\n";
}

}  // namespace trireme::apps
