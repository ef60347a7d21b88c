#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "checkpoint/config_reader.h"
#include "checkpoint/files.h"
#include "checkpoint/json_file.h"
#include "checkpoint/safetensors.h"
#include "job/load_files_formats.h"

namespace trireme::job {
namespace {

using checkpoint::StoredTensor;

constexpr std::int64_t kMaxFiles = 65536;

/// A file of tensors that hold counts.
class CountTensors {
 public:
  explicit CountTensors(const std::string& path) : path_(path), file_(checkpoint::open_file(path)) {
    const std::uint64_t size = checkpoint::size_of_file(file_, path);
    std::string first(std::min<std::uint64_t>(size, 8), '\0');
    checkpoint::read_exactly(file_, path, 0, first.data(), first.size());
    std::string text(checkpoint::header_length(first, size, path), '\0');
    checkpoint::read_exactly(file_, path, 8, text.data(), text.size());
    checkpoint::SafetensorsHeader header = checkpoint::parse_safetensors_header(text, size, path);
    tensors_ = std::move(header.integers);
    for (const auto& [name, tensor] : header.tensors) {
      if (tensor.dtype != DType::float32) refuse(name, "is of 16 bits, expected I64, I32 or F32");
      tensors_[name] = tensor;
    }
    for (const auto& [name, why] : header.unusable) {
      if (!tensors_.contains(name)) refuse(name, cat(why, ", I32 or I64"));
    }
  }

  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }

  /// All values of a tensor, each checked.
  std::vector<double> read(const std::string& name, const StoredTensor& tensor) const {
    const std::uint64_t elements = tensor.size_bytes / size_of(tensor.dtype);
    if (elements > static_cast<std::uint64_t>(io::kMaxLoadCounts)) {
      refuse(name, cat("has the shape ", tensor.shape.text(), ", at most ", io::kMaxLoadCounts,
                       " counts are read"));
    }
    std::vector<double> values = tensor.dtype == DType::int64   ? read_as<std::int64_t>(tensor)
                                 : tensor.dtype == DType::int32 ? read_as<std::int32_t>(tensor)
                                                                : read_as<float>(tensor);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i] >= 0 && values[i] <= static_cast<double>(io::kMaxLoadSum)) continue;
      check_count(values[i], path_, cat("tensor \"", name, "\" element ", i));
    }
    return values;
  }

  [[noreturn]] void refuse(const std::string& name, const std::string& why) const {
    fail(ErrorKind::input, cat(path_, ": tensor \"", name.substr(0, 80), "\" ", why));
  }

 private:
  template <typename T>
  std::vector<double> read_as(const StoredTensor& tensor) const {
    std::vector<T> numbers(tensor.size_bytes / sizeof(T));
    checkpoint::read_exactly(file_, path_, tensor.begin_bytes, numbers.data(), tensor.size_bytes);
    std::vector<double> values(numbers.size());
    std::ranges::transform(numbers, values.begin(),
                           [](T number) { return static_cast<double>(number); });
    return values;
  }

  std::string path_;
  FileDescriptor file_;
  std::map<std::string, StoredTensor> tensors_;
};

/// Iteration and layer that a tensor of TensorRT-LLM is named after.
using Place = std::pair<std::int64_t, std::int32_t>;

std::optional<Place> place_of(const std::string& name) {
  constexpr std::int32_t kMaxLayerNumber = 65535;
  Place place;
  const char* const end = name.data() + name.size();
  const auto iteration = std::from_chars(name.data(), end, place.first);
  if (iteration.ec != std::errc() || iteration.ptr == end || *iteration.ptr != '_') return {};
  const auto layer = std::from_chars(iteration.ptr + 1, end, place.second);
  const bool is_place = layer.ec == std::errc() && layer.ptr == end && place.first >= 0 &&
                        place.second >= 0 && place.second <= kMaxLayerNumber;
  return is_place ? std::optional(place) : std::nullopt;
}

/// rank0.safetensors, rank1.safetensors, ...: without a hole, since a part that is missing would
/// give wrong loads that look right.
std::vector<std::string> rank_files(const std::string& folder) {
  std::vector<std::string> paths;
  for (std::int64_t rank = 0; rank < kMaxFiles; ++rank) {
    const std::string path = cat(folder, "/rank", rank, ".safetensors");
    if (!checkpoint::file_exists(path)) break;
    paths.push_back(path);
  }
  std::int64_t num_there = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    num_there += name.starts_with("rank") && name.ends_with(".safetensors") &&
                 !name.ends_with("_raw.safetensors");
  }
  if (paths.empty() || num_there != std::ssize(paths)) {
    fail(ErrorKind::input,
         cat(folder, ": has ", num_there, " files rank*.safetensors, expected those of all ranks, ",
             "and there is no rank", paths.size(), ".safetensors"));
  }
  return paths;
}

