#include "job/run_files.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/error.h"
#include "config/faults.h"
#include "config/key_table.h"
#include "config/value.h"
#include "eplb/placement_file.h"
#include "io/sha256.h"
#include "job/job_loads.h"
#include "job/prompt_preparer.h"
#include "models/model.h"

namespace trireme::job {
namespace {

// Why a file cannot be read, with its name; empty if it can.
std::string why_unreadable(const std::string& path) {
  if (::access(path.c_str(), R_OK) == 0) return {};
  return cat(path, ": ", std::generic_category().message(errno));
}

void check_model_folder(const std::string& model) {
  const std::string why = why_unreadable(model + "/config.json");
  if (why.empty()) return;
  fail(ErrorKind::missing,
       cat("model is ", config::shown(model),
           ", expected a folder with config.json, *.safetensors and tokenizer.json as published, a "
           "model of a hub downloaded beforehand; ",
           why));
}

void check_prompt_file(const std::string& prompts) {
  const std::string why = why_unreadable(prompts);
  if (!why.empty()) {
    fail(ErrorKind::missing,
         cat("prompts is ", config::shown(prompts), ", expected an HDF5 file of prompts; ", why));
  }
  for (const char* ending : {".jsonl", ".ndjson", ".json", ".txt"}) {
    if (!prompts.ends_with(ending)) continue;
    fail(ErrorKind::input, cat("prompts is ", config::shown(prompts),
                               ", expected an HDF5 file of prompts: 'trireme prompts import ",
                               prompts, " OUT.h5' makes one of it"));
  }
}

bool hold_text(io::PromptReader& reader) {
  const auto kind = first_kind(reader);
  return kind && *kind != io::PromptKind::token_ids;
}

std::string placement_name(const config::MoeConfig& moe) {
  return moe.load_balancer.empty() ? "the map of the configuration" : moe.load_balancer;
}

void open_text(const config::RunConfig& config, RunFiles& files) {
  const std::string& model_dir = config.paths.model;
  const bool needs_tokenizer = files.prompts && files.prompts->with(hold_text);
  const std::string why = why_unreadable(model_dir + "/tokenizer.json");
  if (why.empty()) {
    files.tokenizer.emplace(text::Tokenizer::load(model_dir));
  } else if (needs_tokenizer) {
    fail(ErrorKind::missing, cat(why, "; expected the model's tokenizer, since ",
                                 config.paths.prompts, " holds texts and not token ids"));
  } else {
    files.warnings.push_back(cat(why, "; results have token ids and no text"));
  }
  files.chat_template = text::ChatTemplate::load(model_dir);
  if (files.prompts) {
    files.prompts->with([&files](io::PromptReader& reader) {
      require_usable_template(reader, files.chat_template);
      return true;
    });
  }
  const bool has_chats = files.prompts && files.prompts->with([](io::PromptReader& reader) {
    return reader.source() == io::PromptSource::messages;
  });
  if (has_chats && !files.chat_template) {
    files.warnings.push_back(cat(config.paths.prompts, " holds messages, but ", model_dir,
                                 " has no chat template: every row will be an error"));
  }
}

std::string sampling_text(const config::RunConfig& config) {
  Json values = Json::object();
  for (const config::Key& key : config::keys()) {
    if (key.topic == config::Topic::sampling) values[key.name] = config::value_json(key, config);
  }
  return values.dump(-1, ' ', true, Json::error_handler_t::replace);
}

std::optional<eplb::Placement> open_placement(const config::MoeConfig& moe,
                                              const checkpoint::ModelConfig& model,
                                              std::vector<std::string>& warnings) {
  if (moe.load_balancer.empty() && moe.load_balancer_text.empty()) return {};
  if (model.num_experts == 0) {
    fail(ErrorKind::config, cat("moe_config.load_balancer is ", placement_name(moe),
                                ", expected none, since ", model.architecture, " has no experts"));
  }
  eplb::Placement placement =
      (moe.load_balancer.empty()
           ? eplb::parse_placement(moe.load_balancer_text, placement_name(moe))
           : eplb::read_placement(moe.load_balancer))
          .placement;
  eplb::fill_assignments(placement, moe_layers_of(model), model.num_experts);
  if (placement.layer_updates_per_iter > 0) {
    warnings.push_back(cat(placement_name(moe), ": layer_updates_per_iter is ",
                           placement.layer_updates_per_iter,
                           "; this job keeps the placement that it starts with"));
  }
  return placement;
}

}  // namespace

void check_placement(const RunFiles& files, const config::RunConfig& config,
                     const topology::Sizes& sizes) {
  if (!files.placement) return;
  const std::vector<std::int32_t> layers = moe_layers_of(files.model);
  eplb::require_fit(*files.placement,
                    {.layers = layers,
                     .num_experts = files.model.num_experts,
                     .ep_size = sizes.moe_ep,
                     .model_hash = files.checkpoint.fingerprint()},
                    cat("moe_config.load_balancer: ", placement_name(config.moe)));
}

RunFiles open_run_files(const config::RunConfig& config, PromptUse use) {
  check_model_folder(config.paths.model);
  RunFiles files;
  files.model = checkpoint::load_model_config(config.paths.model, models::known_architectures());
  files.sampling = sampling_base(config.sampling, files.model);
  files.placement = open_placement(config.moe, files.model, files.warnings);
  if (use == PromptUse::none) return files;
  if (!config.paths.prompts.empty()) {
    check_prompt_file(config.paths.prompts);
    io::PromptReader reader = io::PromptReader::open(
        config.paths.prompts, {.allow_links = config.paths.allow_links,
                               .check_contents = use == PromptUse::checked_rows});
    files.num_prompts = reader.num_rows();
    if (config.paths.limit >= 0) {
      files.num_prompts = std::min(files.num_prompts, config.paths.limit);
    }
    files.warnings = reader.warnings();
    files.prompts = std::make_unique<SharedReader>(std::move(reader));
  }
  open_text(config, files);
  return files;
}

std::vector<std::pair<std::string, std::string>> identity_of(const config::RunConfig& config,
                                                             const RunFiles& files) {
  const std::string tokenizer = config.paths.model + "/tokenizer.json";
  return {{"input", io::sha256_of_file(config.paths.prompts)},
          {"model", files.checkpoint.fingerprint()},
          {"tokenizer", files.tokenizer ? io::sha256_of_file(tokenizer) : "none"},
          {"sampling", sampling_text(config)},
          {"limit", std::to_string(config.paths.limit)},
          {"schema", "trireme.results 1.0.0"}};
}

RequestMaker make_request_maker(const RunFiles& files, const std::string& model_dir,
                                std::int64_t unix_time, DomainNames& domains) {
  return [&files, &domains, model_dir, unix_time](const io::PromptRow& row) {
    engine::Request request;
    request.index = row.index;
    request.domain = domains.add(row.domain);
    request.attachment = std::make_shared<io::CustomId>(row.custom_id);
    request.error = row.error;
    if (request.error.empty() && row.kind == io::PromptKind::token_ids) {
      request.prompt_tokens = row.token_ids;
    } else if (request.error.empty() && !files.tokenizer) {
      request.error =
          cat("a text needs a tokenizer, but ", model_dir, "/tokenizer.json is not there");
    } else if (request.error.empty()) {
      PreparedPrompt prepared =
          prepare(row, *files.tokenizer, files.chat_template, model_dir, unix_time);
      request.prompt_tokens = std::move(prepared.token_ids);
      request.error = std::move(prepared.error);
    }
    apply_row(files.sampling, row.options, files.model.vocab_size, request);
    return request;
  };
}

}  // namespace trireme::job
