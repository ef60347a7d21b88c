#include "checkpoint/weight_loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "tests/support/refusal.h"
#include "tests/support/safetensors_file.h"
#include "tests/support/temporary_directory.h"

namespace trireme::checkpoint {
namespace {

using tensor::Tensor;

/// A checkpoint with "a" [4, 6] of float32 0, 1, ..., 23 and "h" [4] of bfloat16 1, 2, 3, 4.
class WeightLoaderTest : public testing::Test {
 protected:
  WeightLoaderTest() : checkpoint_(make()) {}

  Checkpoint make() const {
    std::vector<float> values(24);
    std::iota(values.begin(), values.end(), 0.0f);
    std::string halves;
    for (const float value : {1.0f, 2.0f, 3.0f, 4.0f}) {
      const bfloat16 half(value);
      halves.append(reinterpret_cast<const char*>(&half), sizeof(half));
    }
    directory_.write("model.safetensors", test::safetensors_file(std::vector<test::TestTensor>{
                                              {"h", "BF16", {4}, halves},
                                              {"a", "F32", {4, 6}, test::bytes_of(values)}}));
    return Checkpoint::open(directory_.path());
  }

  static std::vector<float> values_of(const Tensor& tensor) {
    const auto* data = tensor.view().as<float>();
    return {data, data + tensor.view().num_elements()};
  }

