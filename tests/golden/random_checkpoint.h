#pragma once

#include <functional>
#include <string>

#include "base/json.h"

namespace trireme::test {

/// Writes DIR/config.json and DIR/model.safetensors with random weights for a config.json of the
/// families with q and k norms and experts (OLMoE, Qwen3-MoE). The values are multiples of 1/64
/// below 1: the same in every type.
///   dtype_of  "F32", "BF16" or "F16" for a tensor's name
void write_random_checkpoint(const std::string& directory, const Json& config,
                             const std::function<std::string(const std::string&)>& dtype_of);

}  // namespace trireme::test
