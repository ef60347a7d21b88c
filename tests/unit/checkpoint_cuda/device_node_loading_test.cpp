#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint/weight_loader.h"
#include "device_values.h"

namespace trireme::checkpoint {
namespace {

using tensor::Place;
using tensor::Tensor;

/// What a rank of `size` keeps of a checkpoint: its rows and its columns of every matrix, and the
/// vectors.
std::vector<Tensor> load_share(const Checkpoint& checkpoint, const comm::MpiComm* node, int rank,
                               int size, const WeightLoader::Options& options) {
  WeightLoader loader(checkpoint, node, options);
  std::vector<Tensor> weights;
  for (const auto& [name, stored] : checkpoint.tensors()) {
    for (int dim = 0; dim < stored.shape.ndim() && stored.shape.ndim() == 2; ++dim) {
      const std::int64_t step = stored.shape[dim] / size;
      const tensor::Shape shape =
          dim == 0 ? tensor::Shape{step, stored.shape[1]} : tensor::Shape{stored.shape[0], step};
      weights.push_back(loader.allocate(shape, loader.dtype_of(name)));
      loader.want(name, stored.shape, {dim, rank * step, rank * step + step}, weights.back());
    }
    if (stored.shape.ndim() == 1) {
      weights.push_back(loader.allocate(stored.shape, DType::float32));
      loader.want(name, stored.shape, {}, weights.back());
    }
  }
  loader.load();
  return weights;
}

TEST(DeviceNodeLoading, BringsEachRankTheBytesThatItWouldReadAlone) {
  if (tensor::num_devices() == 0) GTEST_SKIP() << "this machine has no GPU";
  const comm::MpiComm world = comm::MpiComm::world();
  tensor::use_device(world.rank() % tensor::num_devices());
  const Checkpoint checkpoint = Checkpoint::open(std::string(TRIREME_TEST_DATA) + "/goldens/llama");
  const int rank = world.rank(), size = world.size();

  const std::vector<Tensor> alone =
      load_share(checkpoint, nullptr, rank, size, {.dtype = DType::bfloat16});
  const std::vector<Tensor> shared = load_share(checkpoint, &world, rank, size,
                                                {.place = Place::device, .dtype = DType::bfloat16});

  EXPECT_EQ(alone.size(), shared.size());
  for (std::size_t i = 0; i < std::min(alone.size(), shared.size()); ++i) {
    EXPECT_EQ(test::bytes_on_device(shared[i]), test::bytes_on_host(alone[i]))
        << "weight " << i << " " << alone[i].shape().text();
  }
}

}  // namespace
}  // namespace trireme::checkpoint
