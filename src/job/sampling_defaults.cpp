#include "job/sampling_defaults.h"

#include <cmath>

#include "base/error.h"

namespace trireme::job {
namespace {

template <typename T, typename U>
void put(const std::optional<T>& given, U& value) {
  if (given) value = static_cast<U>(*given);
}

// A number of generation_config.json in its range; null and absent keep the value.
template <typename T>
void read(const Json& generation, const char* key, double low, double high, T& value) {
  if (!generation.is_object()) return;
  const auto found = generation.find(key);
  if (found == generation.end() || found->is_null()) return;
  const double number = found->is_number() ? found->get<double>() : std::nan("");
  if (!(number >= low && number <= high)) {
    fail(ErrorKind::checkpoint,
         cat("generation_config.json: ", key, " is ", found->dump(), ", expected a number from ",
             low, " to ", high,
             "; a value in the run's configuration does not help, mend the file"));
  }
  value = static_cast<T>(number);
}

void read_generation_config(const Json& generation, engine::SamplingParams& params) {
  if (!generation.is_object()) return;
  // With do_sample false transformers decodes greedily, whatever temperature stands there.
  const auto do_sample = generation.find("do_sample");
  if (do_sample != generation.end() && do_sample->is_boolean() && !do_sample->get<bool>()) {
    params.temperature = 0;
  }
  if (params.temperature > 0) {
    read(generation, "temperature", 0, 1e4, params.temperature);
    if (params.temperature < 0.01) params.temperature = 0;
    read(generation, "top_p", 1e-6, 1, params.top_p);
    read(generation, "top_k", 0, 1e9, params.top_k);
    read(generation, "min_p", 0, 1, params.min_p);
  }
  read(generation, "repetition_penalty", 1e-6, 1e6, params.repetition_penalty);
  read(generation, "max_new_tokens", 0, 1e9, params.max_tokens);
  read(generation, "min_new_tokens", 0, 1e9, params.min_tokens);
}

void check_ids(const engine::SamplingParams& params, std::int64_t vocab_size,
               engine::Request& request) {
  const auto is_bad = [vocab_size](std::int32_t id) { return id < 0 || id >= vocab_size; };
  const auto complain = [&](const char* what, std::int32_t id) {
    request.error =
        cat(what, " holds token id ", id, ", but the model has ", vocab_size, " tokens");
  };
  for (const std::int32_t id : request.prompt_tokens) {
    if (is_bad(id)) return complain("the prompt", id);
  }
  for (const std::int32_t id : params.stop_token_ids) {
    if (is_bad(id)) return complain("stop_token_ids", id);
  }
  for (const auto& [id, bias] : params.logit_bias) {
    if (is_bad(id)) return complain("logit_bias", id);
  }
}

}  // namespace

SamplingBase sampling_base(const config::SamplingDefaults& given,
                           const checkpoint::ModelConfig& model) {
  SamplingBase base;
  engine::SamplingParams& params = base.params;
  params.temperature = 1;
  read_generation_config(model.generation, params);
  put(given.max_tokens, params.max_tokens);
  put(given.min_tokens, params.min_tokens);
  put(given.temperature, params.temperature);
  put(given.top_p, params.top_p);
  put(given.top_k, params.top_k);
  put(given.min_p, params.min_p);
  put(given.seed, params.seed);
  put(given.n, base.num_samples);
  put(given.ignore_eos, params.ignore_eos);
  put(given.logprobs, params.logprobs);
  put(given.prompt_logprobs, params.prompt_logprobs);
  put(given.presence_penalty, params.presence_penalty);
  put(given.frequency_penalty, params.frequency_penalty);
  put(given.repetition_penalty, params.repetition_penalty);
  params.stop = given.stop;
  return base;
}

void apply_row(const SamplingBase& base, const io::RowOptions& row, std::int64_t vocab_size,
               engine::Request& request) {
  request.params = base.params;
  std::int64_t num_samples = base.num_samples;
  engine::SamplingParams& params = request.params;
  put(row.n, num_samples);
  put(row.max_tokens, params.max_tokens);
  put(row.min_tokens, params.min_tokens);
  put(row.temperature, params.temperature);
  put(row.top_p, params.top_p);
  put(row.top_k, params.top_k);
  put(row.min_p, params.min_p);
  put(row.seed, params.seed);
  put(row.ignore_eos, params.ignore_eos);
  put(row.logprobs, params.logprobs);
  put(row.prompt_logprobs, params.prompt_logprobs);
  put(row.presence_penalty, params.presence_penalty);
  put(row.frequency_penalty, params.frequency_penalty);
  put(row.repetition_penalty, params.repetition_penalty);
  if (row.stop) params.stop = *row.stop;
  if (row.stop_token_ids) params.stop_token_ids = *row.stop_token_ids;
  if (row.logit_bias) params.logit_bias = *row.logit_bias;
  request.num_samples = static_cast<std::int32_t>(num_samples);
  if (!request.error.empty()) return;

  check_ids(params, vocab_size, request);
  if (request.error.empty() && params.min_tokens > params.max_tokens) {
    request.error = cat("min_tokens is ", params.min_tokens, ", expected at most max_tokens, ",
                        params.max_tokens);
  }
  params.logprobs = static_cast<std::int32_t>(std::min<std::int64_t>(params.logprobs, vocab_size));
}

}  // namespace trireme::job
