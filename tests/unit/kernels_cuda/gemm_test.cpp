#include "kernels/gemm.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "device_data.h"
#include "kernels/cuda/detail/small_product.h"

namespace trireme::kernels {
namespace {

struct Shape {
  std::int64_t m, n, k;
};
const std::vector<Shape> kShapes = {{1, 64, 64},     {3, 100, 40},   {17, 256, 136}, {64, 49, 576},
                                    {129, 512, 256}, {1, 128, 2048}, {200, 31, 77},  {2, 1, 8},
                                    {8, 16, 64},     {16, 1000, 576}};

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
          if (is_tuned) {
            const Bytes other_x = upload(x);  // tune() overwrites it
            cuda::Gemm::Operands tuned = operands;
            tuned.x = other_x.data();
            on_gpu.tune({&tuned, 1}, stream.get());
          }
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

/// Values of a product of kMostSmallRows rows, and room for results with columns behind each row.
struct SmallData {
  static constexpr std::int64_t kRows = cuda::kMostSmallRows;
  std::int64_t n, k;
  TypedValues x, w;
  std::vector<float> bias, expected;  ///< expected: [kRows, n]
  Bytes x_there, w_there;
  OnDevice<float> bias_there;

  SmallData(std::int64_t columns, std::int64_t depth, DType dtype)
      : n(columns),
        k(depth),
        x(to_dtype(random_floats(kRows * (k + 8), 1), dtype)),
        w(to_dtype(random_floats(n * k, 2), dtype)),
        bias(random_floats(n, 3)),
        expected(static_cast<std::size_t>(kRows * n)),
        x_there(upload(x)),
        w_there(upload(w)),
        bias_there(bias) {
    cpu::Gemm on_cpu(cpu::detect_instruction_set(), false);
    on_cpu.run({.x = x.floats.data(),
                .x_stride = k + 8,
                .weight = w.floats.data(),
                .weight_dtype = DType::float32,
                .bias = bias.data(),
                .y = expected.data(),
                .y_stride = n,
                .m = kRows,
                .n = n,
                .k = k});
  }

