#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "checkpoint/checkpoint.h"
#include "checkpoint/weight_loader.h"
#include "tests/support/refusal.h"
#include "tests/support/safetensors_file.h"
#include "tests/support/temporary_directory.h"

namespace trireme::checkpoint {
namespace {

using tensor::Tensor;

/// A folder that rank 0 makes and all ranks know.
class NodeLoading : public testing::Test {
 protected:
  NodeLoading() {
    if (world_.rank() == 0) directory_.emplace();
    path_ = world_.broadcast(directory_ ? directory_->path() : "", 0);
  }
  ~NodeLoading() override { world_.barrier(); }

  void write(const std::string& name, const std::vector<test::TestTensor>& tensors) const {
    if (world_.rank() == 0) directory_->write(name, test::safetensors_file(tensors));
    world_.barrier();
  }

  /// The value of element i of a counting tensor; exact in float32.
  static float value(std::int64_t i) { return static_cast<float>(i % 1000003); }

  /// float32 values 0, 1, 2, ... of a shape.
  static test::TestTensor counting(const std::string& name, std::int64_t rows,
                                   std::int64_t columns) {
    std::vector<float> values(static_cast<std::size_t>(rows * columns));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = value(static_cast<std::int64_t>(i));
    return {name, "F32", {rows, columns}, test::bytes_of(values)};
  }

  /// What differs from the slice [row_begin, ...) × [column_begin, ...) of a counting tensor.
  static std::int64_t num_wrong(const Tensor& tensor, std::int64_t row_begin,
                                std::int64_t column_begin, std::int64_t stored_columns) {
    std::int64_t wrong = 0;
    const std::int64_t columns = tensor.shape()[1];
    for (std::int64_t i = 0; i < tensor.view().num_elements(); ++i) {
      const std::int64_t row = row_begin + i / columns, column = column_begin + i % columns;
      wrong += tensor.view().as<float>()[i] == value(row * stored_columns + column) ? 0 : 1;
    }
    return wrong;
  }

