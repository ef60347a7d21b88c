#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/handle.h"
#include "comm/mpi_comm.h"
#include "tensor/tensor.h"

namespace trireme::checkpoint {

struct ShardText;

/// Where a stored tensor lies.
struct StoredTensor {
  DType dtype = DType::bfloat16;
  tensor::Shape shape;
  int file_idx = 0;
  std::uint64_t begin_bytes = 0;  ///< offset in the file
  std::uint64_t size_bytes = 0;
};

/// The tensors of a model folder: model.safetensors, or the shards that
/// model.safetensors.index.json names. Headers are read and checked on opening, data when asked
/// for.
class Checkpoint {
 public:
  /// With `node`, collective over the ranks of a node: its rank 0 alone reads the headers.
  /// Throws Error(missing) or Error(checkpoint) naming file, tensor and fault.
  static Checkpoint open(const std::string& model_dir, const comm::MpiComm* node = nullptr);

  /// Throws Error(checkpoint) that names the tensor and its nearest name if it is not there.
  const StoredTensor& find(const std::string& name) const;
  bool has(const std::string& name) const { return tensors_.contains(name); }
  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }
  std::int64_t file_bytes() const { return file_bytes_; }
  /// Bytes of headers that this rank read.
  std::int64_t header_bytes_read() const { return header_bytes_read_; }
  const std::string& model_dir() const { return model_dir_; }
  /// SHA-256 over names, dtypes, shapes and file sizes: what identifies the model's weights
  /// cheaply.
  std::string fingerprint() const;

  /// Reads `size` bytes of the tensor from `offset` on. Throws Error(io), Error(checkpoint) if the
  /// file ends early.
  void read(const StoredTensor& tensor, std::uint64_t offset, void* destination,
            std::uint64_t size) const;

 private:
  void add_file(const ShardText& shard, const std::map<std::string, std::string>& file_of_tensor);

  std::string model_dir_;
  std::vector<std::string> file_names_;
  std::vector<std::uint64_t> file_sizes_;
  std::vector<FileDescriptor> files_;
  std::map<std::string, StoredTensor> tensors_;
  std::map<std::string, std::string> unusable_;  // tensors that nobody may want, and why
  std::int64_t file_bytes_ = 0;
  std::int64_t header_bytes_read_ = 0;
};

}  // namespace trireme::checkpoint
