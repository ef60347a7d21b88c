#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "comm/mpi_comm.h"

namespace trireme::checkpoint {

/// One safetensors file as far as it is read on opening.
struct ShardText {
  std::string file_name;
  std::uint64_t file_bytes = 0;
  std::string header;  ///< its length is checked, its content is not
};

/// What the files of a model folder say about the tensors.
struct FolderTexts {
  std::map<std::string, std::string> file_of_tensor;  ///< from the index; empty: a single file
  std::vector<ShardText> shards;
};

/// Reads model.safetensors, or model.safetensors.index.json and the headers of the files it names.
/// With `node`, collective: its rank 0 reads, and an error of it is thrown on all in the same
/// words. Throws Error(missing), Error(io), Error(checkpoint).
FolderTexts read_folder(const std::string& model_dir, const comm::MpiComm* node);

}  // namespace trireme::checkpoint
