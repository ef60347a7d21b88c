#include "job/load_files.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "checkpoint/files.h"
#include "job/load_files_formats.h"

namespace trireme::job {
namespace {

enum class Format { hdf5, statistics_folder, safetensors, json, torch, unknown };

std::string first_bytes(const std::string& path) {
  const FileDescriptor file = checkpoint::open_file(path);
  const std::uint64_t size = checkpoint::size_of_file(file, path);
  std::string bytes(std::min<std::uint64_t>(size, 256), '\0');
  checkpoint::read_exactly(file, path, 0, bytes.data(), bytes.size());
  return bytes;
}

bool ends_with_any(const std::string& path, std::initializer_list<const char*> ends) {
  return std::ranges::any_of(ends, [&](const char* end) { return path.ends_with(end); });
}

/// The content tells; the name only where there is no sign in it.
Format format_of(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return Format::statistics_folder;
  const std::string bytes = first_bytes(path);
  if (bytes.starts_with("\x89HDF\r\n\x1a\n") || ends_with_any(path, {".h5", ".hdf5"})) {
    return Format::hdf5;
  }
  // torch.save writes a zip archive, or, long ago, a bare pickle.
  if (bytes.starts_with("PK\x03\x04") || bytes.starts_with("\x80\x02") ||
      ends_with_any(path, {".pt", ".pth", ".pkl"})) {
    return Format::torch;
  }
  // A length of 64 bits, then the header.
  const bool has_header =
      bytes.size() > 8 && bytes[8] == '{' && bytes.substr(5, 3) == std::string(3, '\0');
  if (path.ends_with(".safetensors") || has_header) return Format::safetensors;
  const std::size_t first = bytes.find_first_not_of(" \t\r\n");
  const bool is_json = first != std::string::npos && (bytes[first] == '{' || bytes[first] == '[');
  return is_json || path.ends_with(".json") ? Format::json : Format::unknown;
}

[[noreturn]] void refuse_torch(const std::string& path) {
  fail(ErrorKind::input,
       cat(path,
           ": is a file of torch.save, which may hold programs and is not read, expected "
           "JSON; convert it with: python3 -c \"import json, torch; json.dump("
           "{'logical_count': torch.load('",
           path, "', weights_only=True)['logical_count'].tolist()}, open('loads.json', 'w'))\""));
}

ForeignLoads read_one(const std::string& path, std::int32_t first_layer) {
  switch (format_of(path)) {
    case Format::hdf5:
      return {io::read_expert_loads(path), false};
    case Format::statistics_folder:
      return read_statistics_folder(path);
    case Format::safetensors:
      return read_safetensors_loads(path, first_layer);
    case Format::json:
      return read_json_loads(path, first_layer);
    case Format::torch:
      refuse_torch(path);
    case Format::unknown:
      break;
  }
  fail(ErrorKind::input,
       cat(path,
           ": is no file of expert loads, expected HDF5 of trireme, a folder with "
           "meta_info.json of TensorRT-LLM, safetensors or JSON"));
}

}  // namespace

io::ExpertLoads read_loads(const std::vector<std::string>& paths, std::int32_t first_layer) {
  TRIREME_CHECK(!paths.empty(), "no paths");
  std::vector<io::ExpertLoads> all;
  for (const std::string& path : paths) {
    ForeignLoads one = read_one(path, first_layer);
    if (one.is_scaled && paths.size() > 1) {
      fail(ErrorKind::input, cat(path,
                                 ": holds values with fractions, so averages, which cannot "
                                 "be added to the counts of other files; plan from it alone"));
    }
    all.push_back(std::move(one.loads));
  }
  if (all.size() == 1) return std::move(all.front());
  return io::merge_loads(all, paths);
}

}  // namespace trireme::job
