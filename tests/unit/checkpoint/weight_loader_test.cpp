#include "checkpoint/weight_loader.h"

#include <gtest/gtest.h>

#include <numeric>

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
  WeightLoader loader(checkpoint_, nullptr, WeightLoader::Mode::count);

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
