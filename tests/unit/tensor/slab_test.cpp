#include <gtest/gtest.h>

#include <cstring>
#include <utility>

#include "base/error.h"
#include "tensor/tensor.h"

namespace trireme::tensor {
namespace {

std::byte* bytes_of(const Tensor& tensor) { return static_cast<std::byte*>(tensor.view().data); }

TEST(Slab, GivesTensorsOneBehindTheOther) {
  Slab slab;

  const Tensor first = slab.take({3, 5}, DType::bfloat16);
  const Tensor second = slab.take({100}, DType::float32);
  const Tensor third = slab.take({1}, DType::uint8);

  EXPECT_EQ(bytes_of(second) - bytes_of(first), 64);
  EXPECT_EQ(bytes_of(third) - bytes_of(second), 448);
  EXPECT_EQ(first.shape(), (Shape{3, 5}));
}

TEST(Slab, GivesZeroedMemory) {
  Slab slab;

  for (int i = 0; i < 3; ++i) {
    Tensor tensor = slab.take({1000, 1000, 9}, DType::float32);
    ASSERT_EQ(tensor.size_bytes(), 36'000'000u);
    EXPECT_EQ(bytes_of(tensor)[0], std::byte{0});
    EXPECT_EQ(bytes_of(tensor)[35'999'999], std::byte{0});
    std::memset(bytes_of(tensor), 1, tensor.size_bytes());
  }
}

TEST(Slab, GoesOnBehindALargeTensorThatHasItsOwnMapping) {
  Slab slab;

  const Tensor first = slab.take({64}, DType::uint8);
  const Tensor large = slab.take({std::int64_t{65} << 20}, DType::uint8);
  const Tensor second = slab.take({64}, DType::uint8);

  EXPECT_EQ(bytes_of(second) - bytes_of(first), 64);
  std::memset(bytes_of(large), 1, large.size_bytes());
  EXPECT_EQ(bytes_of(first)[0], std::byte{0});
  EXPECT_EQ(bytes_of(second)[0], std::byte{0});
}

TEST(Slab, LeavesItsTensorsTheirMemory) {
  Tensor kept;
  {
    Slab slab;
    Tensor tensor = slab.take({2}, DType::int32);
    kept = std::move(tensor);
    const Tensor other = slab.take({2}, DType::int32);
  }

  kept.view().as<std::int32_t>()[1] = 7;

  EXPECT_EQ(kept.view().as<std::int32_t>()[1], 7);
}

TEST(Tensor, SaysWhatCannotBeAllocated) {
  try {
    const Tensor tensor({std::int64_t{1} << 50, 3}, DType::float32);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
    EXPECT_NE(std::string(error.what()).find("[1125899906842624, 3] of float32"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace trireme::tensor
