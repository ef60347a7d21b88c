/// Times the loading of weights into the host's memory and, in a CUDA build on a machine with one,
/// the GPU's, beside plain read() of the same files; all from the page cache.
///
/// usage: loading_bench [MODEL_DIR]   without: a file of 1 GiB of bfloat16 is made in the folder
/// for temporary files
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/handle.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/weight_loader.h"
#include "tensor/device.h"
#include "tests/support/safetensors_file.h"
#include "tests/support/temporary_directory.h"

namespace {

using namespace trireme;

constexpr int kNumRounds = 5;

void write_model(const test::TemporaryDirectory& directory) {
  std::vector<test::TestTensor> tensors;
  for (int i = 0; i < 32; ++i) {
    tensors.push_back(
        {cat("weight", i), "BF16", {4096, 4096}, std::string(std::size_t{32} << 20, 'x')});
  }
  directory.write("model.safetensors", test::safetensors_file(tensors));
}

/// Reads every weights file of a folder in blocks, as `dd bs=16M of=/dev/null` does.
double read_files(const std::string& model_dir) {
  std::vector<char> block(std::size_t{16} << 20);
  const double begin = monotonic_seconds();
  for (const auto& entry : std::filesystem::directory_iterator(model_dir)) {
    if (entry.path().extension() != ".safetensors") continue;
    const FileDescriptor file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) fail(ErrorKind::missing, cat(entry.path().string(), ": cannot be read"));
    while (::read(file.get(), block.data(), block.size()) > 0) {
    }
  }
  return monotonic_seconds() - begin;
}

double load(const checkpoint::Checkpoint& checkpoint,
            const checkpoint::WeightLoader::Options& options) {
  checkpoint::WeightLoader loader(checkpoint, nullptr, options);
  std::vector<tensor::Tensor> weights;
  for (const auto& [name, stored] : checkpoint.tensors()) {
    weights.push_back(loader.allocate(stored.shape, loader.dtype_of(name)));
    loader.want(name, stored.shape, {}, weights.back());
  }
  return loader.load().seconds;
}

/// Prints the median rate of the rounds and its share of `base_rate`, if that is given; returns the
/// rate.
double report(const std::string& what, std::int64_t bytes, std::optional<double> base_rate,
              const std::function<double()>& run) {
  std::vector<double> seconds;
  for (int round = 0; round < kNumRounds; ++round) seconds.push_back(run());
  std::ranges::sort(seconds);
  const double rate = static_cast<double>(bytes) / seconds[kNumRounds / 2] / 1e6;
  std::printf("%-36s %8.0f MB/s", what.c_str(), rate);
  if (base_rate) std::printf("  %5.2f of read()", rate / *base_rate);
  std::printf("\n");
  return rate;
}

void run(const std::string& model_dir) {
  const auto checkpoint = checkpoint::Checkpoint::open(model_dir);
  const std::int64_t bytes = checkpoint.file_bytes();
  std::printf("%s: %.0f MB, medians of %d rounds\n", model_dir.c_str(),
              static_cast<double>(bytes) / 1e6, kNumRounds);
  read_files(model_dir);  // into the page cache
  const double base =
      report("read(), one thread", bytes, {}, [&] { return read_files(model_dir); });
  const auto both_types = [&](const std::string& what, tensor::Place place) {
    report(what + ", as stored", bytes, base, [&] { return load(checkpoint, {.place = place}); });
    report(what + ", converted to float16", bytes, base,
           [&] { return load(checkpoint, {.place = place, .dtype = DType::float16}); });
  };
  both_types("to the host", tensor::Place::host);
  if constexpr (tensor::kHasCuda) {
    if (tensor::num_devices() > 0) {
      both_types("to " + tensor::device_name(), tensor::Place::device);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc > 1) {
      run(argv[1]);
    } else {
      const test::TemporaryDirectory directory;
      write_model(directory);
      run(directory.path());
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "loading_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
