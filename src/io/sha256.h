#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trireme::io {

/// SHA-256. Source: FIPS 180-4.
class Sha256 {
 public:
  Sha256();
  void update(std::string_view bytes);
  /// 64 hexadecimal digits; the object must not be used after it.
  std::string hex_digest();

 private:
  void add_chunk(const unsigned char* chunk);  // 64 bytes

  std::array<std::uint32_t, 8> state_;
  std::array<unsigned char, 64> pending_{};
  std::size_t num_pending_ = 0;
  std::uint64_t num_bytes_ = 0;
};

std::string sha256_of(std::string_view bytes);
/// Of a whole file. Throws Error(missing) or Error(io).
std::string sha256_of_file(const std::string& path);

}  // namespace trireme::io
