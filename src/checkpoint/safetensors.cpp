#include "checkpoint/safetensors.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "base/error.h"
#include "checkpoint/config_reader.h"
#include "checkpoint/json_file.h"

namespace trireme::checkpoint {
namespace {

struct Span {
  std::uint64_t begin = 0, end = 0;
  const std::string* name = nullptr;
};

std::optional<std::uint64_t> element_bytes(std::string_view dtype) {
  constexpr std::pair<std::string_view, std::uint64_t> kSizes[] = {
      {"F64", 8},     {"I64", 8},     {"U64", 8},  {"F32", 4}, {"I32", 4},
      {"U32", 4},     {"F16", 2},     {"BF16", 2}, {"I16", 2}, {"U16", 2},
      {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"I8", 1},   {"U8", 1},  {"BOOL", 1}};
  for (const auto& [name, bytes] : kSizes) {
    if (name == dtype) return bytes;
  }
  return {};
}

std::optional<DType> usable_dtype(std::string_view name) {
  if (name == "F32") return DType::float32;
  if (name == "BF16") return DType::bfloat16;
  if (name == "F16") return DType::float16;
  return {};
}

std::uint64_t as_size(const Json& value, const std::string& where, const char* what) {
  const std::optional<std::int64_t> number =
      value.is_number_float() ? std::nullopt : as_integer(value);
  if (!number || *number < 0) {
    fail(ErrorKind::checkpoint,
         cat(where, ": ", what, " holds ", shown(value), ", expected whole numbers from 0 on"));
  }
  return static_cast<std::uint64_t>(*number);
}

std::optional<DType> integer_dtype(std::string_view name) {
  if (name == "I32") return DType::int32;
  if (name == "I64") return DType::int64;
  return {};
}

tensor::Shape shape_of(const std::vector<std::uint64_t>& extents) {
  const auto at = [&](std::size_t dim) { return static_cast<std::int64_t>(extents[dim]); };
  switch (extents.size()) {
    case 0:
      return {};
    case 1:
      return {at(0)};
    case 2:
      return {at(0), at(1)};
    case 3:
      return {at(0), at(1), at(2)};
    default:
      return {at(0), at(1), at(2), at(3)};
  }
}

/// One entry of the header; its place goes to `spans`, relative to the data's begin.
void add_tensor(const std::string& name, const Json& entry, const std::string& path,
                SafetensorsHeader& header, std::vector<Span>& spans) {
  const std::string where = cat(path, ": tensor \"", name, "\"");
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") ||
      !entry.contains("shape") || !entry.contains("data_offsets")) {
    fail(ErrorKind::checkpoint, cat(where, ": expected dtype, shape and data_offsets"));
  }
  const Json& dtype = entry["dtype"];
  const Json& shape = entry["shape"];
  const Json& offsets = entry["data_offsets"];
  if (!dtype.is_string()) fail(ErrorKind::checkpoint, cat(where, ": dtype is no string"));
  if (!shape.is_array()) fail(ErrorKind::checkpoint, cat(where, ": shape is no list"));
  if (!offsets.is_array() || offsets.size() != 2) {
    fail(ErrorKind::checkpoint, cat(where, ": data_offsets is no list of two"));
  }
  const auto dtype_name = dtype.get<std::string>();
  const std::uint64_t begin = as_size(offsets[0], where, "data_offsets");
  const std::uint64_t end = as_size(offsets[1], where, "data_offsets");
  if (begin > end) {
    fail(ErrorKind::checkpoint, cat(where, ": data_offsets are ", begin, " and ", end,
                                    ", expected the first not above the second"));
  }
  std::uint64_t bytes = element_bytes(dtype_name).value_or(0);
  const bool size_known = bytes != 0;
  std::vector<std::uint64_t> extents;
  for (const Json& extent : shape) {
    extents.push_back(as_size(extent, where, "shape"));
    if (__builtin_mul_overflow(bytes, extents.back(), &bytes)) {
      fail(ErrorKind::checkpoint, cat(where, ": shape ", shown(shape), " overflows"));
    }
  }
  if (size_known && bytes != end - begin) {
    fail(ErrorKind::checkpoint, cat(where, ": ", dtype_name, " of shape ", shown(shape), " has ",
                                    bytes, " bytes, data_offsets give it ", end - begin));
  }
  spans.push_back({begin, end, &name});

