#include "kernels/gemm.h"

#include "device_data.h"

namespace trireme::kernels {
namespace {

struct Shape {
  std::int64_t m, n, k;
};
const std::vector<Shape> kShapes = {{1, 64, 64},     {3, 100, 40},   {17, 256, 136}, {64, 49, 576},
                                    {129, 512, 256}, {1, 128, 2048}, {200, 31, 77}};

cuda::Gemm::Operands operands_of(const Shape& s, const Bytes& x, const Bytes& w, const Bytes& y,
                                 DType dtype, DType y_dtype) {
  return {.x = x.data(),
          .x_stride = s.k + 8,
          .weight = w.data(),
          .dtype = dtype,
          .y = y.data(),
          .y_stride = s.n + 16,
          .y_dtype = y_dtype,
          .m = s.m,
          .n = s.n,
          .k = s.k};
}

TEST(CudaGemm, AgreesWithTheCpuTunedAndNot) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  cpu::Gemm on_cpu(cpu::InstructionSet::generic, false);
  cuda::Gemm on_gpu;
  for (const DType dtype : kFloatTypes) {
    for (const DType y_dtype : {dtype, DType::float32}) {
      for (const Shape& s : kShapes) {
        const TypedValues x = to_dtype(random_floats(s.m * (s.k + 8), 1), dtype);
        const TypedValues w = to_dtype(random_floats(s.n * s.k, 2), dtype);
        const std::vector<float> bias = random_floats(s.n, 3);
        std::vector<float> expected(static_cast<std::size_t>(s.m * s.n));
        on_cpu.run({.x = x.floats.data(),
                    .x_stride = s.k + 8,
                    .weight = w.floats.data(),
                    .weight_dtype = DType::float32,
                    .bias = bias.data(),
                    .y = expected.data(),
                    .y_stride = s.n,
                    .m = s.m,
                    .n = s.n,
                    .k = s.k});
        const Bytes x_there = upload(x), w_there = upload(w),
                    y = room_for(s.m * (s.n + 16), y_dtype);
        const OnDevice<float> bias_there(bias);
        cuda::Gemm::Operands operands = operands_of(s, x_there, w_there, y, dtype, y_dtype);
        operands.bias = bias_there.data();

        for (const bool is_tuned : {false, true}) {
          if (is_tuned) on_gpu.tune({&operands, 1}, stream.get());
          on_gpu.run(operands, stream.get());
          stream.synchronize();

          const std::vector<float> all = to_floats(y.values(), y_dtype);
          std::vector<float> actual;
          for (std::int64_t row = 0; row < s.m; ++row) {
            const auto begin = all.begin() + row * (s.n + 16);
            actual.insert(actual.end(), begin, begin + s.n);
            EXPECT_TRUE(std::isnan(begin[s.n])) << "wrote behind a row's end";
          }
          const float relative = y_dtype == DType::float32 ? 2e-5f : tolerance(dtype);
          expect_near(actual, expected, relative,
                      std::string(name_of(dtype)) + " m=" + std::to_string(s.m) +
                          " n=" + std::to_string(s.n) + " k=" + std::to_string(s.k),
                      std::sqrt(static_cast<float>(s.k)));
        }
      }
    }
  }
}

TEST(CudaGemm, BucketsAreTheirOwnAndGrowWithM) {
  std::int64_t last = 0, count = 0;
  for (std::int64_t m = 1; m <= 8192; ++m) {
    const std::int64_t bucket = cuda::Gemm::bucket_of(m);
    EXPECT_GE(bucket, m);
    EXPECT_LE(bucket, m < 32 ? 2 * m : m + m / 4);
    EXPECT_EQ(cuda::Gemm::bucket_of(bucket), bucket);
    EXPECT_GE(bucket, last);
    count += bucket != last ? 1 : 0;
    last = bucket;
  }
  EXPECT_LE(count, 64);
}

TEST(CudaGemm, DoesNothingWithoutRows) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  cuda::Gemm gemm;

  gemm.run({.n = 8, .k = 8}, stream.get());
  stream.synchronize();
}

}  // namespace
}  // namespace trireme::kernels
