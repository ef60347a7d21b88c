#include "kernels/cuda/detail/product_table.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace trireme::kernels::cuda {
namespace {

constexpr std::string_view kMachine = "Some GPU 80GB, cuBLASLt 130100";

const ProductKey kKey{8, 4096, 14336, DType::bfloat16, DType::float32, true};
const ProductChoice kLibrary{
    .algorithm = {0x1234567890abcdefU, 0, ~std::uint64_t{0}, 3, 4, 5, 6, 7}};

ProductTable some_table() {
  return {{kKey, kLibrary},
          {{1, 6144, 4096, DType::float16, DType::float16, true}, {ProductForm::dot}},
          {{16, 128, 2048, DType::bfloat16, DType::float32, true}, {ProductForm::rows_32}},
          {{1024, 256, 64, DType::bfloat16, DType::bfloat16, true, true}, {ProductForm::tiles}},
          {{1024, 7, 9, DType::float32, DType::float32, false}, kLibrary}};
}

TEST(ProductTable, IsReadAsItWasWritten) {
  for (const ProductTable& table : {some_table(), ProductTable{}}) {
    const ReadTable read = table_of(text_of(table, kMachine), kMachine);

    EXPECT_EQ(read.reason, "");
    EXPECT_EQ(read.table, table);
  }
}

TEST(ProductTable, RefusesEveryPartOfATextAndEveryChangedByte) {
  const std::string text = text_of(some_table(), kMachine);
  for (std::size_t i = 0; i < text.size(); ++i) {
    EXPECT_NE(table_of(text.substr(0, i), kMachine).reason, "") << "first " << i << " bytes";
    std::string changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    const ReadTable read = table_of(changed, kMachine);
    EXPECT_NE(read.reason, "") << "byte " << i;
    EXPECT_TRUE(read.table.empty()) << "byte " << i;
  }
  EXPECT_NE(table_of(text + text, kMachine).reason, "");
  EXPECT_NE(table_of(text + "\n", kMachine).reason, "");
}

TEST(ProductTable, RefusesATableOfAnotherMachine) {
  const ReadTable read = table_of(text_of(some_table(), kMachine), "Another GPU, cuBLASLt 130100");

  EXPECT_NE(read.reason.find("another machine"), std::string::npos) << read.reason;
}

TEST(ProductTable, RefusesKeysThatNoProductHas) {
  const auto with = [](auto change) {
    ProductKey key = kKey;
    change(key);
    return text_of({{key, kLibrary}}, kMachine);
  };
  for (const std::string& text : {with([](ProductKey& key) { key.bucket = 33; }),
                                  with([](ProductKey& key) { key.bucket = 0; }),
                                  with([](ProductKey& key) { key.bucket = -8; }),
                                  with([](ProductKey& key) { key.bucket = std::int64_t{1} << 62; }),
                                  with([](ProductKey& key) { key.n = 0; }),
                                  with([](ProductKey& key) { key.k = std::int64_t{1} << 50; }),
                                  with([](ProductKey& key) { key.dtype = DType::int32; }),
                                  with([](ProductKey& key) { key.y_dtype = DType::uint8; })}) {
    EXPECT_NE(table_of(text, kMachine).reason.find("line 3"), std::string::npos) << text;
  }
}

TEST(ProductTable, IsReadFromRegularFilesOnly) {
  const auto directory = std::filesystem::path(testing::TempDir()) / "trireme_product_table";
  std::filesystem::remove_all(directory);
  std::filesystem::create_directory(directory);
  const std::string path = directory / "table";
  const std::string text = text_of(some_table(), kMachine);

  write_table(path, "before");
  write_table(path, text);
  EXPECT_EQ(read_table(path, kMachine).table, some_table());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), {}), 1);

  EXPECT_NE(read_table(directory, kMachine).reason, "");
  EXPECT_NE(read_table(path + ".none", kMachine).reason, "");
  std::ofstream(path) << std::string(std::size_t{5} << 20, '\n');
  EXPECT_NE(read_table(path, kMachine).reason.find("larger"), std::string::npos);
  EXPECT_THROW(write_table(directory / "none" / "table", text), Error);
  EXPECT_THROW(write_table(directory, text), Error);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace trireme::kernels::cuda
