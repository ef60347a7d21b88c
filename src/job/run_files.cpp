#include "job/run_files.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "config/key_table.h"
#include "config/value.h"
#include "io/sha256.h"
#include "job/prompt_preparer.h"

namespace trireme::job {
namespace {

void open_text(const config::RunConfig& config, RunFiles& files) {
  const std::string& model_dir = config.paths.model;
  const bool needs_tokenizer = files.prompts && files.prompts->with([](io::PromptReader& reader) {
    return reader.source() != io::PromptSource::token_ids;
  });
  const bool has_tokenizer =
      std::filesystem::exists(std::filesystem::path(model_dir) / "tokenizer.json");
  if (has_tokenizer || needs_tokenizer) {
    files.tokenizer.emplace(text::Tokenizer::load(model_dir));  // names the file if it is not there
  } else {
    files.warnings.push_back(cat(model_dir,
                                 "/tokenizer.json is not there: results have token ids "
                                 "and no text"));
  }
  files.chat_template = text::ChatTemplate::load(model_dir);
}

std::string sampling_text(const config::RunConfig& config) {
  Json values = Json::object();
  for (const config::Key& key : config::keys()) {
    if (key.topic == config::Topic::sampling) values[key.name] = config::value_json(key, config);
  }
  return values.dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace

RunFiles open_run_files(const config::RunConfig& config, PromptUse use) {
  RunFiles files{checkpoint::load_model_config(config.paths.model),
                 checkpoint::Checkpoint::open(config.paths.model),
                 {},
                 {},
                 {},
                 nullptr,
                 0,
                 {}};
  files.sampling = sampling_base(config.sampling, files.model);
  if (use == PromptUse::none) return files;
  if (!config.paths.prompts.empty()) {
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
                                std::int64_t unix_time) {
  return [&files, model_dir, unix_time](const io::PromptRow& row) {
    engine::Request request;
    request.index = row.index;
    request.attachment = std::make_shared<io::CustomId>(row.custom_id);
    request.error = row.error;
    if (request.error.empty() && row.kind == io::PromptKind::token_ids) {
      request.prompt_tokens = row.token_ids;
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
