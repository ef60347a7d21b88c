#include "golden_file.h"

#include <hdf5.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/handle.h"

namespace trireme::test {
namespace {

struct FileTraits {
  using type = hid_t;
  static type null() { return -1; }
  static void destroy(type file) noexcept { H5Fclose(file); }
};
struct DatasetTraits {
  using type = hid_t;
  static type null() { return -1; }
  static void destroy(type dataset) noexcept { H5Dclose(dataset); }
};

template <typename T>
struct Array {
  std::vector<std::size_t> extents;
  std::vector<T> values;
};

template <typename T>
Array<T> read(hid_t file, const std::string& path, const char* name, hid_t memory_type) {
  const UniqueHandle<DatasetTraits> dataset(H5Dopen2(file, name, H5P_DEFAULT));
  if (!dataset) fail(ErrorKind::input, cat(path, ": dataset ", name, " is missing"));
  const hid_t space = H5Dget_space(dataset.get());
  hsize_t extents[H5S_MAX_RANK];
  const int ndim = H5Sget_simple_extent_dims(space, extents, nullptr);
  const auto count = static_cast<std::size_t>(H5Sget_simple_extent_npoints(space));
  H5Sclose(space);
  Array<T> result{{extents, extents + ndim}, std::vector<T>(count)};
  if (H5Dread(dataset.get(), memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, result.values.data()) <
      0) {
    fail(ErrorKind::input, cat(path, ": dataset ", name, " cannot be read"));
  }
  return result;
}

template <typename T>
std::vector<std::vector<T>> rows(const Array<T>& array) {
  const std::size_t size = array.extents[1];
  std::vector<std::vector<T>> result;
  for (auto at = array.values.begin(); at != array.values.end();
       at += static_cast<std::ptrdiff_t>(size)) {
    result.emplace_back(at, at + static_cast<std::ptrdiff_t>(size));
  }
  return result;
}

template <typename T>
std::vector<std::vector<T>> cut(const Array<T>& flat, const Array<std::int64_t>& offsets) {
  std::vector<std::vector<T>> result;
  for (std::size_t i = 0; i + 1 < offsets.values.size(); ++i) {
    result.emplace_back(flat.values.begin() + offsets.values[i],
                        flat.values.begin() + offsets.values[i + 1]);
  }
  return result;
}

}  // namespace

Golden read_golden(const std::string& path) {
  const UniqueHandle<FileTraits> file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
  if (!file) fail(ErrorKind::input, cat(path, ": cannot be opened as HDF5"));
  const auto floats = [&](const char* name) {
    return read<float>(file.get(), path, name, H5T_NATIVE_FLOAT);
  };
  const auto ids = [&](const char* name) {
    return read<std::int32_t>(file.get(), path, name, H5T_NATIVE_INT32);
  };
  const auto offsets = read<std::int64_t>(file.get(), path, "prompt_offsets", H5T_NATIVE_INT64);
  Golden golden;
  golden.prompts = cut(ids("prompt_tokens"), offsets);
  golden.prompt_logprobs = cut(floats("prompt_logprobs"), offsets);
  golden.greedy_tokens = rows(ids("greedy_tokens"));
  golden.greedy_logprobs = rows(floats("greedy_logprobs"));
  golden.last_logits = rows(floats("last_logits"));
  golden.full_logits_prompt_5 = rows(floats("full_logits_prompt_5"));
  golden.vocab_size = static_cast<std::int64_t>(golden.last_logits.front().size());
  return golden;
}

float log_probability(const std::vector<float>& logits, std::int32_t id) {
  const float largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - largest));
  return static_cast<float>(logits[static_cast<std::size_t>(id)] - largest - std::log(sum));
}

std::int32_t greedy_choice(const std::vector<float>& logits) {
  return static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
}

}  // namespace trireme::test
