#include "checkpoint/checkpoint.h"

#include <array>
#include <set>

#include "base/error.h"
#include "base/nearest.h"
#include "checkpoint/config_reader.h"
#include "checkpoint/files.h"
#include "checkpoint/json_file.h"
#include "checkpoint/safetensors.h"

namespace trireme::checkpoint {
namespace {

constexpr std::size_t kMaxFiles = 10000;

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

std::map<std::string, std::string> read_index(const std::string& path) {
  const Json index =
      parse_object(read_text_file(path, kMaxHeaderBytes), path, {.max_bytes = kMaxHeaderBytes});
  const ConfigReader reader(index, path);
  const Json* map = reader.find_object("weight_map");
  if (map == nullptr || map->empty()) {
    fail(ErrorKind::checkpoint, cat(path, ": weight_map is missing or empty"));
  }
  std::map<std::string, std::string> result;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) reader.refuse(cat("weight_map[\"", tensor, "\"]"), file, "a file name");
    result[tensor] = file.get<std::string>();
    check_file_name(result[tensor], cat(path, ": weight_map[\"", tensor, "\"]"));
  }
  return result;
}

}  // namespace

Checkpoint Checkpoint::open(const std::string& model_dir) {
  Checkpoint checkpoint;
  checkpoint.model_dir_ = model_dir;
  const std::string single = "model.safetensors";
  const std::string index = model_dir + "/model.safetensors.index.json";
  if (file_exists(model_dir + "/" + single)) {
    checkpoint.add_file(single, nullptr);
    return checkpoint;
  }
  if (!file_exists(index)) {
    fail(ErrorKind::missing,
         cat(model_dir, ": holds neither ", single,
             " nor model.safetensors.index.json, expected a model folder (model)"));
  }
  const std::map<std::string, std::string> weight_map = read_index(index);
  std::set<std::string> file_names;
  for (const auto& [tensor, file] : weight_map) file_names.insert(file);
  if (file_names.size() > kMaxFiles) {
    fail(ErrorKind::checkpoint,
         cat(index, ": names ", file_names.size(), " files, expected at most ", kMaxFiles));
  }
  for (const std::string& name : file_names) checkpoint.add_file(name, &weight_map);
  for (const auto& [tensor, file] : weight_map) {
    if (!checkpoint.tensors_.contains(tensor) && !checkpoint.unusable_.contains(tensor)) {
      fail(ErrorKind::checkpoint, cat(model_dir, "/", file, ": tensor \"", tensor,
                                      "\" is missing, which ", index, " places there"));
    }
  }
  return checkpoint;
}

void Checkpoint::add_file(const std::string& file_name,
                          const std::map<std::string, std::string>* weight_map) {
  const std::string path = model_dir_ + "/" + file_name;
  FileDescriptor file = open_file(path);
  const std::uint64_t size = size_of_file(file, path);
  std::array<char, 8> first{};
  read_exactly(file, path, 0, first.data(), std::min<std::uint64_t>(size, first.size()));
  std::string text(header_length({first.data(), first.size()}, size, path), '\0');
  read_exactly(file, path, 8, text.data(), text.size());
  const SafetensorsHeader header = parse_safetensors_header(text, size, path);

  // With an index, a tensor counts where the index places it.
  const auto is_ours = [&](const std::string& tensor) {
    if (weight_map == nullptr) return true;
    const auto found = weight_map->find(tensor);
    return found != weight_map->end() && found->second == file_name;
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
  file_names_.push_back(file_name);
  files_.push_back(std::move(file));
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
