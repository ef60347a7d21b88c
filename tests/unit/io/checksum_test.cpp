#include <gtest/gtest.h>

#include <string>

#include "expect_error.h"
#include "io/crc32c.h"
#include "io/sha256.h"

namespace trireme::io {
namespace {

// RFC 3720, appendix B.4.
TEST(Crc32c, GivesThePublishedValues) {
  std::string rising;
  for (int i = 0; i < 32; ++i) rising += static_cast<char>(i);

  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  EXPECT_EQ(crc32c(rising), 0x46dd794eU);
}

TEST(Crc32c, IsTheSameByTableAndInPieces) {
  std::string bytes;
  for (int i = 0; i < 100; ++i) bytes += static_cast<char>(i * 37 + 11);

  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const std::string_view all = bytes;
    EXPECT_EQ(crc32c_by_table(all.substr(cut), crc32c_by_table(all.substr(0, cut))), crc32c(all));
    EXPECT_EQ(crc32c(all.substr(cut), crc32c(all.substr(0, cut))), crc32c(all));
  }
}

// FIPS 180-4 and its example messages.
TEST(Sha256, GivesThePublishedValues) {
  EXPECT_EQ(sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_of(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, IsTheSameInPiecesOfAnyLength) {
  const std::string bytes(200, 'x');

  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    Sha256 hash;
    hash.update(std::string_view(bytes).substr(0, cut));
    hash.update(std::string_view(bytes).substr(cut));
    EXPECT_EQ(hash.hex_digest(), sha256_of(bytes)) << cut;
  }
}

TEST(Sha256, SaysWhichFileIsMissing) {
  test::expect_error(ErrorKind::missing, {"/no/such/file"},
                     [] { sha256_of_file("/no/such/file"); });
}

}  // namespace
}  // namespace trireme::io