  const comm::MpiComm world_ = comm::MpiComm::world();
  std::optional<test::TemporaryDirectory> directory_;
  std::string path_;
};

TEST_F(NodeLoading, EachRankGetsItsSlicesAndEachByteIsReadOnce) {
  const std::int64_t n = world_.size(), r = world_.rank();
  write("model.safetensors", {counting("rows", 6 * n, 10), counting("columns", 7, 5 * n),
                              counting("all", 11, 13), counting("overlap", 8 * n, 3)});
  const Checkpoint checkpoint = Checkpoint::open(path_, &world_);
  WeightLoader loader(checkpoint, &world_);
  const Tensor rows({6, 10}, DType::float32), columns({7, 5}, DType::float32);
  const Tensor all({11, 13}, DType::float32), again({11, 13}, DType::bfloat16);
  const std::int64_t overlap_begin = r == 0 ? 0 : 8 * r - 4;
  const Tensor overlap({8 * (r + 1) - overlap_begin, 3}, DType::float32);
  loader.want("rows", {6 * n, 10}, {0, 6 * r, 6 * r + 6}, rows);
  loader.want("columns", {7, 5 * n}, {1, 5 * r, 5 * r + 5}, columns);
  loader.want("all", {11, 13}, {}, all);
  loader.want("all", {11, 13}, {}, again);
  loader.want("overlap", {8 * n, 3}, {0, overlap_begin, 8 * (r + 1)}, overlap);

  const WeightLoader::Summary summary = loader.load();

  EXPECT_EQ(num_wrong(rows, 6 * r, 0, 10), 0);
  EXPECT_EQ(num_wrong(columns, 0, 5 * r, 5 * n), 0);
  EXPECT_EQ(num_wrong(all, 0, 0, 13), 0);
  EXPECT_EQ(num_wrong(overlap, overlap_begin, 0, 3), 0);
  EXPECT_EQ(float(again.view().as<bfloat16>()[142]), 142);
  EXPECT_EQ(world_.sum(summary.bytes_read), checkpoint.file_bytes());
}

TEST_F(NodeLoading, TensorsLargerThanARoundArriveWhole) {
  const std::int64_t n = world_.size(), r = world_.rank();
  const std::int64_t num_rows = 3000, num_columns = 1500 * n;  // 18 MB a rank
  write("model.safetensors", {counting("a", 3000, num_columns)});
  const Checkpoint checkpoint = Checkpoint::open(path_, &world_);
  WeightLoader loader(checkpoint, &world_);
  const Tensor columns({num_rows, 1500}, DType::float32), rows({10, num_columns}, DType::float32);
  loader.want("a", {num_rows, num_columns}, {1, 1500 * r, 1500 * r + 1500}, columns);
  loader.want("a", {num_rows, num_columns}, {0, 40, 50}, rows);

  const WeightLoader::Summary summary = loader.load();

  EXPECT_EQ(num_wrong(columns, 0, 1500 * r, num_columns), 0);
  EXPECT_EQ(num_wrong(rows, 40, 0, num_columns), 0);
  EXPECT_EQ(world_.sum(summary.bytes_read), checkpoint.file_bytes());
  EXPECT_GT(summary.bytes_read, checkpoint.file_bytes() / n / 2);
}

TEST_F(NodeLoading, ARankThatWantsNothingTakesPart) {
  write("model.safetensors", {counting("a", 4, 4)});
  const Checkpoint checkpoint = Checkpoint::open(path_, &world_);
  WeightLoader loader(checkpoint, &world_);
  const Tensor whole({4, 4}, DType::float32);
  if (world_.rank() == 1) loader.want("a", {4, 4}, {}, whole);

  loader.load();

  if (world_.rank() == 1) {
    EXPECT_EQ(num_wrong(whole, 0, 0, 4), 0);
  }
}

TEST_F(NodeLoading, AnErrorOfTheReaderIsThrownOnAllRanksInTheSameWords) {
  write("model.safetensors", {counting("a", 64, 64)});
  const Checkpoint checkpoint = Checkpoint::open(path_, &world_);
  WeightLoader loader(checkpoint, &world_);
  const Tensor whole({64, 64}, DType::float32);
  loader.want("a", {64, 64}, {}, whole);
  world_.barrier();
  const std::string file = path_ + "/model.safetensors";
  if (world_.rank() == 0)
    std::filesystem::resize_file(file, std::filesystem::file_size(file) - 100);
  world_.barrier();

  const std::string message = test::refusal(ErrorKind::checkpoint, [&] { loader.load(); });

  TRIREME_EXPECT_CONTAINS(message, "the file is truncated");
  for (const std::string& other : world_.all_gather(message)) EXPECT_EQ(other, message);
}

TEST_F(NodeLoading, OpeningFailsOnAllRanksInTheSameWords) {
  const std::string message =
      test::refusal(ErrorKind::missing, [&] { Checkpoint::open(path_, &world_); });

  TRIREME_EXPECT_CONTAINS(message, "holds neither model.safetensors");
  for (const std::string& other : world_.all_gather(message)) EXPECT_EQ(other, message);
}

TEST_F(NodeLoading, ShardsOfAnIndexAreOpenedAlike) {
  write("model-1.safetensors", {counting("a", 2, 2)});
  write("model-2.safetensors", {counting("b", 3, 2)});
  if (world_.rank() == 0) {
    directory_->write(
        "model.safetensors.index.json",
        R"({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})");
  }
  world_.barrier();

  const Checkpoint shared = Checkpoint::open(path_, &world_);
  const Checkpoint alone = Checkpoint::open(path_);

  EXPECT_EQ(shared.fingerprint(), alone.fingerprint());
  EXPECT_EQ(shared.header_bytes_read(), world_.rank() == 0 ? alone.header_bytes_read() : 0);
}

}  // namespace
}  // namespace trireme::checkpoint
