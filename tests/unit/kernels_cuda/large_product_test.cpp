#include "kernels/cuda/detail/large_product.h"

#include "device_data.h"
#include "kernels/activation.h"
#include "kernels/cuda/detail/small_product.h"

namespace trireme::kernels {
namespace {

constexpr float kScale = 0.25f;  ///< of x: gates times ups of float16 stay finite

struct Shape {
  std::int64_t m, n, k;
};

std::string name_of_case(const Shape& s, DType dtype, bool has_silu) {
  return std::string(name_of(dtype)) + " m=" + std::to_string(s.m) + " n=" + std::to_string(s.n) +
         " k=" + std::to_string(s.k) + (has_silu ? " silu" : "");
}

/// A product, plain or with silu_and_mul, and what the CPU makes of it.
struct Data {
  Shape shape;
  bool has_silu;
  std::int64_t columns;  ///< of y
  TypedValues x, w;
  std::vector<float> expected;  ///< [m, columns]
  Bytes x_there, w_there, gate_up;

  Data(const Shape& s, DType dtype, bool silu)
      : shape(s),
        has_silu(silu),
        columns(silu ? s.n / 2 : s.n),
        x(to_dtype(random_floats(s.m * (s.k + 8), 1, kScale), dtype)),
        w(to_dtype(random_floats(s.n * s.k, 2), dtype)),
        expected(static_cast<std::size_t>(s.m * s.n)),
        x_there(upload(x)),
        w_there(upload(w)),
        gate_up(room_for(s.m * s.n, dtype)) {
    const auto set = cpu::detect_instruction_set();
    cpu::Gemm on_cpu(set, false);
    on_cpu.run({.x = x.floats.data(),
                .x_stride = s.k + 8,
                .weight = w.floats.data(),
                .weight_dtype = DType::float32,
                .y = expected.data(),
                .y_stride = s.n,
                .m = s.m,
                .n = s.n,
                .k = s.k});
    if (!silu) return;
    std::vector<float> gated(static_cast<std::size_t>(s.m * columns));
    cpu::silu_and_mul(expected.data(), gated.data(), s.m, columns, set);
    expected = std::move(gated);
  }

  /// For m rows from `first` on, into y [m, columns + behind].
  cuda::Gemm::Operands operands(const Bytes& y, std::int64_t first, std::int64_t m,
                                std::int64_t behind) const {
    const std::size_t row_bytes = static_cast<std::size_t>(shape.k + 8) * size_of(x.dtype);
    return {.x = x_there.data() + static_cast<std::size_t>(first) * row_bytes,
            .x_stride = shape.k + 8,
            .weight = w_there.data(),
            .dtype = x.dtype,
            .y = y.data(),
            .y_stride = columns + behind,
            .y_dtype = x.dtype,
            .m = m,
            .n = shape.n,
            .k = shape.k,
            .gate_up = has_silu ? gate_up.data() : nullptr};
  }

  /// Gates times ups grow with the square of a sum.
  void expect(const std::vector<float>& actual, const std::string& what) const {
    const float size = kScale * std::sqrt(static_cast<float>(shape.k));
    const float loss = has_silu && x.dtype != DType::float32 ? 2.0f : 1.0f;  // rounded twice
    expect_near(actual, expected, loss * tolerance(x.dtype),
                what + " " + name_of_case(shape, x.dtype, has_silu), has_silu ? size * size : size);
  }
};

std::vector<float> rows_of(const Bytes& y, DType dtype, std::int64_t m, std::int64_t columns,
                           std::int64_t behind) {
  const std::vector<float> all = to_floats(y.values(), dtype);
  std::vector<float> rows;
  for (std::int64_t row = 0; row < m; ++row) {
    const auto begin = all.begin() + row * (columns + behind);
    rows.insert(rows.end(), begin, begin + columns);
    for (std::int64_t i = 0; i < behind; ++i) {
      EXPECT_TRUE(std::isnan(begin[columns + i])) << "wrote behind row " << row;
    }
  }
  for (auto at = all.begin() + m * (columns + behind); at != all.end(); ++at) {
    EXPECT_TRUE(std::isnan(*at)) << "wrote behind the last row";
  }
  return rows;
}

/// The kernel alone, into rows of y that are followed by other columns and another row.
std::vector<float> run_large(const Data& data, std::int64_t first, std::int64_t m) {
  constexpr std::int64_t kBehind = 8;
  const tensor::Stream stream;
  const Bytes y = room_for((m + 1) * (data.columns + kBehind), data.x.dtype);
  const cuda::Gemm::Operands operands = data.operands(y, first, m, kBehind);
  EXPECT_TRUE(cuda::takes_large_product(operands));
  cuda::large_product(operands, stream.get());
  stream.synchronize();
  return rows_of(y, data.x.dtype, m, data.columns, kBehind);
}

bool has_large_product() {
  alignas(16) static std::byte memory[16];
  return cuda::takes_large_product({.x = memory,
                                    .x_stride = 8,
                                    .weight = memory,
                                    .y = memory,
                                    .y_stride = 8,
                                    .m = 65,
                                    .n = 8,
                                    .k = 8});
}

// The last one fills an H200 with wide tiles, up to 64 rows have narrow ones.
const std::vector<Shape> kLargeShapes = {
    {1, 256, 64},     {7, 64, 520},     {33, 48, 200},       {64, 4096, 1032},  {65, 8, 8},
    {65, 256, 64},    {128, 512, 4096}, {129, 264, 72},      {256, 1040, 576},  {257, 4096, 520},
    {300, 2064, 256}, {777, 976, 1032}, {1000, 1024, 14336}, {2100, 3600, 192}, {1980, 8400, 136}};

void expect_agreement(const std::vector<Shape>& shapes, DType dtype) {
  for (const Shape& shape : shapes) {
    for (const bool has_silu : {false, true}) {
      // Rows of y must be aligned also where it has half of the columns.
      if (has_silu && shape.n % 16 != 0) continue;
      const Data data(shape, dtype, has_silu);

      data.expect(run_large(data, 0, shape.m), "large product");
    }
  }
}

TEST(CudaLargeProduct, AgreesWithTheCpu) {
  TRIREME_REQUIRES_GPU();
  if (!has_large_product()) GTEST_SKIP() << "this GPU or build does not have it";
  expect_agreement(kLargeShapes, DType::bfloat16);
  expect_agreement(kLargeShapes, DType::float16);
}

// Short enough for the race checker: more steps than stages, more tiles than one cluster's.
TEST(CudaLargeProduct, AgreesWithTheCpuInAFewTiles) {
  TRIREME_REQUIRES_GPU();
  if (!has_large_product()) GTEST_SKIP() << "this GPU or build does not have it";
  expect_agreement({{5, 80, 1096}, {65, 8, 8}, {300, 528, 392}}, DType::bfloat16);
}

TEST(CudaLargeProduct, GivesARowTheSameBitsWhateverItStandsAmong) {
  TRIREME_REQUIRES_GPU();
  if (!has_large_product()) GTEST_SKIP() << "this GPU or build does not have it";
  for (const bool has_silu : {false, true}) {
    const Data data({1980, 8400, 1032}, DType::bfloat16, has_silu);
    const std::vector<float> all = run_large(data, 0, 1980);
    for (const std::int64_t first : {0, 1, 130, 700}) {
      for (const std::int64_t m : {1, 17, 64, 65, 128, 200, 300}) {
        const std::vector<float> part = run_large(data, first, m);

        EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + first * data.columns))
            << "rows " << first << " to " << first + m << (has_silu ? " silu" : "");
      }
    }
  }
}

