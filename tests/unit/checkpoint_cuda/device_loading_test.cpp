#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/weight_loader.h"
#include "device_values.h"
#include "tests/support/refusal.h"
#include "tests/support/safetensors_file.h"
#include "tests/support/temporary_directory.h"

namespace trireme::checkpoint {
namespace {

using tensor::Place;
using tensor::Tensor;
using test::bytes_on_device;
using test::bytes_on_host;

class DeviceLoading : public testing::Test {
 protected:
  void SetUp() override {
    if (tensor::num_devices() == 0) GTEST_SKIP() << "this machine has no GPU";
  }
};

/// Every tensor of a checkpoint whole, and the second half of its columns, in a weight whose first
/// row nothing fills.
std::vector<Tensor> load_all(const Checkpoint& checkpoint, const WeightLoader::Options& options) {
  WeightLoader loader(checkpoint, nullptr, options);
  std::vector<Tensor> weights;
  for (const auto& [name, stored] : checkpoint.tensors()) {
    const DType dtype = loader.dtype_of(name);
    weights.push_back(loader.allocate(stored.shape, dtype));
    loader.want(name, stored.shape, {}, weights.back());
    if (stored.shape.ndim() != 2) continue;
    const std::int64_t rows = stored.shape[0], columns = stored.shape[1], half = columns / 2;
    weights.push_back(loader.allocate({rows + 1, columns - half}, dtype));
    loader.want(name, stored.shape, {1, half, columns}, weights.back().view().slice(1, rows + 1));
  }
  loader.load();
  return weights;
}

TEST_F(DeviceLoading, BringsTheBytesOfTheHostLoader) {
  for (const char* family : {"llama", "qwen3_moe"}) {
    const Checkpoint checkpoint =
        Checkpoint::open(std::string(TRIREME_TEST_DATA) + "/goldens/" + family);
    for (const std::optional<DType> dtype :
         {std::optional<DType>(), std::optional(DType::float32), std::optional(DType::bfloat16),
          std::optional(DType::float16)}) {
      const std::vector<Tensor> host = load_all(checkpoint, {.dtype = dtype});
      const std::vector<Tensor> device =
          load_all(checkpoint, {.place = Place::device, .dtype = dtype});

      ASSERT_EQ(host.size(), device.size());
      for (std::size_t i = 0; i < host.size(); ++i) {
        EXPECT_EQ(bytes_on_device(device[i]), bytes_on_host(host[i]))
            << family << ": weight " << i << " " << host[i].shape().text();
      }
    }
  }
}

TEST_F(DeviceLoading, BringsTensorsOfManyPiecesWhole) {
  const std::int64_t rows = 30'000, columns = 1'000;  // 120 MB
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  std::iota(values.begin(), values.end(), 0.0f);
  const test::TemporaryDirectory directory;
  directory.write("model.safetensors", test::safetensors_file(std::vector<test::TestTensor>{
                                           {"a", "F32", {rows, columns}, test::bytes_of(values)}}));
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  WeightLoader loader(checkpoint, nullptr, {.place = Place::device});
  const Tensor whole = loader.allocate({rows, columns}, DType::float32);
  const Tensor narrow = loader.allocate({rows, columns}, DType::bfloat16);
  loader.want("a", {rows, columns}, {}, whole);

  loader.load();
  loader.want("a", {rows, columns}, {}, narrow);
  loader.load();

  std::vector<bfloat16> halves;
  for (const float value : values) halves.emplace_back(value);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(values.data());
  const auto* half_bytes = reinterpret_cast<const std::uint8_t*>(halves.data());
  // Not EXPECT_EQ, which would print them.
  EXPECT_TRUE(bytes_on_device(whole) ==
              std::vector<std::uint8_t>(bytes, bytes + 4 * values.size()));
  EXPECT_TRUE(bytes_on_device(narrow) ==
              std::vector<std::uint8_t>(half_bytes, half_bytes + 2 * halves.size()));
}

TEST_F(DeviceLoading, GivesZeroedAlignedMemoryAndUploads) {
  const Checkpoint checkpoint = Checkpoint::open(std::string(TRIREME_TEST_DATA) + "/goldens/llama");
  WeightLoader loader(checkpoint, nullptr, {.place = Place::device});
  const Tensor values({3, 70'000}, DType::float32);  // more than the writer's smallest part
  std::iota(values.view().as<float>(), values.view().as<float>() + 210'000, 0.0f);

  const Tensor odd = loader.allocate({3, 7}, DType::bfloat16);
  const Tensor next = loader.allocate({5}, DType::float32);
  const Tensor large = loader.allocate({3 << 20}, DType::uint8);
  const Tensor uploaded = loader.upload(values);

  for (const Tensor* tensor : {&odd, &next, &large, &uploaded}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor->view().data) % 256, 0U);
  }
  EXPECT_EQ(bytes_on_device(odd), std::vector<std::uint8_t>(42, 0));
  EXPECT_TRUE(bytes_on_device(large) == std::vector<std::uint8_t>(3 << 20, 0));
  EXPECT_TRUE(bytes_on_device(uploaded) == bytes_on_host(values));
}

TEST_F(DeviceLoading, SyntheticWeightsAreThoseOfTheHost) {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    std::vector<std::vector<std::uint8_t>> of_place;
    for (const Place place : {Place::host, Place::device}) {
      WeightLoader loader({.mode = WeightLoader::Mode::synthetic, .place = place, .dtype = dtype});
      const Tensor weight = loader.allocate({1001, 37}, dtype);
      const Tensor norm = loader.allocate({77}, DType::float32);
      // Rows, then columns, which are apart in the whole tensor; the last row stays zero.
      loader.want("a.weight", {5000, 37}, {0, 100, 700}, weight.view().slice(0, 600));
      loader.want("b.weight", {400, 100}, {1, 11, 48}, weight.view().slice(600, 1000));
      loader.want("norm.weight", {77}, {}, norm);
      loader.load();
      for (const Tensor* tensor : {&weight, &norm}) {
        of_place.push_back(place == Place::host ? bytes_on_host(*tensor)
                                                : bytes_on_device(*tensor));
      }
    }

    EXPECT_EQ(of_place[2], of_place[0]) << name_of(dtype);
    EXPECT_EQ(of_place[3], of_place[1]) << name_of(dtype);
  }
}

TEST_F(DeviceLoading, SaysWhatDoesNotFit) {
  tensor::Slab slab(Place::device, "the weights", "tensor_parallel_size");

  const std::string message = test::refusal(
      ErrorKind::out_of_memory, [&] { slab.take({std::int64_t{1} << 42}, DType::uint8); });

  TRIREME_EXPECT_CONTAINS(message, "the weights need 4096 GiB of GPU memory");
  TRIREME_EXPECT_CONTAINS(message, "lower tensor_parallel_size");
}

TEST_F(DeviceLoading, SaysWhyAReaderStopped) {
  const test::TemporaryDirectory directory;
  const std::string file = directory.write(
      "model.safetensors", test::safetensors_file(std::vector<test::TestTensor>{
                               {"a", "F32", {64, 64}, std::string(64 * 64 * 4, 'x')}}));
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  WeightLoader loader(checkpoint, nullptr, {.place = Place::device});
  const Tensor whole = loader.allocate({64, 64}, DType::float32);
  loader.want("a", {64, 64}, {}, whole);
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);

  TRIREME_EXPECT_CONTAINS(test::refusal(ErrorKind::checkpoint, [&] { loader.load(); }),
                          "the file is truncated");
}

}  // namespace
}  // namespace trireme::checkpoint
