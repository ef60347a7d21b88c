#pragma once

#include <cstdint>
#include <string>

#include "base/handle.h"

namespace trireme::checkpoint {

/// Opens a regular file for reading. Throws Error(missing) naming the path and the reason.
FileDescriptor open_file(const std::string& path);

/// Size in bytes. Throws Error(missing) if it is not a regular file.
std::uint64_t size_of_file(const FileDescriptor& file, const std::string& path);

/// Reads exactly `size` bytes at `offset`. Throws Error(io), or Error(checkpoint) if the file ends
/// before.
void read_exactly(const FileDescriptor& file, const std::string& path, std::uint64_t offset,
                  void* destination, std::uint64_t size);

/// A whole small file. Throws Error(missing), or Error(checkpoint) above `max_bytes`.
std::string read_text_file(const std::string& path, std::uint64_t max_bytes);

bool file_exists(const std::string& path);

}  // namespace trireme::checkpoint
