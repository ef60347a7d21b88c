#pragma once

#include "models/decoder.h"

/// One function a family of architectures, each in a file of its own: what its decoder is like.
/// They throw Error(checkpoint) for what config.json asks of the family and is not supported.
namespace trireme::models {

DecoderDesign llama(const checkpoint::ModelConfig& config);  ///< Llama 2 and 3, Mistral
DecoderDesign qwen2(const checkpoint::ModelConfig& config);
DecoderDesign qwen3(const checkpoint::ModelConfig& config);
DecoderDesign mixtral(const checkpoint::ModelConfig& config);
DecoderDesign qwen3_moe(const checkpoint::ModelConfig& config);
DecoderDesign olmoe(const checkpoint::ModelConfig& config);

/// What the model's architecture makes of its config.json. Throws as make_model().
DecoderDesign design_of(const checkpoint::ModelConfig& config);

/// Whether config.json gives the key, with a value other than null.
bool is_given(const checkpoint::ModelConfig& config, const char* key);

/// Throws Error(checkpoint) if the key has a value other than null, false and `harmless`.
void refuse_key(const checkpoint::ModelConfig& config, const char* key,
                const Json& harmless = false);

}  // namespace trireme::models
