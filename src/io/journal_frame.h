#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace trireme::io {

// Layout of a journal frame; everything is little-endian, and so is every machine this runs on.
static_assert(std::endian::native == std::endian::little);

inline constexpr std::uint32_t kFrameMagic = 0x4c574a54;  // "TJWL" in the file
inline constexpr std::uint16_t kFrameVersion = 1;
inline constexpr std::uint16_t kFrameRow = 1;
inline constexpr std::uint16_t kFramePartialRow = 2;

struct FrameHeader {
  std::uint32_t magic = kFrameMagic;
  std::uint16_t version = kFrameVersion;
  std::uint16_t kind = kFrameRow;
  std::uint64_t payload_bytes = 0;
  std::int64_t index = 0;
  std::int32_t sample = 0;
  std::uint32_t run = 0;  ///< Manifest::run_tag(); 0: not said
};
inline constexpr std::size_t kFrameHeaderBytes = 32;
inline constexpr std::size_t kChecksumBytes = 4;
static_assert(sizeof(FrameHeader) == kFrameHeaderBytes);

/// The numbers of the fields in files: never reused for something else.
enum class Field : std::uint16_t {
  custom_id = 1,
  status = 2,
  finish_reason = 3,
  error = 4,
  prompt_tokens = 5,
  completion_tokens = 6,
  seed = 7,
  output_ids = 8,
  text = 9,
  logprobs = 10,
  top_k = 11,
  top_logprob_ids = 12,
  top_logprobs = 13,
  prompt_logprobs = 14,
  time_queued = 15,
  time_first_token = 16,
  time_done = 17,
  rank = 18,
};

enum class FieldType : std::uint16_t {
  uint8 = 1,
  int32 = 2,
  int64 = 3,
  uint64 = 4,
  float32 = 5,
  float64 = 6,
  bytes = 7,
};

/// Before the data of each field.
struct FieldHeader {
  std::uint16_t field = 0;
  std::uint16_t type = 0;
  std::uint64_t num_bytes = 0;
};
inline constexpr std::size_t kFieldHeaderBytes = 12;

template <typename T>
inline constexpr FieldType kFieldType = FieldType::bytes;
template <>
inline constexpr FieldType kFieldType<std::uint8_t> = FieldType::uint8;
template <>
inline constexpr FieldType kFieldType<std::int32_t> = FieldType::int32;
template <>
inline constexpr FieldType kFieldType<std::int64_t> = FieldType::int64;
template <>
inline constexpr FieldType kFieldType<std::uint64_t> = FieldType::uint64;
template <>
inline constexpr FieldType kFieldType<float> = FieldType::float32;
template <>
inline constexpr FieldType kFieldType<double> = FieldType::float64;

/// A plain value from bytes at any address; there must be sizeof(T) of them.
template <typename T>
T load_value(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

}  // namespace trireme::io
