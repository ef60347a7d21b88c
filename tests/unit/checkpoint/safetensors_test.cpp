#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include "tests/support/refusal.h"
#include "tests/support/safetensors_file.h"

namespace trireme::checkpoint {
namespace {

constexpr const char* kEntry = R"({"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})";

SafetensorsHeader parse(const std::string& file) {
  const std::uint64_t length = header_length(file.substr(0, 8), file.size(), "x");
  return parse_safetensors_header(std::string_view(file).substr(8, length), file.size(), "x");
}

std::string refusal(const std::string& header, std::size_t data_bytes) {
  return test::refusal(ErrorKind::checkpoint, [&] {
    parse(test::safetensors_file(header, std::string(data_bytes, 'x')));
  });
}

std::string length_bytes(std::uint64_t length) {
  return test::safetensors_file("", "").replace(
      0, 8, std::string(reinterpret_cast<const char*>(&length), 8));
}

TEST(SafetensorsHeader, GivesPlacesFromTheBeginOfTheFile) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]},)"
      R"("a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}})";

  const SafetensorsHeader parsed = parse(test::safetensors_file(header, std::string(14, 'x')));

  ASSERT_EQ(parsed.tensors.size(), 2U);
  EXPECT_EQ(parsed.tensors.at("a").dtype, DType::float16);
  EXPECT_EQ(parsed.tensors.at("a").shape, tensor::Shape({2, 2}));
  EXPECT_EQ(parsed.tensors.at("a").begin_bytes, 8 + header.size());
  EXPECT_EQ(parsed.tensors.at("b").begin_bytes, 8 + header.size() + 8);
  EXPECT_EQ(parsed.tensors.at("b").size_bytes, 6U);
}

TEST(SafetensorsHeader, AcceptsEmptyTensorsScalarsPaddingAndNoTensors) {
  EXPECT_EQ(parse(test::safetensors_file("{}", "")).tensors.size(), 0U);
  EXPECT_EQ(parse(test::safetensors_file("{}      ", "")).tensors.size(), 0U);
  const std::string header = R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                             R"("e":{"dtype":"F32","shape":[0,9],"data_offsets":[4,4]}})";
  EXPECT_EQ(parse(test::safetensors_file(header, "1234")).tensors.size(), 2U);
}

TEST(SafetensorsHeader, KeepsWhatItCannotUseApart) {
  const std::string header = R"({"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
                             R"("n":{"dtype":"F4","shape":[4],"data_offsets":[8,10]},)"
                             R"("v":{"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[10,14]}})";

  const SafetensorsHeader parsed = parse(test::safetensors_file(header, std::string(14, 'x')));

  EXPECT_TRUE(parsed.tensors.empty());
  EXPECT_EQ(parsed.unusable.at("i"), "dtype is I64, expected F32, BF16 or F16");
  ASSERT_EQ(parsed.integers.size(), 1U);
  EXPECT_EQ(parsed.integers.at("i").dtype, DType::int64);
  EXPECT_EQ(parsed.integers.at("i").begin_bytes, 8 + header.size());
  EXPECT_EQ(parsed.unusable.at("n"), "dtype is F4, expected F32, BF16 or F16");
  EXPECT_EQ(parsed.unusable.at("v"), "has 5 dimensions, expected at most 4");
}

TEST(SafetensorsHeader, RefusesImpossibleLengths) {
  const auto length_refusal = [](const std::string& file) {
    return test::refusal(ErrorKind::checkpoint, [&] { parse(file); });
  };

  TRIREME_EXPECT_CONTAINS(length_refusal(""), "is 0 bytes long, expected at least 8");
  TRIREME_EXPECT_CONTAINS(length_refusal("1234567"), "is 7 bytes long, expected at least 8");
  TRIREME_EXPECT_CONTAINS(length_refusal(length_bytes(0)), "header length is 0, expected 2 to");
  TRIREME_EXPECT_CONTAINS(length_refusal(length_bytes(1)), "header length is 1, expected 2 to");
  TRIREME_EXPECT_CONTAINS(length_refusal(length_bytes(100'000'001)), "header length is 100000001");
  TRIREME_EXPECT_CONTAINS(length_refusal(length_bytes(~std::uint64_t{0})),
                          "not a safetensors file");
  TRIREME_EXPECT_CONTAINS(length_refusal(length_bytes(99)), "expected at least 107 for its header");
}

struct BrokenHeader {
  const char* name;
  std::string header;
  std::size_t data_bytes;
  const char* message;
};

