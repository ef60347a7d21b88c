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
#include "job/prompt_source.h"
#include "job/sampling_defaults.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace trireme::job {

/// Everything that a run reads, opened and checked before anything is allocated.
struct RunFiles {
  checkpoint::ModelConfig model;
  checkpoint::Checkpoint checkpoint;
  SamplingBase sampling;
  // Of leaders:
  std::optional<text::Tokenizer> tokenizer;  ///< none if the model has no tokenizer.json
  std::optional<text::ChatTemplate> chat_template;
  std::unique_ptr<SharedReader> prompts;
  std::int64_t num_prompts = 0;  ///< --limit taken into account
  std::vector<std::string> warnings;
};

/// Opens the model's files, on leaders the prompts too. Throws Error(missing), Error(checkpoint),
/// Error(input). Not collective.
RunFiles open_run_files(const config::RunConfig& config, bool is_leader);

/// What identifies inputs, model and sampling: the parts of the manifest, in order.
std::vector<std::pair<std::string, std::string>> identity_of(const config::RunConfig& config,
                                                             const RunFiles& files);

/// Turns a row into a request; safe to call from several threads.
RequestMaker make_request_maker(const RunFiles& files, const std::string& model_dir,
                                std::int64_t unix_time);

}  // namespace trireme::job
