// Writes the prompt files that `prompts import` cannot make, for the end-to-end tests.
//
// usage: e2e_prompt_files FOLDER GOLDEN_H5
//   empty.h5      no rows
//   bytes.h5      texts as bytes, the second of them no UTF-8
//   ids.h5        token ids, the second row with one that no model has
//   golden.h5     the golden's prompts, greedy, 24 tokens each
//   golden.json   what transformers generates for them: a list of lists
//   damaged.h5    400 rows of 20 token ids, of which one chunk behind the middle was changed on
//   disk
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "golden_file.h"
#include "support/hdf5_builder.h"

namespace {

using trireme::test::Golden;
using trireme::test::Hdf5Builder;

void add_flat(Hdf5Builder& file, const std::string& group,
              const std::vector<std::vector<std::int32_t>>& rows, hid_t type) {
  std::vector<std::int64_t> data, offsets = {0};
  for (const std::vector<std::int32_t>& row : rows) {
    data.insert(data.end(), row.begin(), row.end());
    offsets.push_back(std::ssize(data));
  }
  file.group(group).numbers(group + "/data", data, type).numbers(group + "/offsets", offsets);
}

// A checksum finds the damage, and only when the chunk is read.
void write_damaged(const std::string& path) {
  constexpr hsize_t kRows = 400, kRowTokens = 20, kChunk = kRowTokens, kDamagedRow = 280;
  std::vector<std::int32_t> ids(kRows * kRowTokens);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * 37 % 500 + 3);
  std::vector<std::int64_t> offsets;
  for (hsize_t row = 0; row <= kRows; ++row) {
    offsets.push_back(static_cast<std::int64_t>(row * kRowTokens));
  }
  Hdf5Builder file(path);
  file.group("/input_ids").numbers("/input_ids/offsets", offsets);
  const hsize_t size = ids.size();
  const hid_t space = H5Screate_simple(1, &size, nullptr);
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(creation, 1, &kChunk);
  H5Pset_fletcher32(creation);
  const hid_t data = H5Dcreate2(file.file(), "/input_ids/data", H5T_STD_I32LE, space, H5P_DEFAULT,
                                creation, H5P_DEFAULT);
  H5Dwrite(data, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids.data());
  haddr_t address = 0;
  hsize_t num_bytes = 0;
  unsigned mask = 0;
  H5Dget_chunk_info(data, space, kDamagedRow, nullptr, &mask, &address, &num_bytes);
  H5Dclose(data);
  H5Pclose(creation);
  H5Sclose(space);
  file.close();

  std::fstream bytes(path, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekp(static_cast<std::streamoff>(address + num_bytes / 2)).put('\xa5');
}

void write_files(const std::string& folder, const Golden& golden) {
  Hdf5Builder(folder + "/empty.h5").strings("/prompt", {});

  Hdf5Builder bytes(folder + "/bytes.h5");
  add_flat(bytes, "/prompt", {{'O', 'n', 'e'}, {'T', 'w', 0xff, 'o'}, {'S', 'i', 'x'}},
           H5T_STD_U8LE);

  Hdf5Builder ids(folder + "/ids.h5");
  add_flat(ids, "/input_ids", {{5, 6, 7}, {5, 2000000000}, {8, 9}}, H5T_STD_I32LE);

  Hdf5Builder prompts(folder + "/golden.h5");
  add_flat(prompts, "/input_ids", golden.prompts, H5T_STD_I32LE);
  prompts.attribute("max_tokens", std::int64_t{24});
  prompts.attribute("temperature", 0.0);
  prompts.attribute("ignore_eos", std::int64_t{1});

  write_damaged(folder + "/damaged.h5");
  std::ofstream(folder + "/golden.json") << nlohmann::json(golden.greedy_tokens).dump();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: e2e_prompt_files FOLDER GOLDEN_H5\n";
    return 64;
  }
  write_files(argv[1], trireme::test::read_golden(argv[2]));
  return 0;
}