std::string entry(const char* dtype, const char* shape, const char* offsets) {
  return cat(R"({"t":{"dtype":)", dtype, R"(,"shape":)", shape, R"(,"data_offsets":)", offsets,
             "}}");
}

TEST(SafetensorsHeader, RefusesEachBrokenHeaderByName) {
  const BrokenHeader cases[] = {
      {"space first", " {}", 0, "does not begin with {"},
      {"list", "[]", 0, "does not begin with {"},
      {"not JSON", "{\"a\"", 0, "not JSON"},
      {"bad UTF-8", "{\"\xff\":1}", 0, "not JSON"},
      {"two documents", "{}{}", 0, "not JSON"},
      {"zero byte", std::string("{}\0", 3), 0, "zero byte"},
      {"deep", "{\"a\":" + std::string(100000, '['), 0, "nested deeper"},
      {"duplicate tensor", cat("{\"t\":", kEntry, ",\"t\":", kEntry, "}"), 16,
       "\"t\" stands twice"},
      {"metadata list", R"({"__metadata__":[]})", 0, "__metadata__ is no map of strings"},
      {"metadata number", R"({"__metadata__":{"a":1}})", 0, "__metadata__ is no map of strings"},
      {"entry is a number", R"({"t":3})", 0, "expected dtype, shape and data_offsets"},
      {"entry without shape", R"({"t":{"dtype":"F32","data_offsets":[0,4]}})", 4,
       "expected dtype, shape"},
      {"unknown key", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4,
       "expected dtype, shape"},
      {"dtype number", entry("1", "[1]", "[0,4]"), 4, "dtype is no string"},
      {"shape object", entry(R"("F32")", "{}", "[0,4]"), 4, "shape is no list"},
      {"negative extent", entry(R"("F32")", "[-1]", "[0,4]"), 4, "shape holds -1"},
      {"fractional extent", entry(R"("F32")", "[1.5]", "[0,4]"), 4, "shape holds 1.5"},
      {"string extent", entry(R"("F32")", R"(["1"])", "[0,4]"), 4, "shape holds \"1\""},
      {"extent above int64", entry(R"("F32")", "[18446744073709551615]", "[0,4]"), 4,
       "shape holds"},
      {"offsets of three", entry(R"("F32")", "[1]", "[0,4,8]"), 4, "no list of two"},
      {"offsets string", entry(R"("F32")", "[1]", R"("0,4")"), 4, "no list of two"},
      {"negative offset", entry(R"("F32")", "[1]", "[-4,0]"), 4, "data_offsets holds -4"},
      {"offsets reversed", entry(R"("F32")", "[1]", "[4,0]"), 4, "expected the first not above"},
      {"shape overflows", entry(R"("F32")", "[4294967296,4294967296,2]", "[0,4]"), 4, "overflows"},
      {"too few bytes", entry(R"("F32")", "[2]", "[0,4]"), 4,
       "has 8 bytes, data_offsets give it 4"},
      {"too many bytes", entry(R"("BF16")", "[1]", "[0,4]"), 4,
       "has 2 bytes, data_offsets give it 4"},
      {"unusable dtype too short", entry(R"("I64")", "[2]", "[0,8]"), 8, "has 16 bytes"},
      {"hole at the begin", entry(R"("F32")", "[1]", "[4,8]"), 8, "there is a hole before it"},
      {"overlap", cat("{\"a\":", kEntry, ",\"b\":", kEntry, "}"), 16, "it overlaps another"},
      {"bytes after", entry(R"("F32")", "[1]", "[0,4]"), 5, "bytes follow the last tensor"},
      {"truncated", entry(R"("F32")", "[1]", "[0,4]"), 3, "the file is truncated"},
      {"offset far outside", entry(R"("F32")", "[1]", "[9223372036854775803,9223372036854775807]"),
       4, "there is a hole before it"},
  };

  for (const BrokenHeader& broken : cases) {
    SCOPED_TRACE(broken.name);
    TRIREME_EXPECT_CONTAINS(refusal(broken.header, broken.data_bytes), broken.message);
  }
}

TEST(SafetensorsHeader, NamesBothSizesOfATruncatedFile) {
  const std::string header = entry(R"("F32")", "[1]", "[0,4]");

  const std::string message = refusal(header, 1);

  TRIREME_EXPECT_CONTAINS(
      message, cat("is ", 8 + header.size() + 1, " bytes long, expected ", 8 + header.size() + 4));
}

}  // namespace
}  // namespace trireme::checkpoint
