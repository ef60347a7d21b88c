#pragma once

#include <cstdint>
#include <string>

namespace trireme::io {

/// Bytes that the file system of `path` (a directory, or a file whose directory counts) has left
/// for this user. Throws Error(missing).
std::uint64_t free_disk_bytes(const std::string& path);

/// What a run will write at most beside small change.
struct DiskDemand {
  std::int64_t num_rows = 0;        ///< prompts × samples
  std::int64_t tokens_per_row = 0;  ///< max_tokens
  std::int64_t prompt_tokens = 0;   ///< all rows together, if their log-probabilities are kept
  bool logprobs = false;
  std::int64_t top_k = 0;
};

/// Bytes of journals and result file together. Saturates instead of overflowing.
std::uint64_t disk_space_needed(const DiskDemand& demand);

/// Throws Error(io), which names both figures and the path, if `needed` bytes are not free there.
void check_disk_space(const std::string& path, std::uint64_t needed);

}  // namespace trireme::io
