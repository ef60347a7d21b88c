#include "checkpoint/folder.h"

#include <algorithm>
#include <array>
#include <set>

#include "base/error.h"
#include "checkpoint/config_reader.h"
#include "checkpoint/files.h"
#include "checkpoint/json_file.h"
#include "checkpoint/safetensors.h"

namespace trireme::checkpoint {
namespace {

constexpr std::size_t kMaxFiles = 10000;
constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

/// Only names of files that stand in the folder itself: an index must not reach another path.
void check_file_name(const std::string& name, const std::string& where) {
  const bool plain = !name.empty() && name.front() != '.' && name.size() <= 255 &&
                     name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos &&
                     name.ends_with(".safetensors");
  if (!plain) {
    fail(ErrorKind::checkpoint,
         cat(where, ": file name ", shown(name), ", expected NAME.safetensors inside the folder"));
  }
}

std::map<std::string, std::string> parse_index(const std::string& text, const std::string& path) {
  const Json index = parse_object(text, path, {.max_bytes = kMaxHeaderBytes});
  const ConfigReader reader(index, path);
  const Json* map = reader.find_object("weight_map");
  if (map == nullptr || map->empty()) {
    fail(ErrorKind::checkpoint, cat(path, ": weight_map is missing or empty"));
  }
  std::map<std::string, std::string> result;
  for (const auto& [tensor, file] : map->items()) {
    const std::string where = cat("weight_map[", shown(tensor), "]");
    if (!file.is_string()) reader.refuse(where, file, "a file name");
    result[tensor] = file.get<std::string>();
    check_file_name(result[tensor], cat(path, ": ", where));
  }
  return result;
}

ShardText read_shard(const std::string& model_dir, const std::string& file_name) {
  const std::string path = model_dir + "/" + file_name;
  const FileDescriptor file = open_file(path);
  const std::uint64_t size = size_of_file(file, path);
  std::array<char, 8> first{};
  read_exactly(file, path, 0, first.data(), std::min<std::uint64_t>(size, first.size()));
  ShardText shard{file_name, size, {}};
  shard.header.resize(header_length({first.data(), first.size()}, size, path));
  read_exactly(file, path, first.size(), shard.header.data(), shard.header.size());
  return shard;
}

FolderTexts read_here(const std::string& model_dir) {
  FolderTexts texts;
  if (file_exists(model_dir + "/" + kSingle)) {
    texts.shards.push_back(read_shard(model_dir, kSingle));
    return texts;
  }
  const std::string index = model_dir + "/" + kIndex;
  if (!file_exists(index)) {
    fail(ErrorKind::missing, cat(model_dir, ": holds neither ", kSingle, " nor ", kIndex,
                                 ", expected a model folder (model)"));
  }
  texts.file_of_tensor = parse_index(read_text_file(index, kMaxHeaderBytes), index);
  std::set<std::string> names;
  for (const auto& [tensor, file] : texts.file_of_tensor) names.insert(file);
  if (names.size() > kMaxFiles) {
    fail(ErrorKind::checkpoint,
         cat(index, ": names ", names.size(), " files, expected at most ", kMaxFiles));
  }
  for (const std::string& name : names) texts.shards.push_back(read_shard(model_dir, name));
  return texts;
}

/// Strings one after the other, each with its length before it.
class Packer {
 public:
  void add(const std::string& text) {
    const std::uint64_t size = text.size();
    bytes_.append(reinterpret_cast<const char*>(&size), sizeof(size)).append(text);
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class Unpacker {
 public:
  explicit Unpacker(const std::string& bytes) : bytes_(bytes) {}
  bool at_end() const { return at_ == bytes_.size(); }
  std::string next() {
    std::uint64_t size = 0;
    bytes_.copy(reinterpret_cast<char*>(&size), sizeof(size), at_);
    at_ += sizeof(size) + size;
    return bytes_.substr(at_ - size, size);
  }

 private:
  const std::string& bytes_;
  std::size_t at_ = 0;
};

std::string pack(const FolderTexts& texts) {
  Packer packer;
  packer.add("");  // no error
  packer.add(std::to_string(texts.file_of_tensor.size()));
  for (const auto& [tensor, file] : texts.file_of_tensor) {
    packer.add(tensor);
    packer.add(file);
  }
  for (const ShardText& shard : texts.shards) {
    packer.add(shard.file_name);
    packer.add(std::to_string(shard.file_bytes));
    packer.add(shard.header);
  }
  return packer.take();
}

std::string pack_error(const Error& error) {
  Packer packer;
  packer.add(error.what());
  packer.add(std::to_string(static_cast<int>(error.kind())));
  return packer.take();
}

FolderTexts unpack(const std::string& bytes) {
  Unpacker unpacker(bytes);
  const std::string error = unpacker.next();
  if (!error.empty()) fail(static_cast<ErrorKind>(std::stoi(unpacker.next())), error);
  FolderTexts texts;
  for (std::uint64_t left = std::stoull(unpacker.next()); left > 0; --left) {
    std::string tensor = unpacker.next();
    texts.file_of_tensor[std::move(tensor)] = unpacker.next();
  }
  while (!unpacker.at_end()) {
    ShardText shard;
    shard.file_name = unpacker.next();
    shard.file_bytes = std::stoull(unpacker.next());
    shard.header = unpacker.next();
    texts.shards.push_back(std::move(shard));
  }
  return texts;
}

}  // namespace

FolderTexts read_folder(const std::string& model_dir, const comm::MpiComm* node) {
  if (node == nullptr || !*node || node->size() == 1) return read_here(model_dir);
  std::string bytes;
  if (node->rank() == 0) {
    try {
      bytes = pack(read_here(model_dir));
    } catch (const Error& error) {
      bytes = pack_error(error);
    }
  }
  return unpack(node->broadcast(bytes, 0));
}

}  // namespace trireme::checkpoint
