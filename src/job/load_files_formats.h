#pragma once

#include <cstdint>
#include <string>

#include "job/load_files_steps.h"

// The readers of single formats.

namespace trireme::job {

/// SGLang's logical_count or the ADRS traces' load_history. The text is read as a stream: memory
/// does not grow with the number of steps.
ForeignLoads read_json_loads(const std::string& path, std::int32_t first_layer);

/// A file with one tensor.
ForeignLoads read_safetensors_loads(const std::string& path, std::int32_t first_layer);

/// A folder of TensorRT-LLM's statistics.
ForeignLoads read_statistics_folder(const std::string& path);

}  // namespace trireme::job
