// Counts the experts in the choices of one file, and compares them with the loads of another.
//
// usage: e2e_loads_recount CHOICES_H5 LOADS_H5
// Exit code 0: equal to the last token; 1: not, the first difference is printed.
#include <hdf5.h>

#include <cstdint>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

/// A dataset of integers as 64-bit numbers, and its extents.
struct Numbers {
  std::vector<std::int64_t> values;
  std::vector<hsize_t> extents;
};

Numbers read(hid_t file, const std::string& name) {
  const hid_t data = H5Dopen2(file, name.c_str(), H5P_DEFAULT);
  if (data < 0) throw std::runtime_error("no " + name);
  const hid_t space = H5Dget_space(data);
  Numbers numbers;
  numbers.extents.resize(static_cast<std::size_t>(H5Sget_simple_extent_ndims(space)));
  H5Sget_simple_extent_dims(space, numbers.extents.data(), nullptr);
  numbers.values.resize(static_cast<std::size_t>(H5Sget_simple_extent_npoints(space)));
  if (H5Dread(data, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers.values.data()) < 0) {
    throw std::runtime_error("cannot read " + name);
  }
  H5Sclose(space);
  H5Dclose(data);
  return numbers;
}

int compare(const char* choices_path, const char* loads_path) {
  const hid_t choices_file = H5Fopen(choices_path, H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t loads_file = H5Fopen(loads_path, H5F_ACC_RDONLY, H5P_DEFAULT);
  if (choices_file < 0 || loads_file < 0) throw std::runtime_error("cannot open the files");
  const Numbers loads = read(loads_file, "/expert_loads");
  const Numbers layers = read(loads_file, "/layer_index");
  const std::size_t num_experts = loads.extents.back(), num_layers = layers.values.size();
  std::vector<std::int64_t> recorded(num_layers * num_experts);
  for (std::size_t i = 0; i < loads.values.size(); ++i)
    recorded[i % recorded.size()] += loads.values[i];

  std::vector<std::int64_t> counted(recorded.size());
  for (std::size_t layer = 0; layer < num_layers; ++layer) {
    const Numbers choices = read(choices_file, "/choices/" + std::to_string(layers.values[layer]));
    for (const std::int64_t expert : choices.values) {
      ++counted.at(layer * num_experts + static_cast<std::size_t>(expert));
    }
    if (layer == 0) std::cout << choices.extents[0] << " tokens\n";
  }
  for (std::size_t i = 0; i < recorded.size(); ++i) {
    if (recorded[i] == counted[i]) continue;
    std::cout << "layer " << layers.values[i / num_experts] << " expert " << i % num_experts
              << ": recorded " << recorded[i] << ", chosen " << counted[i] << "\n";
    return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: e2e_loads_recount CHOICES_H5 LOADS_H5\n";
    return 64;
  }
  try {
    return compare(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 2;
  }
}