  const test::TemporaryDirectory directory_;
  const Checkpoint checkpoint_;
};

TEST_F(WeightLoaderTest, BringsSlicesOfBothDimensions) {
  WeightLoader loader(checkpoint_, nullptr);
  const Tensor rows({2, 6}, DType::float32), columns({4, 2}, DType::float32);
  loader.want("a", {4, 6}, {0, 1, 3}, rows);
  loader.want("a", {4, 6}, {1, 4, 6}, columns);

  const WeightLoader::Summary summary = loader.load();

  EXPECT_EQ(values_of(rows), std::vector<float>({6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}));
  EXPECT_EQ(values_of(columns), std::vector<float>({4, 5, 10, 11, 16, 17, 22, 23}));
  EXPECT_EQ(summary.bytes_kept, 20 * 4);
  // From the first to the last wanted element, once.
  EXPECT_EQ(summary.bytes_read, checkpoint_.header_bytes_read() + 20 * 4);
  EXPECT_EQ(summary.file_bytes, checkpoint_.file_bytes());
}

TEST_F(WeightLoaderTest, ConvertsToTheDestinationsType) {
  WeightLoader loader(checkpoint_, nullptr);
  const Tensor wide({4}, DType::float32), same({2}, DType::bfloat16),
      narrow({1, 6}, DType::bfloat16);
  loader.want("h", {4}, {}, wide);
  loader.want("h", {4}, {0, 2, 4}, same);
  loader.want("a", {4, 6}, {0, 3, 4}, narrow);

  loader.load();

  EXPECT_EQ(values_of(wide), std::vector<float>({1, 2, 3, 4}));
  EXPECT_EQ(float(same.view().as<bfloat16>()[1]), 4);
  EXPECT_EQ(float(narrow.view().as<bfloat16>()[5]), 23);
}

TEST_F(WeightLoaderTest, KeepsWeightsInTheTypeOfItsOptions) {
  WeightLoader as_stored(checkpoint_, nullptr);
  WeightLoader halved(checkpoint_, nullptr, {.dtype = DType::bfloat16});

  EXPECT_EQ(as_stored.dtype_of("a"), DType::float32);
  EXPECT_EQ(as_stored.dtype_of("h"), DType::bfloat16);
  EXPECT_EQ(halved.dtype_of("a"), DType::bfloat16);
  TRIREME_EXPECT_CONTAINS(test::refusal(ErrorKind::checkpoint, [&] { halved.dtype_of("b"); }),
                          "tensor \"b\" is missing");
}

TEST_F(WeightLoaderTest, UploadsWhatALayerComputed) {
  WeightLoader loader(checkpoint_, nullptr);
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  Tensor host({2, 3}, DType::float32);
  std::ranges::copy(values, host.view().as<float>());

  const Tensor kept = loader.upload(host);

  EXPECT_NE(kept.view().data, host.view().data);
  EXPECT_EQ(kept.shape(), (tensor::Shape{2, 3}));
  EXPECT_EQ(values_of(kept), values);
  EXPECT_EQ(loader.allocated_bytes(), 24);
}

TEST_F(WeightLoaderTest, SeveralReadersBringWhatOneDoes) {
  // Above what is worth a reader, in tensors that are cut and in small ones.
  const std::int64_t rows = 24'000, columns = 1'000;
  std::vector<test::TestTensor> tensors;
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  std::iota(values.begin(), values.end(), 0.0f);
  tensors.push_back({"large", "F32", {rows, columns}, test::bytes_of(values)});
  for (int i = 0; i < 100; ++i) {
    tensors.push_back({cat("small", i), "F32", {1}, test::bytes_of({static_cast<float>(i)})});
  }
  const test::TemporaryDirectory directory;
  directory.write("model.safetensors", test::safetensors_file(tensors));
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  WeightLoader loader(checkpoint, nullptr);
  const Tensor whole = loader.allocate({rows, columns}, DType::float32);
  const Tensor last = loader.allocate({rows, 2}, DType::float32);
  const Tensor small = loader.allocate({100}, DType::float32);
  loader.want("large", {rows, columns}, {}, whole);
  loader.want("large", {rows, columns}, {1, columns - 2, columns}, last);
  for (int i = 0; i < 100; ++i) loader.want(cat("small", i), {1}, {}, small.view().slice(i, i + 1));

  const WeightLoader::Summary summary = loader.load();

  EXPECT_EQ(values_of(whole), values);
  EXPECT_EQ(last.view().as<float>()[2 * rows - 1], values.back());
  EXPECT_EQ(last.view().as<float>()[0], 998);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(small.view().as<float>()[i], i);
  EXPECT_EQ(summary.bytes_read, checkpoint.file_bytes());
}

TEST_F(WeightLoaderTest, SaysWhyAReaderStopped) {
  WeightLoader loader(checkpoint_, nullptr);
  const Tensor whole({4, 6}, DType::float32);
  loader.want("a", {4, 6}, {}, whole);
  std::filesystem::resize_file(directory_.file("model.safetensors"),
                               static_cast<std::uintmax_t>(checkpoint_.file_bytes() - 1));

  TRIREME_EXPECT_CONTAINS(test::refusal(ErrorKind::checkpoint, [&] { loader.load(); }),
                          "the file is truncated");
}

TEST_F(WeightLoaderTest, TellsItsProgress) {
  WeightLoader loader(checkpoint_, nullptr);
  const Tensor whole({4, 6}, DType::float32);
  loader.want("a", {4, 6}, {}, whole);
  std::int64_t last_done = 0, last_total = 0;

  loader.load([&](std::int64_t done, std::int64_t total) {
    last_done = done;
    last_total = total;
  });

  EXPECT_EQ(last_done, 96);
  EXPECT_EQ(last_total, 96);
}

TEST_F(WeightLoaderTest, CountsWithoutAllocatingOrReading) {
  WeightLoader loader(checkpoint_, nullptr, {.mode = WeightLoader::Mode::count});

  const Tensor none = loader.allocate({1 << 20, 1 << 20}, DType::bfloat16);
  loader.want("a", {4, 6}, {}, none);

  EXPECT_FALSE(none);
  EXPECT_EQ(loader.allocated_bytes(), std::int64_t{2} << 40);
}

TEST_F(WeightLoaderTest, NamesAMissingTensorAndAWrongShape) {
  WeightLoader loader(checkpoint_, nullptr);
  const Tensor whole({6, 4}, DType::float32);

  TRIREME_EXPECT_CONTAINS(test::refusal(ErrorKind::checkpoint,
                                        [&] {
                                          loader.want("b", {6, 4}, {}, whole);
                                        }),
                          "tensor \"b\" is missing");
  TRIREME_EXPECT_CONTAINS(test::refusal(ErrorKind::checkpoint,
                                        [&] {
                                          loader.want("a", {6, 4}, {}, whole);
                                        }),
                          "tensor \"a\" has shape [4, 6], expected [6, 4] from config.json");
}

}  // namespace
}  // namespace trireme::checkpoint
