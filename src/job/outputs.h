#pragma once

#include <cstdint>
#include <string>

#include "config/run_config.h"
#include "job/run_files.h"

namespace trireme::job {

/// Rule 17 of DESIGN section 3, without making anything: output, expert loads and run directory lie
/// in folders that can be written and are not there yet, or may be replaced (`overwrite`), and are
/// none of the files that the run reads. `config` is resolved. Throws Error(output).
void check_outputs(const config::RunConfig& config, const checkpoint::ModelConfig& model);

/// Where the expert loads go; empty: nowhere.
std::string loads_path(const config::IoPaths& paths, const checkpoint::ModelConfig& model);

/// Bytes that journals and results will need about: the allowed output of the first rows, taken for
/// all of them. `max_seq_len` bounds a row.
std::uint64_t disk_space_needed(const RunFiles& files, std::int64_t max_seq_len);

}  // namespace trireme::job