/// The counts of all ranks together, by iteration and layer.
class RankSums {
 public:
  explicit RankSums(std::int64_t num_experts) : num_experts_(num_experts) {}

  void add_file(const std::string& path) {
    const CountTensors file(path);
    for (const auto& [name, tensor] : file.tensors()) {
      const std::optional<Place> place = place_of(name);
      if (!place) file.refuse(name, "is not named <iteration>_<layer>, such as 100_3");
      if (tensor.shape.ndim() != 1 || tensor.shape[0] != num_experts_) {
        file.refuse(name, cat("has the shape ", tensor.shape.text(), ", expected [", num_experts_,
                              "]: num_experts of meta_info.json"));
      }
      std::vector<double>& sum = sums_[*place];
      if (sum.empty() && (std::ssize(sums_) > io::kMaxLoadCounts / num_experts_)) {
        file.refuse(name,
                    cat("is one of too many, at most ", io::kMaxLoadCounts, " counts are read"));
      }
      sum.resize(static_cast<std::size_t>(num_experts_), 0);
      const std::vector<double> values = file.read(name, tensor);
      for (std::size_t i = 0; i < values.size(); ++i) sum[i] += values[i];
    }
  }

  ForeignLoads finish(const std::string& folder) const {
    std::set<std::int64_t> iterations;
    std::set<std::int32_t> layers;
    for (const auto& [place, sum] : sums_) {
      iterations.insert(place.first);
      layers.insert(place.second);
    }
    StepSums sums(folder);
    for (const std::int64_t iteration : iterations) {
      std::vector<double> step;
      for (const std::int32_t layer : layers) {
        const auto found = sums_.find({iteration, layer});
        if (found == sums_.end()) {
          fail(ErrorKind::input, cat(folder, ": no rank has the tensor \"", iteration, "_", layer,
                                     "\", expected every layer in every iteration"));
        }
        step.insert(step.end(), found->second.begin(), found->second.end());
      }
      sums.add(step, std::ssize(layers), num_experts_);
    }
    return sums.finish({layers.begin(), layers.end()});
  }

 private:
  std::int64_t num_experts_;
  std::map<Place, std::vector<double>> sums_;
};

}  // namespace

ForeignLoads read_safetensors_loads(const std::string& path, std::int32_t first_layer) {
  const CountTensors file(path);
  if (file.tensors().size() != 1) {
    fail(ErrorKind::input,
         cat(path, ": holds ", file.tensors().size(),
             " tensors, expected one [layers, experts] or [steps, layers, experts]"));
  }
  const auto& [name, tensor] = *file.tensors().begin();
  const int ndim = tensor.shape.ndim();
  const std::int64_t num_layers = ndim < 2 ? 0 : tensor.shape[ndim - 2];
  const std::int64_t num_experts = ndim < 2 ? 0 : tensor.shape[ndim - 1];
  if (ndim < 2 || ndim > 3 || num_layers < 1 || num_layers > io::kMaxLoadLayers ||
      num_experts < 1 || num_experts > io::kMaxLoadExperts) {
    file.refuse(name, cat("has the shape ", tensor.shape.text(),
                          ", expected [layers, experts] or [steps, layers, experts]"));
  }
  const std::vector<double> values = file.read(name, tensor);
  const auto step_size = static_cast<std::size_t>(num_layers * num_experts);
  StepSums sums(path);
  for (std::size_t begin = 0; begin < values.size(); begin += step_size) {
    sums.add(std::span(values).subspan(begin, step_size), num_layers, num_experts);
  }
  return sums.finish(layers_from(first_layer, num_layers, path));
}

ForeignLoads read_statistics_folder(const std::string& path) {
  const std::string meta_path = path + "/meta_info.json";
  const Json document = checkpoint::read_json_object(meta_path);
  const checkpoint::ConfigReader meta(document, meta_path);
  RankSums sums(meta.integer({"num_experts"}, 1, io::kMaxLoadExperts));
  for (const std::string& file : rank_files(path)) sums.add_file(file);
  ForeignLoads foreign = sums.finish(path);
  foreign.loads.top_k =
      meta.find_integer({"num_experts_per_token"}, 1, foreign.loads.num_experts).value_or(0);
  return foreign;
}

}  // namespace trireme::job
