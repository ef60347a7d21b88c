#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "checkpoint/checkpoint.h"

namespace trireme::checkpoint {

/// What one safetensors file says it holds, checked.
struct SafetensorsHeader {
  std::map<std::string, StoredTensor> tensors;  ///< offsets from the file's begin; file_idx 0
  /// Tensors that cannot be used (another dtype, more than four dimensions) and why; no fault as
  /// long as nobody wants them.
  std::map<std::string, std::string> unusable;
  /// Those of them that hold int32 or int64 in at most four dimensions: no weights, but counts.
  std::map<std::string, StoredTensor> integers = {};
};

/// Bytes that a header may have.
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

/// Length of the header that the file's first eight bytes announce. Throws Error(checkpoint) if it
/// is not in 2..kMaxHeaderBytes or goes beyond the file.
std::uint64_t header_length(std::string_view first_8_bytes, std::uint64_t file_size,
                            const std::string& path);

/// Checks the header's text and the tensors' places in a file of `file_size` bytes: contiguous from
/// the header's end to the file's end, without overlap or hole, each as long as dtype and shape
/// say. Throws Error(checkpoint) naming file, tensor and fault. Source: safetensors README,
/// "Format".
SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t file_size,
                                           const std::string& path);

}  // namespace trireme::checkpoint
