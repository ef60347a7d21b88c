#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "config/run_config.h"
#include "eplb/placement.h"
#include "job/domain_names.h"
#include "job/prompt_source.h"
#include "job/sampling_defaults.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "topology/topology.h"

namespace trireme::job {

/// Everything that a run reads, opened and checked before anything is allocated.
struct RunFiles {
  checkpoint::ModelConfig model;
  checkpoint::Checkpoint checkpoint;
  SamplingBase sampling;
  std::optional<eplb::Placement> placement;  ///< of the experts, if the configuration names one
  // Of leaders:
  std::optional<text::Tokenizer> tokenizer;  ///< none if the model has no tokenizer.json
  std::optional<text::ChatTemplate> chat_template;
  std::unique_ptr<SharedReader> prompts;  ///< none if the configuration names none
  std::int64_t num_prompts = 0;           ///< --limit taken into account
  std::vector<std::string> warnings;
};

/// What a rank needs of the prompt file: nothing, its rows, or its rows after a check of offsets
/// and ids from end to end, which takes time and is enough on one rank.
enum class PromptUse { none, rows, checked_rows };

/// Opens the model's files but the checkpoint, which a node's ranks open together, of leaders the
/// tokenizer and the prompts too; a configuration that names no prompts is opened without. Throws
/// Error(missing), Error(checkpoint), Error(input). Not collective.
RunFiles open_run_files(const config::RunConfig& config, PromptUse use);

/// Rule 18 of DESIGN section 3: the placement fits model and expert parallel size. Throws
/// Error(config) with every fault. Not collective.
void check_placement(const RunFiles& files, const config::RunConfig& config,
                     const topology::Sizes& sizes);

/// What identifies inputs, model and sampling: the parts of the manifest, in order.
std::vector<std::pair<std::string, std::string>> identity_of(const config::RunConfig& config,
                                                             const RunFiles& files);

/// Turns a row into a request; safe to call from several threads.
RequestMaker make_request_maker(const RunFiles& files, const std::string& model_dir,
                                std::int64_t unix_time, DomainNames& domains);

}  // namespace trireme::job