// With few steps a tile is stored while the one before may still be under way.
TEST(CudaLargeProduct, IsTheSameInAHundredRuns) {
  TRIREME_REQUIRES_GPU();
  if (!has_large_product()) GTEST_SKIP() << "this GPU or build does not have it";
  for (const Shape& shape : {Shape{600, 4096, 1024}, Shape{2100, 3600, 64}}) {
    const Data data(shape, DType::bfloat16, true);
    const std::vector<float> once = run_large(data, 0, shape.m);
    for (int i = 0; i < 100; ++i) {
      ASSERT_EQ(run_large(data, 0, shape.m), once) << "run " << i << " m=" << shape.m;
    }
  }
}

TEST(CudaProductWithSilu, AgreesWithTheCpuInEverySmallForm) {
  TRIREME_REQUIRES_GPU();
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    for (const std::int64_t m : {1, 2, 7, 8, 9, 16}) {
      for (const auto& [n, k] :
           {std::pair{2, 8}, {6, 64}, {34, 520}, {256, 4096}, {2000, 576}, {28672, 256}}) {
        const Data data({m, n, k}, dtype, true);
        for (const cuda::ProductForm form : cuda::kSmallForms) {
          if (form == cuda::ProductForm::dot && m > 1) continue;
          const tensor::Stream stream;
          const Bytes y = room_for(m * data.columns, dtype);
          const cuda::Gemm::Operands operands = data.operands(y, 0, m, 0);
          ASSERT_TRUE(cuda::takes_small_product(operands, form));

          cuda::small_product(operands, form, stream.get());
          stream.synchronize();

          data.expect(rows_of(y, dtype, m, data.columns, 0),
                      "form " + std::to_string(static_cast<int>(form)));
        }
      }
    }
  }
}

TEST(CudaProductWithSilu, AgreesWithTheCpuTunedAndNot) {
  TRIREME_REQUIRES_GPU();
  using Kernels = cuda::Gemm::Kernels;
  for (const Kernels kernels : {Kernels::all, Kernels::library, Kernels::invariant}) {
    for (const DType dtype : kFloatTypes) {
      for (const Shape& shape : {Shape{1, 64, 64},
                                 {5, 100, 40},
                                 {16, 256, 136},
                                 {70, 98, 576},
                                 {129, 512, 256},
                                 {512, 1024, 1024}}) {
        // Invariant products are looked for with 512 rows.
        if (kernels == Kernels::invariant && (shape.m != 512 || dtype == DType::float32)) continue;
        const Data data(shape, dtype, true);
        const tensor::Stream stream;
        cuda::Gemm gemm(kernels);
        for (const bool is_tuned : {false, true}) {
          const Bytes y = room_for(shape.m * data.columns, dtype);
          if (is_tuned) {
            // tune() overwrites what it works with.
            const Data other(shape, dtype, true);
            const cuda::Gemm::Operands operands = other.operands(y, 0, shape.m, 0);
            gemm.tune({&operands, 1}, stream.get());
          } else if (kernels == Kernels::invariant) {
            continue;
          }
          gemm.run(data.operands(y, 0, shape.m, 0), stream.get());
          stream.synchronize();

          data.expect(rows_of(y, dtype, shape.m, data.columns, 0),
                      is_tuned ? "tuned" : "not tuned");
        }
      }
    }
  }
}

}  // namespace
}  // namespace trireme::kernels