  if (!usable_dtype(dtype_name)) {
    header.unusable[name] = cat("dtype is ", dtype_name, ", expected F32, BF16 or F16");
    const std::optional<DType> integer = integer_dtype(dtype_name);
    if (integer && extents.size() <= tensor::Shape::kMaxDims) {
      header.integers[name] = {*integer, shape_of(extents), 0, begin, end - begin};
    }
  } else if (extents.size() > tensor::Shape::kMaxDims) {
    header.unusable[name] = cat("has ", extents.size(), " dimensions, expected at most 4");
  } else {
    header.tensors[name] = {*usable_dtype(dtype_name), shape_of(extents), 0, begin, end - begin};
  }
}

void check_spans(std::vector<Span> spans, std::uint64_t data_bytes, std::uint64_t data_begin,
                 const std::string& path) {
  std::ranges::sort(spans, [](const Span& a, const Span& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t at = 0;
  for (const Span& span : spans) {
    if (span.begin != at) {
      fail(ErrorKind::checkpoint,
           cat(path, ": tensor \"", *span.name, "\": data begins at ", span.begin, ", expected ",
               at, span.begin < at ? " (it overlaps another)" : " (there is a hole before it)"));
    }
    at = span.end;
  }
  if (at > data_bytes) {
    fail(ErrorKind::checkpoint,
         cat(path, ": is ", data_begin + data_bytes, " bytes long, expected ", data_begin + at,
             ": the file is truncated"));
  }
  if (at < data_bytes) {
    fail(ErrorKind::checkpoint,
         cat(path, ": is ", data_begin + data_bytes, " bytes long, expected ", data_begin + at,
             ": bytes follow the last tensor"));
  }
}

}  // namespace

std::uint64_t header_length(std::string_view first_8_bytes, std::uint64_t file_size,
                            const std::string& path) {
  if (file_size < 8 || first_8_bytes.size() < 8) {
    fail(ErrorKind::checkpoint,
         cat(path, ": is ", file_size, " bytes long, expected at least 8: the file is truncated"));
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    length |= std::uint64_t{static_cast<unsigned char>(first_8_bytes[i])} << (8 * i);
  }
  if (length < 2 || length > kMaxHeaderBytes) {
    fail(ErrorKind::checkpoint, cat(path, ": header length is ", length, ", expected 2 to ",
                                    kMaxHeaderBytes, ": not a safetensors file"));
  }
  if (length > file_size - 8) {
    fail(ErrorKind::checkpoint, cat(path, ": is ", file_size, " bytes long, expected at least ",
                                    8 + length, " for its header: the file is truncated"));
  }
  return length;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t file_size,
                                           const std::string& path) {
  if (text.empty() || text.front() != '{') {
    fail(ErrorKind::checkpoint, cat(path, ": the header does not begin with {"));
  }
  if (text.find('\0') != std::string_view::npos) {
    fail(ErrorKind::checkpoint, cat(path, ": the header holds a zero byte, which is not JSON"));
  }
  const Json document = parse_object(text, cat(path, ": header"), {.max_bytes = kMaxHeaderBytes});
  const std::uint64_t data_begin = 8 + text.size();

  SafetensorsHeader header;
  std::vector<Span> spans;
  for (const auto& [name, entry] : document.items()) {
    if (name == "__metadata__") {
      const bool is_map = entry.is_object() && std::ranges::all_of(entry, [](const Json& value) {
                            return value.is_string();
                          });
      if (!is_map) fail(ErrorKind::checkpoint, cat(path, ": __metadata__ is no map of strings"));
      continue;
    }
    add_tensor(name, entry, path, header, spans);
  }
  check_spans(std::move(spans), file_size - data_begin, data_begin, path);
  for (auto& [name, stored] : header.tensors) stored.begin_bytes += data_begin;
  for (auto& [name, stored] : header.integers) stored.begin_bytes += data_begin;
  return header;
}

}  // namespace trireme::checkpoint
