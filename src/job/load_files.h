#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/expert_loads.h"

namespace trireme::job {

/// Reads loads of one model and adds them up (io::merge_loads). Each path is one of these, which
/// its content tells:
///   our own HDF5 file (io::read_expert_loads)
///   a folder of TensorRT-LLM's statistics: meta_info.json and rank<r>.safetensors, which hold the
///     choices of each rank's tokens; the ranks are added up
///   safetensors with one tensor [layers, experts] or [steps, layers, experts] (vLLM)
///   JSON with logical_count of these shapes (SGLang)
///   JSON with load_history, a list of {logical_expert_load: [layers][experts]} (the ADRS traces)
/// Steps of the last four become windows: 100 steps each where there are at least 200, else one
/// each. Rows of nothing but zeros, which SGLang has for layers without experts, are left out.
/// Formats whose rows are not numbered by the model begin with layer `first_layer`. Values with
/// fractions, which are averages, are kept in 1024ths, and only alone.
/// Throws Error(missing), Error(io), and Error(input) or Error(checkpoint) that name file, object
/// and value.
io::ExpertLoads read_loads(const std::vector<std::string>& paths, std::int32_t first_layer = 0);

}  // namespace trireme::job
