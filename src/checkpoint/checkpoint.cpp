#include "checkpoint/checkpoint.h"

#include "base/error.h"
#include "base/nearest.h"
#include "checkpoint/files.h"
#include "checkpoint/folder.h"
#include "checkpoint/safetensors.h"
#include "io/sha256.h"

namespace trireme::checkpoint {

Checkpoint Checkpoint::open(const std::string& model_dir, const comm::MpiComm* node) {
  const FolderTexts texts = read_folder(model_dir, node);
  Checkpoint checkpoint;
  checkpoint.model_dir_ = model_dir;
  for (const ShardText& shard : texts.shards) {
    checkpoint.add_file(shard, texts.file_of_tensor);
    if (node == nullptr || !*node || node->rank() == 0) {
      checkpoint.header_bytes_read_ += static_cast<std::int64_t>(8 + shard.header.size());
    }
  }
  for (const auto& [tensor, file] : texts.file_of_tensor) {
    if (!checkpoint.tensors_.contains(tensor) && !checkpoint.unusable_.contains(tensor)) {
      fail(ErrorKind::checkpoint, cat(model_dir, "/", file, ": tensor \"", tensor,
                                      "\" is missing, which the index places there"));
    }
  }
  return checkpoint;
}

void Checkpoint::add_file(const ShardText& shard,
                          const std::map<std::string, std::string>& file_of_tensor) {
  const std::string path = model_dir_ + "/" + shard.file_name;
  const SafetensorsHeader header = parse_safetensors_header(shard.header, shard.file_bytes, path);
  FileDescriptor file = open_file(path);
  const std::uint64_t size = size_of_file(file, path);
  if (size != shard.file_bytes) {
    fail(ErrorKind::checkpoint, cat(path, ": is ", size, " bytes long, expected ", shard.file_bytes,
                                    ": the file changed while it was read"));
  }
  // With an index, a tensor counts where the index places it.
  const auto is_ours = [&](const std::string& tensor) {
    if (file_of_tensor.empty()) return true;
    const auto found = file_of_tensor.find(tensor);
    return found != file_of_tensor.end() && found->second == shard.file_name;
  };
  for (const auto& [name, stored] : header.tensors) {
    if (!is_ours(name)) continue;
    tensors_[name] = stored;
    tensors_[name].file_idx = static_cast<int>(files_.size());
  }
  for (const auto& [name, reason] : header.unusable) {
    if (is_ours(name)) unusable_[name] = cat(path, ": tensor \"", name, "\" ", reason);
  }
  file_bytes_ += static_cast<std::int64_t>(size);
  file_names_.push_back(shard.file_name);
  file_sizes_.push_back(size);
  files_.push_back(std::move(file));
}

std::string Checkpoint::fingerprint() const {
  io::Sha256 hash;
  for (const std::uint64_t size : file_sizes_) hash.update(cat("file ", size, "\n"));
  for (const auto& [name, stored] : tensors_) {
    hash.update(
        cat(name.size(), " ", name, " ", name_of(stored.dtype), " ", stored.shape.text(), "\n"));
  }
  for (const auto& [name, reason] : unusable_) hash.update(cat(name.size(), " ", name, "\n"));
  return hash.hex_digest();
}

const StoredTensor& Checkpoint::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  const auto unusable = unusable_.find(name);
  if (unusable != unusable_.end()) fail(ErrorKind::checkpoint, unusable->second);
  std::vector<std::string> names;
  for (const auto& [known, stored] : tensors_) names.push_back(known);
  const std::string nearest = nearest_name(name, names);
  fail(ErrorKind::checkpoint,
       cat(model_dir_, ": tensor \"", name, "\" is missing",
           nearest.empty() ? "" : cat(" (the nearest there is \"", nearest, "\")")));
}

void Checkpoint::read(const StoredTensor& tensor, std::uint64_t offset, void* destination,
                      std::uint64_t size) const {
  TRIREME_CHECK(offset <= tensor.size_bytes && size <= tensor.size_bytes - offset,
                "offset=", offset, " size=", size, " tensor=", tensor.size_bytes);
  const auto file = static_cast<std::size_t>(tensor.file_idx);
  read_exactly(files_[file], model_dir_ + "/" + file_names_[file], tensor.begin_bytes + offset,
               destination, size);
}

}  // namespace trireme::checkpoint
