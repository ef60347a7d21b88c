// Writes loads files for the end-to-end test of `eplb`, sound and broken ones.
//
// usage: e2e_eplb_loads FOLDER
//   loads.h5      3 layers (1, 2, 4), 8 experts, 2 domains, choices of 64 tokens on 4 ranks
//   other.h5      the same of another model
//   plain.h5      nothing but /expert_loads
//   half.h5       the first 60 % of loads.h5
//   shape.h5, negative.h5, nan.h5, layers.h5, zero.h5    broken as they are called
#include <filesystem>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "io/expert_loads.h"
#include "support/hdf5_builder.h"

namespace {

using trireme::io::ExpertLoads;
using trireme::test::Hdf5Builder;

constexpr int kExperts = 8, kTopK = 2, kTokens = 64, kRanks = 4;

/// Popularity of an expert: domain 0 likes the first experts, domain 1 the last.
int weight(int domain, int layer, int expert) {
  const int place = (expert + 3 * layer) % kExperts;
  return 1000 / (1 + (domain == 0 ? place : kExperts - 1 - place));
}

ExpertLoads sound_loads() {
  ExpertLoads loads;
  loads.model_name = "models/made-up";
  loads.model_hash = "0123abcd";
  loads.top_k = kTopK;
  loads.num_experts = kExperts;
  loads.layer_index = {1, 2, 4};
  loads.window_seconds = {0};
  loads.domains = {"law", "poetry"};
  for (int domain = 0; domain < 2; ++domain) {
    for (int layer = 0; layer < 3; ++layer) {
      for (int expert = 0; expert < kExperts; ++expert) {
        loads.by_domain.push_back(weight(domain, layer, expert));
      }
    }
  }
  const std::size_t half = loads.by_domain.size() / 2;
  for (std::size_t i = 0; i < half; ++i) {
    loads.counts.push_back(loads.by_domain[i] + loads.by_domain[i + half]);
  }
  for (int layer = 0; layer < 3; ++layer) {
    auto& choices = loads.choices.emplace_back();
    for (int token = 0; token < kTokens; ++token) {
      choices.push_back(static_cast<std::int16_t>((token * token + layer) % kExperts));
      choices.push_back(static_cast<std::int16_t>((token * token + layer + 1) % kExperts));
    }
  }
  for (int token = 0; token < kTokens; ++token) loads.choices_home.push_back(token % kRanks);
  return loads;
}

void write_counts(const std::string& path, const std::vector<std::int64_t>& counts) {
  Hdf5Builder file(path);
  file.declared("/expert_loads", {1, counts.size()}, H5T_STD_I64LE);
  const hid_t dataset = H5Dopen2(file.file(), "/expert_loads", H5P_DEFAULT);
  H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, counts.data());
  H5Dclose(dataset);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: e2e_eplb_loads FOLDER\n";
    return 64;
  }
  const std::string folder = std::string(argv[1]) + "/";
  ExpertLoads loads = sound_loads();
  trireme::io::write_expert_loads(loads, folder + "loads.h5");
  std::filesystem::copy_file(folder + "loads.h5", folder + "half.h5");
  std::filesystem::resize_file(folder + "half.h5",
                               std::filesystem::file_size(folder + "loads.h5") * 6 / 10);
  loads.model_hash = "4567cdef";
  trireme::io::write_expert_loads(loads, folder + "other.h5");

  write_counts(folder + "plain.h5", {100, 50, 30, 20});
  write_counts(folder + "negative.h5", {100, -50, 30, 20});
  write_counts(folder + "zero.h5", {0, 0, 0, 0});
  Hdf5Builder(folder + "shape.h5").numbers("/expert_loads", {1, 2, 3});
  Hdf5Builder(folder + "nan.h5")
      .floats("/expert_loads", {std::numeric_limits<double>::quiet_NaN()});
  Hdf5Builder layers(folder + "layers.h5");
  layers.declared("/expert_loads", {3, 8}, H5T_STD_I64LE, {1, 8});
  const std::vector<std::int64_t> counts(24, 1);
  const hid_t dataset = H5Dopen2(layers.file(), "/expert_loads", H5P_DEFAULT);
  H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, counts.data());
  H5Dclose(dataset);
  layers.numbers("/layer_index", {0, 1});
  return 0;
}