  /// The first m rows, [m, n].
  std::vector<float> run(std::int64_t m, cuda::ProductForm form, DType y_dtype) const {
    const tensor::Stream stream;
    const Bytes y = room_for(m * (n + 3), y_dtype);
    const cuda::Gemm::Operands operands{.x = x_there.data(),
                                        .x_stride = k + 8,
                                        .weight = w_there.data(),
                                        .dtype = x.dtype,
                                        .bias = bias_there.data(),
                                        .y = y.data(),
                                        .y_stride = n + 3,
                                        .y_dtype = y_dtype,
                                        .m = m,
                                        .n = n,
                                        .k = k};
    EXPECT_TRUE(cuda::takes_small_product(operands, form));
    cuda::small_product(operands, form, stream.get());
    stream.synchronize();
    const std::vector<float> all = to_floats(y.values(), y_dtype);
    std::vector<float> rows;
    for (std::int64_t row = 0; row < m; ++row) {
      const auto begin = all.begin() + row * (n + 3);
      rows.insert(rows.end(), begin, begin + n);
      EXPECT_TRUE(std::isnan(begin[n])) << "wrote behind a row's end";
    }
    return rows;
  }
};

const std::vector<std::pair<std::int64_t, std::int64_t>> kSmallExtents = {
    {1, 8},     {16, 8},     {100, 8},    {1, 64},     {4096, 64},
    {100, 576}, {4096, 576}, {16, 4096},  {100, 4096}, {4096, 4096},
    {17, 520},  {1, 14336},  {16, 14336}, {9000, 72},  {100, 14336}};

TEST(CudaSmallProduct, AgreesWithTheCpuInEveryForm) {
  TRIREME_REQUIRES_GPU();
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    for (const auto& [n, k] : kSmallExtents) {
      const SmallData data(n, k, dtype);
      for (const cuda::ProductForm form : cuda::kSmallForms) {
        for (const std::int64_t m : {1, 2, 5, 8, 9, 16}) {
          if (form == cuda::ProductForm::dot && m > 1) continue;
          for (const DType y_dtype : {dtype, DType::float32}) {
            const std::vector<float> actual = data.run(m, form, y_dtype);

            const std::vector<float> expected(data.expected.begin(), data.expected.begin() + m * n);
            const float relative = y_dtype == DType::float32 ? 2e-5f : tolerance(dtype);
            expect_near(actual, expected, relative,
                        std::string(name_of(dtype)) + " form " +
                            std::to_string(static_cast<int>(form)) + " m=" + std::to_string(m) +
                            " n=" + std::to_string(n) + " k=" + std::to_string(k),
                        std::sqrt(static_cast<float>(k)));
          }
        }
      }
    }
  }
}

TEST(CudaSmallProduct, GivesARowTheSameBitsWhateverMAndTheTilingAre) {
  TRIREME_REQUIRES_GPU();
  for (const auto& [n, k] : kSmallExtents) {
    const SmallData data(n, k, DType::bfloat16);
    const std::vector<float> all = data.run(16, cuda::ProductForm::rows_16, DType::float32);
    for (const auto form :
         {cuda::ProductForm::rows_8, cuda::ProductForm::rows_16, cuda::ProductForm::rows_32}) {
      for (std::int64_t m = 1; m <= 16; ++m) {
        const std::vector<float> rows = data.run(m, form, DType::float32);

        EXPECT_TRUE(std::equal(rows.begin(), rows.end(), all.begin()))
            << "form " << static_cast<int>(form) << " m=" << m << " n=" << n << " k=" << k;
      }
    }
  }
}

TEST(CudaSmallProduct, TakesNeitherManyRowsNorUnalignedOnes) {
  alignas(16) static std::byte memory[64] = {};
  cuda::Gemm::Operands o{.x = memory, .x_stride = 24, .weight = memory, .m = 1, .n = 5, .k = 16};
  const auto is_taken = [](const cuda::Gemm::Operands& operands) {
    return cuda::takes_small_product(operands, cuda::ProductForm::dot);
  };
  EXPECT_TRUE(is_taken(o));

  const auto with = [&](auto change) {
    cuda::Gemm::Operands changed = o;
    change(changed);
    return changed;
  };
  using Operands = cuda::Gemm::Operands;
  EXPECT_FALSE(is_taken(with([](Operands& c) { c.m = 2; })));
  EXPECT_FALSE(is_taken(with([](Operands& c) { c.k = 12; })));
  EXPECT_FALSE(is_taken(with([](Operands& c) { c.x_stride = 20; })));
  EXPECT_FALSE(is_taken(with([](Operands& c) { c.x = memory + 2; })));
  EXPECT_FALSE(is_taken(with([](Operands& c) { c.dtype = c.y_dtype = DType::float32; })));
  EXPECT_FALSE(is_taken(with([](Operands& c) { c.y_dtype = DType::float16; })));
}

class CudaGemmTable : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "products.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path() const { return directory_ / "table"; }

 private:
  std::filesystem::path directory_;
};

TEST_F(CudaGemmTable, IsLoadedAsItWasSaved) {
  TRIREME_REQUIRES_GPU();
  const tensor::Stream stream;
  cuda::Gemm tuned, loaded;
  for (const Shape& s : {Shape{1, 128, 2048}, {8, 512, 256}, {64, 256, 128}}) {
    const Bytes x = upload(to_dtype(random_floats(s.m * (s.k + 8), 1), DType::bfloat16)),
                w = upload(to_dtype(random_floats(s.n * s.k, 2), DType::bfloat16)),
                y = room_for(s.m * (s.n + 16), DType::bfloat16);
    const auto operands = operands_of(s, x, w, y, DType::bfloat16, DType::bfloat16);
    tuned.tune({&operands, 1}, stream.get());
  }

  tuned.save(path());
  const std::string reason = loaded.load(path());
  loaded.save(path() + ".again");

  EXPECT_EQ(reason, "");
  const auto text_of = [](const std::string& name) {
    std::ifstream file(name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_GT(text_of(path()).size(), 100u);
  EXPECT_EQ(text_of(path()), text_of(path() + ".again"));
}

TEST_F(CudaGemmTable, LeavesAFileOfAnotherMachineAlone) {
  TRIREME_REQUIRES_GPU();
  cuda::Gemm gemm;
  gemm.save(path());
  std::string text;
  std::getline(std::ifstream(path()), text, '\0');
  text.replace(text.find("cuBLASLt "), 10, "cuBLASLt 9");
  std::ofstream(path()) << text;

  EXPECT_NE(gemm.load(path()).find("another machine"), std::string::npos);
  EXPECT_NE(gemm.load(path() + ".none").find("cannot be read"), std::string::npos);
}

}  // namespace
}  // namespace trireme::kernels
