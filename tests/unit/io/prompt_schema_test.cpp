// Every rule of the prompt file broken once: the file is refused and the message names file and
// object.

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <functional>

#include "expect_error.h"
#include "io/prompt_reader.h"
#include "support/hdf5_builder.h"
#include "support/temporary_directory.h"

namespace trireme::io {
namespace {

using test::expect_error;
using test::Hdf5Builder;

struct Mutant {
  const char* name;
  std::function<void(Hdf5Builder&)> build;
  std::vector<std::string> parts;  // what the message holds beside the file's name
};

constexpr hsize_t kHuge = hsize_t{1} << 60;

std::vector<Mutant> mutants_of_sources() {
  return {
      {"nothing", [](Hdf5Builder&) {}, {"none of /prompt"}},
      {"two sources",
       [](Hdf5Builder& f) { f.strings("/prompt", {"a"}).strings("/messages", {"[]"}); },
       {"both", "/messages", "/prompt"}},
      {"0 rows", [](Hdf5Builder& f) { f.strings("/prompt", {}); }, {"/prompt", "0 rows"}},
      {"0 token rows",
       [](Hdf5Builder& f) { f.numbers("/input_ids/data", {}).numbers("/input_ids/offsets", {0}); },
       {"/input_ids", "0 rows"}},
      {"no offsets at all",
       [](Hdf5Builder& f) { f.numbers("/input_ids/data", {}).numbers("/input_ids/offsets", {}); },
       {"/input_ids/offsets", "empty"}},
      {"numbers for prompts",
       [](Hdf5Builder& f) { f.numbers("/prompt", {1}); },
       {"/prompt", "int64", "strings"}},
      {"a scalar",
       [](Hdf5Builder& f) { f.declared("/prompt", {}, H5T_C_S1); },
       {"/prompt", "dimensions"}},
      {"two dimensions",
       [](Hdf5Builder& f) {
         f.declared("/prompt", {2, 2}, H5T_C_S1);
       },
       {"/prompt", "2 dimensions"}},
      {"2^60 rows",
       [](Hdf5Builder& f) { f.declared("/prompt", {kHuge}, H5T_C_S1, {1024}); },
       {"/prompt", "1152921504606846976 rows"}},
      {"2^60 offsets",
       [](Hdf5Builder& f) {
         f.numbers("/prompt/data", {1}, H5T_STD_U8LE)
             .declared("/prompt/offsets", {kHuge}, H5T_STD_I64LE, {1024});
       },
       {"/prompt", "1152921504606846975 rows"}},
      {"rows that were never written",
       [](Hdf5Builder& f) { f.declared("/prompt", {1'000'000}, H5T_C_S1, {1024}); },
       {"/prompt", "ever written"}},
      {"strings of 1 GiB",
       [](Hdf5Builder& f) {
         const hid_t type = H5Tcopy(H5T_C_S1);
         H5Tset_size(type, std::size_t{1} << 30);
         f.declared("/prompt", {2}, type);
         H5Tclose(type);
       },
       {"/prompt", "1073741824"}},
      {"chunks of 2 GiB",
       [](Hdf5Builder& f) {
         f.declared("/prompt/data", {hsize_t{1} << 31}, H5T_STD_U8LE, {hsize_t{1} << 31})
             .numbers("/prompt/offsets", {0, 1LL << 31});
       },
       {"/prompt/data", "chunks of 2147483648"}},
      {"messages as a group", [](Hdf5Builder& f) { f.group("/messages"); }, {"/messages", "group"}},
      {"ids without group",
       [](Hdf5Builder& f) { f.numbers("/input_ids", {1}); },
       {"/input_ids", "no group"}},
      {"group without data",
       [](Hdf5Builder& f) { f.numbers("/prompt/offsets", {0}); },
       {"/prompt/data", "not there"}},
      {"group without offsets",
       [](Hdf5Builder& f) { f.numbers("/prompt/data", {1}, H5T_STD_U8LE); },
       {"/prompt/offsets", "not there"}},
      {"bytes that are no bytes",
       [](Hdf5Builder& f) {
         f.numbers("/prompt/data", {1}, H5T_STD_I32LE).numbers("/prompt/offsets", {0, 1});
       },
       {"/prompt/data", "uint8"}},
      {"ids that are floats",
       [](Hdf5Builder& f) {
         f.floats("/input_ids/data", {1}).numbers("/input_ids/offsets", {0, 1});
       },
       {"/input_ids/data", "float64", "int32"}},
      {"offsets that are floats",
       [](Hdf5Builder& f) {
         f.numbers("/input_ids/data", {1}).floats("/input_ids/offsets", {0, 1});
       },
       {"/input_ids/offsets", "int64"}},
  };
}

std::vector<Mutant> mutants_of_offsets() {
  const auto with = [](std::vector<std::int64_t> offsets) {
    return [offsets](Hdf5Builder& f) {
      f.numbers("/input_ids/data", {1, 2, 3}).numbers("/input_ids/offsets", offsets);
    };
  };
  return {
      {"first is not 0", with({1, 3}), {"/input_ids/offsets", "begins with 1"}},
      {"first is negative", with({-1, 3}), {"/input_ids/offsets", "begins with -1"}},
      {"last is short", with({0, 2}), {"/input_ids/offsets", "ends with 2", "3"}},
      {"last is long", with({0, 4}), {"/input_ids/offsets", "ends with 4"}},
      {"last is 2^60",
       with({0, 1LL << 60}),
       {"/input_ids/offsets", "ends with 1152921504606846976"}},
      {"last is negative", with({0, -3}), {"/input_ids/offsets", "ends with -3"}},
      {"decreasing", with({0, 2, 1, 3}), {"/input_ids/offsets", "value 2 is 1", "at least 2"}},
      {"beyond the end and back", with({0, 5, 3}), {"/input_ids/offsets", "value 2 is 3"}},
      {"negative inside", with({0, -5, 3}), {"/input_ids/offsets", "value 1 is -5"}},
  };
}

std::vector<Mutant> mutants_of_columns() {
  const auto with = [](std::function<void(Hdf5Builder&)> add) {
    return [add](Hdf5Builder& f) {
      f.strings("/prompt", {"a", "b"});
      add(f);
    };
  };
  std::vector<Mutant> mutants = {
      {"repeated id",
       with([](Hdf5Builder& f) {
         f.strings("/custom_id", {"x", "x"});
       }),
       {"/custom_id", "rows 0 and 1", "\"x\""}},
      {"repeated integer id",
       with([](Hdf5Builder& f) {
         f.numbers("/custom_id", {7, 7});
       }),
       {"/custom_id", "rows 0 and 1", "7"}},
      {"id of 64 bits",
       with([](Hdf5Builder& f) {
         f.numbers("/custom_id", {-1, 7}, H5T_STD_U64LE);
       }),
       {}},  // HDF5 clips -1 to 0 while writing: a good file
      {"id with bad UTF-8",
       with([](Hdf5Builder& f) {
         f.strings("/custom_id", {"x", "\xff"});
       }),
       {"/custom_id", "row 1", "UTF-8"}},
      {"ids that are floats",
       with([](Hdf5Builder& f) {
         f.floats("/custom_id", {1, 2});
       }),
       {"/custom_id", "float64"}},
      {"status of strings",
       with([](Hdf5Builder& f) {
         f.strings("/status", {"", ""});
       }),
       {"/status"}},
      {"errors of numbers",
       with([](Hdf5Builder& f) {
         f.numbers("/error", {0, 0});
       }),
       {"/error"}},
      {"a group for a column",
       with([](Hdf5Builder& f) { f.group("/max_tokens"); }),
       {"/max_tokens"}},
      {"2^60 rows",
       with([](Hdf5Builder& f) { f.declared("/max_tokens", {kHuge}, H5T_STD_I64LE, {1024}); }),
       {"/max_tokens", "1152921504606846976", "expected 2"}},
      {"two dimensions",
       with([](Hdf5Builder& f) {
         f.declared("/max_tokens", {2, 1}, H5T_STD_I64LE);
       }),
       {"/max_tokens", "2 dimensions"}},
      {"a compound",
       with([](Hdf5Builder& f) {
         const hid_t type = H5Tcreate(H5T_COMPOUND, 8);
         H5Tinsert(type, "x", 0, H5T_STD_I64LE);
         f.declared("/max_tokens", {2}, type);
         H5Tclose(type);
       }),
       {"/max_tokens", "compound"}},
  };
  mutants.erase(mutants.begin() + 2);
  static const std::vector<std::string> integers = {"max_tokens", "min_tokens", "top_k",
                                                    "n",          "logprobs",   "seed"};
  static const std::vector<std::string> floats = {
      "temperature",       "top_p", "min_p", "presence_penalty", "frequency_penalty",
      "repetition_penalty"};
  static const std::vector<std::string> flags = {"ignore_eos", "prompt_logprobs",
                                                 "add_generation_prompt", "continue_final_message"};
  static const std::vector<std::string> texts = {
      "stop", "stop_token_ids", "logit_bias", "chat_template_kwargs", "tools", "documents"};
  const auto add = [&](const std::string& column, auto write_wrong, auto write_short) {
    const std::string object = "/" + column;
    mutants.push_back({"wrong type",
                       with([=](Hdf5Builder& f) { write_wrong(f, object); }),
                       {object, "is of type"}});
    mutants.push_back({"wrong length",
                       with([=](Hdf5Builder& f) { write_short(f, object); }),
                       {object, "has 1 rows, expected 2"}});
  };
  const auto two_floats = [](Hdf5Builder& f, const std::string& o) { f.floats(o, {1, 1}); };
  const auto two_texts = [](Hdf5Builder& f, const std::string& o) { f.strings(o, {"1", "1"}); };
  const auto one_number = [](Hdf5Builder& f, const std::string& o) { f.numbers(o, {1}); };
  const auto one_text = [](Hdf5Builder& f, const std::string& o) { f.strings(o, {""}); };
  for (const auto& column : integers) add(column, two_floats, one_number);
  for (const auto& column : floats) add(column, two_texts, one_number);
  for (const auto& column : flags) add(column, two_texts, one_number);
  for (const auto& column : texts) add(column, two_floats, one_text);
  return mutants;
}

std::vector<Mutant> mutants_of_attributes() {
  const auto with = [](std::function<void(Hdf5Builder&)> add) {
    return [add](Hdf5Builder& f) {
      f.strings("/prompt", {"a"});
      add(f);
    };
  };
  return {
      {"other schema",
       with([](Hdf5Builder& f) { f.attribute("schema", "trireme.results"); }),
       {"attribute schema", "trireme.prompts"}},
      {"later version",
       with([](Hdf5Builder& f) { f.attribute("schema_version", "2.0.0"); }),
       {"attribute schema_version", "2.0.0"}},
      {"version that is no string",
       with([](Hdf5Builder& f) { f.attribute("schema_version", std::int64_t{1}); }),
       {"attribute schema_version"}},
      {"out of range",
       with([](Hdf5Builder& f) { f.attribute("n", std::int64_t{0}); }),
       {"attribute n", "256"}},
      {"two values",
       with([](Hdf5Builder& f) {
         f.attribute("n", std::vector<std::int64_t>{1, 2});
       }),
       {"attribute n", "has 2 values, expected one"}},
      {"wrong type",
       with([](Hdf5Builder& f) { f.attribute("max_tokens", 1.5); }),
       {"attribute max_tokens", "1.5"}},
      {"text for a number",
       with([](Hdf5Builder& f) { f.attribute("temperature", "hot"); }),
       {"attribute temperature", "hot"}},
      {"bad JSON",
       with([](Hdf5Builder& f) { f.attribute("stop", "END"); }),
       {"attribute stop", "JSON"}},
      {"number for JSON",
       with([](Hdf5Builder& f) { f.attribute("tools", std::int64_t{1}); }),
       {"attribute tools"}},
      {"min above max",
       with([](Hdf5Builder& f) {
         f.attribute("min_tokens", std::int64_t{5}).attribute("max_tokens", std::int64_t{4});
       }),
       {"min_tokens is 5"}},
  };
}

std::vector<Mutant> mutants_of_links() {
  return {
      {"soft link to prompts",
       [](Hdf5Builder& f) { f.strings("/real", {"a"}).soft_link("/prompt", "/real"); },
       {"/prompt", "soft link", "--allow-links"}},
      {"external link to prompts",
       [](Hdf5Builder& f) { f.external_link("/prompt", "/etc/passwd", "/x"); },
       {"/prompt", "link into another file"}},
      {"external link as a column",
       [](Hdf5Builder& f) {
         f.strings("/prompt", {"a"}).external_link("/max_tokens", "other.h5", "/x");
       },
       {"/max_tokens", "link"}},
      {"soft link inside the group",
       [](Hdf5Builder& f) {
         f.numbers("/real", {1}, H5T_STD_U8LE)
             .numbers("/prompt/offsets", {0, 1})
             .soft_link("/prompt/data", "/real");
       },
       {"/prompt/data", "soft link"}},
      {"dangling soft link",
       [](Hdf5Builder& f) { f.strings("/prompt", {"a"}).soft_link("/stop", "/nowhere"); },
       {"/stop", "soft link"}},
      {"external storage",
       [](Hdf5Builder& f) {
         f.external("/prompt/data", "/etc/passwd", 10).numbers("/prompt/offsets", {0, 10});
       },
       {"/prompt/data", "external storage"}},
      {"virtual dataset",
       [](Hdf5Builder& f) {
         f.virtual_dataset("/prompt/data", "other.h5", 10).numbers("/prompt/offsets", {0, 10});
       },
       {"/prompt/data", "virtual"}},
  };
}

class PromptSchema : public testing::Test {
 protected:
  void expect_refused(const std::vector<Mutant>& mutants) {
    for (const Mutant& mutant : mutants) {
      SCOPED_TRACE(mutant.name);
      const std::string path = directory_.file("mutant.h5");
      {
        Hdf5Builder builder(path);
        mutant.build(builder);
      }
      std::vector<std::string> parts = mutant.parts;
      parts.push_back(path);
      expect_error(ErrorKind::input, parts, [&] { PromptReader::open(path); });
    }
  }

