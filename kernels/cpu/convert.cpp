#include "kernels/convert.h"

#include <cstddef>
#include <cstring>

#include "base/error.h"

namespace trireme::kernels::cpu {
namespace {

template <typename Source, typename Destination>
void convert_all(const void* source, void* destination, std::int64_t count) {
  const auto* from = static_cast<const std::byte*>(source);  // a file's bytes may be unaligned
  auto* to = static_cast<Destination*>(destination);
  for (std::int64_t i = 0; i < count; ++i) {
    Source value;
    std::memcpy(&value, from + static_cast<std::size_t>(i) * sizeof(Source), sizeof(Source));
    to[i] = Destination(static_cast<float>(value));
  }
}

template <typename Source>
void convert_from(const void* source, void* destination, DType dtype, std::int64_t count) {
  switch (dtype) {
    case DType::float32:
      return convert_all<Source, float>(source, destination, count);
    case DType::bfloat16:
      return convert_all<Source, bfloat16>(source, destination, count);
    case DType::float16:
      return convert_all<Source, float16>(source, destination, count);
    default:
      TRIREME_CHECK(false, "dtype=", name_of(dtype));
  }
}

}  // namespace

void convert(const void* source, DType source_dtype, void* destination, DType destination_dtype,
             std::int64_t count) {
  if (source_dtype == destination_dtype) {
    if (count > 0) {
      std::memcpy(destination, source, static_cast<std::size_t>(count) * size_of(source_dtype));
    }
    return;
  }
  switch (source_dtype) {
    case DType::float32:
      return convert_from<float>(source, destination, destination_dtype, count);
    case DType::bfloat16:
      return convert_from<bfloat16>(source, destination, destination_dtype, count);
    case DType::float16:
      return convert_from<float16>(source, destination, destination_dtype, count);
    default:
      TRIREME_CHECK(false, "dtype=", name_of(source_dtype));
  }
}

}  // namespace trireme::kernels::cpu
