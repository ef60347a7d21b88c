#include "io/hdf5_file.h"

#include <gtest/gtest.h>

#include "expect_error.h"
#include "support/hdf5_builder.h"
#include "support/temporary_directory.h"

namespace trireme::io {
namespace {

using test::expect_error;

class Hdf5 : public testing::Test {
 protected:
  std::string path() const { return directory_.file("f.h5"); }
  Hdf5File created() const { return Hdf5File::create(path(), Hdf5File::Existing::refuse); }

  test::TemporaryDirectory directory_;
};

TEST_F(Hdf5, KeepsArraysOfAnyShape) {
  std::vector<std::int64_t> loads(2 * 3 * 4000);
  for (std::size_t i = 0; i < loads.size(); ++i) loads[i] = static_cast<std::int64_t>(i * i);
  Hdf5File file = created();
  file.write("/group/loads", std::span<const std::int64_t>(loads), {2, 3, 4000});
  file.write("/small", std::vector<float>{1.5F, 2.5F});
  file.write("/empty", std::vector<std::int32_t>{});
  file.close();

  const Hdf5File read = Hdf5File::open(path());
  const Hdf5Dataset dataset = read.dataset("/group/loads");
  EXPECT_EQ(dataset.info().shape, (std::vector<std::uint64_t>{2, 3, 4000}));
  EXPECT_EQ(dataset.info().type_name, "int64");
  EXPECT_GT(dataset.info().chunk_bytes, 0U);
  EXPECT_EQ(dataset.row_elements(), 12'000U);
  EXPECT_EQ(dataset.read<std::int64_t>(0, 2), loads);
  EXPECT_EQ(dataset.read<double>(1, 1)[5], static_cast<double>(loads[12'005]));
  EXPECT_EQ(read.dataset("/small").read<float>(1, 1), std::vector<float>{2.5F});
  EXPECT_EQ(read.dataset("/empty").num_rows(), 0U);
}

TEST_F(Hdf5, GrowsDatasets) {
  const std::vector<const char*> names = {"no", "yes"};
  Hdf5File file = created();
  {
    Hdf5Dataset numbers = file.create_appendable<std::int32_t>("/numbers", {2});
    Hdf5Dataset words = file.create_appendable_strings("/words");
    Hdf5Dataset flags = file.create_appendable_enum("/flags", names);
    for (std::int32_t i = 0; i < 3; ++i) {
      numbers.append(std::span<const std::int32_t>(std::vector<std::int32_t>{i, -i}));
      words.append_strings(std::vector<std::string>{"w" + std::to_string(i), ""});
      flags.append(std::span<const std::uint8_t>(std::vector<std::uint8_t>{1}));
    }
  }
  file.close();

  const Hdf5File read = Hdf5File::open(path());
  EXPECT_EQ(read.dataset("/numbers").read<std::int32_t>(1, 2),
            (std::vector<std::int32_t>{1, -1, 2, -2}));
  EXPECT_EQ(*read.dataset("/words").read_strings(1, 3, 100),
            (std::vector<std::string>{"", "w1", ""}));
  EXPECT_EQ(read.dataset("/flags").read<std::uint8_t>(0, 3), (std::vector<std::uint8_t>{1, 1, 1}));
  EXPECT_EQ(read.dataset("/words").info().kind, ElementKind::vlen_string);
}

TEST_F(Hdf5, KeepsAttributes) {
  Hdf5File file = created();
  const std::vector<std::pair<std::string, Json>> values = {
      {"text", "Grüße"},  {"empty", ""},
      {"number", -3},     {"large", 18446744073709551615ULL},
      {"fraction", 0.25}, {"long", std::string(100'000, 'x')}};
  for (const auto& [name, value] : values) file.write_attribute("/", name, value);
  file.write_attribute("/", "flag", true);
  file.close();

  const Hdf5File read = Hdf5File::open(path());
  for (const auto& [name, value] : values) EXPECT_EQ(read.attribute("/", name), value) << name;
  EXPECT_EQ(read.attribute("/", "flag"), 1);
  EXPECT_EQ(
      read.attribute_names("/"),
      (std::vector<std::string>{"empty", "flag", "fraction", "large", "long", "number", "text"}));
  expect_error(ErrorKind::input, {path(), "attribute none"}, [&] { read.attribute("/", "none"); });
}

TEST_F(Hdf5, NeverAllocatesMoreThanIsAllowed) {
  test::Hdf5Builder(path())
      .strings("/words", {"12345", "123456789"})
      .fixed_strings("/fixed", 8, {"a", "b"});
  const Hdf5File file = Hdf5File::open(path());

  EXPECT_TRUE(file.dataset("/words").read_strings(0, 2, 14));
  EXPECT_FALSE(file.dataset("/words").read_strings(0, 2, 13));
  EXPECT_TRUE(file.dataset("/words").read_strings(0, 1, 5));
  EXPECT_TRUE(file.dataset("/fixed").read_strings(0, 2, 16));
  EXPECT_FALSE(file.dataset("/fixed").read_strings(0, 2, 15));
}

TEST_F(Hdf5, TellsWhatIsThere) {
  test::Hdf5Builder(path())
      .numbers("/group/inner", {1})
      .booleans("/flags", {true, false})
      .soft_link("/link", "/flags")
      .external_link("/outside", "/etc/passwd", "/x");
  const Hdf5File file = Hdf5File::open(path());

  const std::vector<LinkInfo> links = file.links("/");

  ASSERT_EQ(links.size(), 4U);
  EXPECT_EQ(links[0].name, "flags");
  EXPECT_EQ(links[0].target, LinkInfo::Target::dataset);
  EXPECT_EQ(links[1].target, LinkInfo::Target::group);
  EXPECT_EQ(links[2].kind, LinkInfo::Kind::soft);
  EXPECT_EQ(links[3].kind, LinkInfo::Kind::external);
  EXPECT_EQ(file.dataset("/flags").info().kind, ElementKind::boolean);
  EXPECT_EQ(file.dataset("/flags").read<std::int64_t>(0, 2), (std::vector<std::int64_t>{1, 0}));
  EXPECT_TRUE(file.has_group("/group"));
  EXPECT_FALSE(file.has_group("/flags"));
  EXPECT_FALSE(file.find_dataset("/none/at/all"));
  expect_error(ErrorKind::input, {path(), "/group"}, [&] { file.dataset("/group"); });
  expect_error(ErrorKind::input, {path(), "/none", "not there"}, [&] { file.dataset("/none"); });
}

TEST_F(Hdf5, CopiesDatasetsAsTheyAre) {
  test::Hdf5Builder(path()).numbers("/column", {1, 2, 3}, H5T_STD_I16BE);
  const Hdf5File from = Hdf5File::open(path());
  Hdf5File to = Hdf5File::create(directory_.file("to.h5"), Hdf5File::Existing::refuse);

  to.copy(from, "/column");
  to.close();

  const Hdf5Dataset copy = Hdf5File::open(directory_.file("to.h5")).dataset("/column");
  EXPECT_EQ(copy.info().type_name, "int16");
  EXPECT_EQ(copy.read<std::int32_t>(0, 3), (std::vector<std::int32_t>{1, 2, 3}));
}

TEST_F(Hdf5, RefusesToReplaceUnlessTold) {
  created().close();

  expect_error(ErrorKind::output, {path()}, [&] { created(); });
  Hdf5File::create(path(), Hdf5File::Existing::replace).close();
  expect_error(ErrorKind::output, {"/no/such/f.h5", "No such file"},
               [] { Hdf5File::create("/no/such/f.h5", Hdf5File::Existing::replace); });
}

TEST_F(Hdf5, NoticesADatasetThatIsOpenWhenItCloses) {
  Hdf5File file = created();
  const Hdf5Dataset open = file.create_appendable<float>("/open");

  expect_error(ErrorKind::io, {path()}, [&] { file.close(); });
}

// Cut at every length, an HDF5 file is refused or read, never worse.
TEST_F(Hdf5, SurvivesFilesThatAreCut) {
  test::Hdf5Builder(path()).strings("/prompt", {"one", "two"}).numbers("/n", {1, 2});
  std::string bytes(std::filesystem::file_size(path()), '\0');
  std::ifstream(path(), std::ios::binary)
      .read(bytes.data(), static_cast<std::streamsize>(bytes.size()));

  for (std::size_t length = 0; length < bytes.size(); length += 61) {
    const std::string cut = directory_.write("cut.h5", bytes.substr(0, length));
    try {
      const Hdf5File file = Hdf5File::open(cut);
      for (const LinkInfo& link : file.links("/")) file.dataset("/" + link.name);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input) << error.what();
    }
  }
}

}  // namespace
}  // namespace trireme::io
