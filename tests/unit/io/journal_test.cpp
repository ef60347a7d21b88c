#include "io/journal.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "expect_error.h"
#include "io/crc32c.h"
#include "sample_rows.h"
#include "support/temporary_directory.h"

namespace trireme::io {
namespace {

using test::full_row;
using test::TemporaryDirectory;

void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

std::vector<ResultRow> rows_of(const std::string& path) {
  JournalReader reader = JournalReader::open(path);
  std::vector<ResultRow> rows;
  while (const auto frame = reader.next()) rows.push_back(reader.read(*frame));
  return rows;
}

// A frame with any payload and the right checksum.
std::string frame_with(const std::string& payload, std::uint16_t kind = 1) {
  std::string frame("TJWL\1\0", 6);
  const auto put = [&](const auto& value) {
    frame.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  put(kind);
  put(static_cast<std::uint64_t>(payload.size()));
  put(std::int64_t{5});
  put(std::int32_t{0});
  put(std::uint32_t{0});
  frame += payload;
  put(crc32c(frame));
  return frame;
}

std::string field(std::uint16_t id, std::uint16_t type, const std::string& data,
                  std::optional<std::uint64_t> said = std::nullopt) {
  std::string bytes;
  const auto put = [&](const auto& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  put(id);
  put(type);
  put(said.value_or(data.size()));
  return bytes + data;
}

TEST(JournalName, ReadsBackWhatItWrites) {
  const JournalName name{0, 17, 3};

  EXPECT_EQ(name.file_name(), "j-0-17-3.wal");
  EXPECT_EQ(JournalName::parse("j-0-17-3.wal"), name);
}

TEST(JournalName, RefusesEverythingElse) {
  for (const char* name :
       {"", "j", "j-", "j-0-1.wal", "j-0-1-2", "j-0-1-2.wal.tmp", "j--1-1-2.wal", "j-00-1-2.wal",
        "j-0-1-2-3.wal", "x-0-1-2.wal", "j-0-1-99999999999999999999.wal", "j- 0-1-2.wal"}) {
    EXPECT_EQ(JournalName::parse(name), std::nullopt) << name;
  }
}

TEST(Journal, KeepsEveryField) {
  const TemporaryDirectory directory;
  ResultRow with_number = full_row(7, 1);
  with_number.custom_id = std::int64_t{-42};
  ResultRow plain;
  plain.index = 8;
  const std::vector<ResultRow> rows = {full_row(0), with_number, plain,
                                       test::error_row(9, "too long")};

  JournalWriter writer = JournalWriter::create(directory.path(), {0, 3, 0});
  for (const ResultRow& row : rows) writer.append(row);
  writer.sync();

  const std::vector<ResultRow> read = rows_of(directory.file("j-0-3-0.wal"));
  ASSERT_EQ(read.size(), rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_TRUE(same_result(read[i], rows[i])) << i;
    EXPECT_EQ(read[i].time_done, rows[i].time_done);
    EXPECT_EQ(read[i].time_queued, rows[i].time_queued);
    EXPECT_EQ(read[i].time_first_token, rows[i].time_first_token);
    EXPECT_EQ(read[i].rank, rows[i].rank);
  }
  EXPECT_EQ(writer.num_bytes(), std::filesystem::file_size(writer.path()));
}

// The format is a promise: later versions read it.
TEST(Journal, HasTheDocumentedFrame) {
  ResultRow row;
  row.index = 0x0102030405060708;
  row.sample = 0x11223344;

  const std::string frame = encode_frame(row);

  EXPECT_EQ(frame.substr(0, 4), "TJWL");
  EXPECT_EQ(frame.substr(4, 4), std::string("\1\0\1\0", 4));
  std::uint64_t length = 0;
  std::memcpy(&length, frame.data() + 8, 8);
  EXPECT_EQ(length, frame.size() - 36);
  EXPECT_EQ(frame.substr(16, 8), "\x08\x07\x06\x05\x04\x03\x02\x01");
  EXPECT_EQ(frame.substr(24, 4), "\x44\x33\x22\x11");
  EXPECT_EQ(frame.substr(28, 4), std::string(4, '\0'));
  std::uint32_t checksum = 0;
  std::memcpy(&checksum, frame.data() + frame.size() - 4, 4);
  EXPECT_EQ(checksum, crc32c(std::string_view(frame).substr(0, frame.size() - 4)));
}

TEST(Journal, NeverOverwritesAnother) {
  const TemporaryDirectory directory;
  JournalWriter::create(directory.path(), {0, 0, 0});

  test::expect_error(ErrorKind::output, {"j-0-0-0.wal"}, [&] {
    JournalWriter::create(directory.path(), {0, 0, 0});
  });
}

TEST(Journal, GivesTheWholeFramesWhereverItIsTorn) {
  const TemporaryDirectory directory;
  const std::string first = encode_frame(full_row(1));
  const std::string whole = first + encode_frame(full_row(2));
  const std::string path = directory.file("j-0-0-0.wal");

  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    write_file(path, std::string_view(whole).substr(0, cut));
    JournalReader reader = JournalReader::open(path);
    std::size_t num_rows = 0;
    while (const auto frame = reader.next()) {
      EXPECT_TRUE(
          same_result(reader.read(*frame), full_row(static_cast<std::int64_t>(++num_rows))));
    }
    const std::size_t expected = cut == whole.size() ? 2 : cut >= first.size() ? 1 : 0;
    EXPECT_EQ(num_rows, expected) << cut;
    const std::size_t good = expected == 2 ? whole.size() : expected == 1 ? first.size() : 0;
    EXPECT_EQ(reader.torn_bytes(), cut - good) << cut;
  }
}

TEST(Journal, NoticesAFlippedBitInEveryByte) {
  const TemporaryDirectory directory;
  const std::string whole = encode_frame(full_row(1));
  const std::string path = directory.file("j-0-0-0.wal");

  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string broken = whole;
    broken[i] = static_cast<char>(broken[i] ^ (1 << (i % 8)));
    write_file(path, broken);
    EXPECT_TRUE(rows_of(path).empty()) << "byte " << i;
  }
}

TEST(Journal, IsNotMisledByRandomBytes) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("j-0-0-0.wal");
  std::mt19937 random(1);