  test::TemporaryDirectory directory_;
};

TEST_F(PromptSchema, RefusesBrokenSources) { expect_refused(mutants_of_sources()); }
TEST_F(PromptSchema, RefusesBrokenOffsets) { expect_refused(mutants_of_offsets()); }
TEST_F(PromptSchema, RefusesBrokenColumns) { expect_refused(mutants_of_columns()); }
TEST_F(PromptSchema, RefusesBrokenAttributes) { expect_refused(mutants_of_attributes()); }
TEST_F(PromptSchema, RefusesLinksAndForeignStorage) { expect_refused(mutants_of_links()); }

TEST_F(PromptSchema, FollowsLinksWhereThatIsAllowed) {
  const std::string path = directory_.file("links.h5");
  {
    Hdf5Builder other(directory_.file("other.h5"));
    other.numbers("/limits", {5, 6});
    Hdf5Builder(path)
        .strings("/real", {"a", "b"})
        .soft_link("/prompt", "/real")
        .external_link("/max_tokens", directory_.file("other.h5"), "/limits");
  }

  PromptReader reader = PromptReader::open(path, {true, true});

  EXPECT_EQ(reader.read_row(1).text, "b");
  EXPECT_EQ(reader.read_row(1).options.max_tokens, 6);
}

TEST_F(PromptSchema, NamesAFileThatIsNotThere) {
  expect_error(ErrorKind::missing, {"/no/such/prompts.h5"},
               [] { PromptReader::open("/no/such/prompts.h5"); });
}

TEST_F(PromptSchema, RefusesWhatIsNoHdf5) {
  const std::string path = directory_.file("text.h5");
  std::ofstream(path) << "Why is the sky blue?\n";

  expect_error(ErrorKind::input, {path, "not an HDF5 file"}, [&] { PromptReader::open(path); });
  expect_error(ErrorKind::input, {directory_.path()},
               [&] { PromptReader::open(directory_.path()); });
}

// One long string that a million elements name must not become a million strings in memory.
TEST_F(PromptSchema, ReadsOneRowWhereManyWouldNotFit) {
  const std::string path = directory_.file("large.h5");
  const std::string large(std::size_t{40} << 20, 'x');
  Hdf5Builder(path).strings("/prompt", {large, "small", large, "end"});

  PromptReader reader = PromptReader::open(path);

  EXPECT_EQ(reader.read_row(0).text.size(), large.size());
  EXPECT_EQ(reader.read_row(1).text, "small");
  EXPECT_EQ(reader.read_row(2).text.size(), large.size());
  EXPECT_EQ(reader.lengths(0, 4)[2], static_cast<std::int64_t>(large.size()));
}

TEST_F(PromptSchema, RefusesRowsThatAreTooLongAlone) {
  const std::string path = directory_.file("large.h5");
  Hdf5Builder(path).strings("/prompt", {"small", std::string((std::size_t{64} << 20) + 1, 'x')});

  PromptReader reader = PromptReader::open(path);

  EXPECT_EQ(reader.read_row(0).error, "");
  EXPECT_NE(reader.read_row(1).error.find("longer than"), std::string::npos);
}

// Declared and never written: data of zeros, of which a row may claim everything.
TEST_F(PromptSchema, RefusesARowOfDeclaredTokensAlone) {
  const std::string path = directory_.file("declared.h5");
  Hdf5Builder(path)
      .declared("/input_ids/data", {kHuge}, H5T_STD_I32LE, {1024})
      .numbers("/input_ids/offsets", {0, 1, static_cast<std::int64_t>(kHuge)});

  PromptReader reader = PromptReader::open(path);

  EXPECT_EQ(reader.read_row(0).error, "");
  EXPECT_NE(reader.read_row(1).error.find("token ids, at most"), std::string::npos);
}

}  // namespace
}  // namespace trireme::io
