#include <array>
#include <iterator>
#include <string_view>

#include "base/error.h"
#include "checkpoint/config_reader.h"
#include "models/families.h"
#include "models/model.h"

namespace trireme::models {
namespace {

struct Entry {
  std::string_view architecture;
  DecoderDesign (*design)(const checkpoint::ModelConfig&);
};

constexpr Entry kRegistry[] = {
    {"LlamaForCausalLM", llama},     {"MistralForCausalLM", llama},
    {"Qwen2ForCausalLM", qwen2},     {"Qwen3ForCausalLM", qwen3},
    {"MixtralForCausalLM", mixtral}, {"Qwen3MoeForCausalLM", qwen3_moe},
    {"OlmoeForCausalLM", olmoe},
};

constexpr auto kArchitectures = [] {
  std::array<std::string_view, std::size(kRegistry)> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kRegistry[i].architecture;
  return names;
}();

}  // namespace

std::span<const std::string_view> known_architectures() { return kArchitectures; }

bool is_given(const checkpoint::ModelConfig& config, const char* key) {
  const auto found = config.raw.find(key);
  return found != config.raw.end() && !found->is_null();
}

void refuse_key(const checkpoint::ModelConfig& config, const char* key, const Json& harmless) {
  if (!is_given(config, key) || config.raw[key] == false || config.raw[key] == harmless) return;
  fail(ErrorKind::checkpoint,
       cat(config.model_dir, "/config.json: ", key, " is ", checkpoint::shown(config.raw[key]),
           ", which is not supported for ", config.architecture));
}

DecoderDesign design_of(const checkpoint::ModelConfig& config) {
  for (const Entry& entry : kRegistry) {
    if (entry.architecture != config.architecture) continue;
    refuse_key(config, "partial_rotary_factor", 1.0);
    if (config.num_shared_experts > 0) {
      fail(ErrorKind::checkpoint,
           cat(config.model_dir, "/config.json: n_shared_experts is ", config.num_shared_experts,
               ", expected none for ", config.architecture));
    }
    return entry.design(config);
  }
  std::string names;
  for (const std::string_view name : kArchitectures) names += cat(names.empty() ? "" : ", ", name);
  fail(ErrorKind::checkpoint, cat(config.model_dir, "/config.json: architectures is \"",
                                  config.architecture, "\", expected one of ", names));
}

std::unique_ptr<CausalLm> make_model(const checkpoint::ModelConfig& config,
                                     const BuildOptions& options,
                                     checkpoint::WeightLoader& loader) {
  return std::make_unique<Decoder>(design_of(config), options, loader);
}

}  // namespace trireme::models