  for (int round = 0; round < 200; ++round) {
    std::string bytes = encode_frame(full_row(1));
    const std::size_t good = bytes.size();
    if (round % 2 == 0) bytes += "TJWL";  // a frame that seems to begin
    for (int i = 0; i < 300; ++i) bytes += static_cast<char>(random());
    write_file(path, bytes);
    JournalReader reader = JournalReader::open(path);
    EXPECT_TRUE(reader.next());
    EXPECT_FALSE(reader.next());
    EXPECT_EQ(reader.torn_bytes(), bytes.size() - good);
  }
}

TEST(Journal, DoesNotLookForRowsInsideBrokenBytes) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("j-0-0-0.wal");
  ResultRow hostile = full_row(1);
  hostile.text = encode_frame(full_row(99));
  std::string bytes = encode_frame(hostile);
  bytes[40] ^= 1;

  write_file(path, bytes);

  EXPECT_TRUE(rows_of(path).empty());
}

TEST(Journal, ReadsRowsLargerThanItsWindow) {
  const TemporaryDirectory directory;
  ResultRow large = full_row(1);
  large.text.assign(std::size_t{5} << 20, 'x');
  JournalWriter writer = JournalWriter::create(directory.path(), {0, 0, 0});
  writer.append(full_row(0));
  writer.append(large);
  writer.append(full_row(2));

  const std::vector<ResultRow> rows = rows_of(writer.path());

  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[1].text, large.text);
  EXPECT_TRUE(same_result(rows[2], full_row(2)));
  EXPECT_TRUE(writer.sync_is_due());  // more than 4 MiB
  writer.sync();
  EXPECT_FALSE(writer.sync_is_due());
}

TEST(Journal, SkipsFieldsOfLaterVersionsAndSaysOtherKinds) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("j-0-0-0.wal");
  write_file(path, frame_with(field(900, 77, "later") + field(9, 7, "text")) +
                       frame_with(field(9, 7, "part"), 2));

  JournalReader reader = JournalReader::open(path);
  const auto first = reader.next();
  const auto second = reader.next();

  ASSERT_TRUE(first && second);
  EXPECT_EQ(reader.read(*first).text, "text");
  EXPECT_EQ(first->kind, 1);
  EXPECT_EQ(second->kind, 2);
}

TEST(Journal, RefusesWholeFramesThatAreNoRows) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("j-0-0-0.wal");
  const std::vector<std::pair<const char*, std::string>> cases = {
      {"field longer than the frame", field(9, 7, "abc", 1'000'000)},
      {"length that overflows", field(9, 7, "abc", ~std::uint64_t{0})},
      {"half a field header", "abc"},
      {"wrong type", field(8, 5, "abcd")},
      {"half a value", field(8, 2, "abcde")},
      {"two values for one", field(5, 2, "abcdefgh")},
      {"unknown status", field(2, 1, "\x09")},
      {"log-probabilities without tokens", field(10, 5, "abcd")},
      {"top_k beyond the limit", field(11, 2, std::string("\xff\xff\xff\x7f", 4))},
      {"negative top_k", field(11, 2, std::string("\xff\xff\xff\xff", 4))},
      {"top values without ids", field(13, 5, "abcd")},
  };

  for (const auto& [name, payload] : cases) {
    SCOPED_TRACE(name);
    write_file(path, frame_with(payload));
    JournalReader reader = JournalReader::open(path);
    const auto frame = reader.next();
    ASSERT_TRUE(frame);
    test::expect_error(ErrorKind::input, {path, "frame at byte 0"}, [&] { reader.read(*frame); });
  }
}

TEST(Journal, SaysHowManyBytesDidNotFitAndEndsWithTheLastWholeRow) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("j-0-0-0.wal");
  const auto fill = [&] {
    std::signal(SIGXFSZ, SIG_IGN);
    JournalWriter writer = JournalWriter::create(directory.path(), {0, 0, 0});
    writer.append(full_row(0));
    const rlimit limit = {writer.num_bytes() + 10, writer.num_bytes() + 10};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      writer.append(full_row(1));
    } catch (const Error& error) {
      std::cerr << exit_code(error.kind()) << ' ' << error.what() << '\n';
      std::_Exit(std::filesystem::file_size(path) == writer.num_bytes() ? 0 : 1);
    }
    std::_Exit(2);
  };

  EXPECT_EXIT(fill(), testing::ExitedWithCode(0),
              "74 .*j-0-0-0.wal: cannot write [0-9]+ of [0-9]+ bytes");
}

TEST(Journal, IsNoPipe) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("j-0-0-0.wal");
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);

  test::expect_error(ErrorKind::input, {path, "not a regular file"},
                     [&] { JournalReader::open(path); });
}

TEST(Journal, SaysThatItIsMissing) {
  test::expect_error(ErrorKind::missing, {"/no/such.wal"},
                     [] { JournalReader::open("/no/such.wal"); });
}

}  // namespace
}  // namespace trireme::io
