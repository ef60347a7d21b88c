#include "tensor/tensor.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/error.h"
#include "tensor/device.h"

namespace trireme::tensor {
namespace {

constexpr std::size_t kLargePageBytes = std::size_t{2} << 20;

/// How a slab cuts memory: tensors above `own_bytes` have an allocation of their own.
struct Cut {
  std::size_t alignment = 0, chunk_bytes = 0, own_bytes = 0;
};
constexpr Cut kHostCut{64, std::size_t{64} << 20, std::size_t{32} << 20};
// What a chunk of the GPU's memory has left at its end is lost, unlike pages that nobody touches.
constexpr Cut kDeviceCut{256, std::size_t{32} << 20, std::size_t{2} << 20};

/// Pages of an anonymous mapping are zero and cost nothing until they are used.
std::shared_ptr<void> map_memory(const Shape& shape, DType dtype) {
  const TensorView view(nullptr, dtype, shape);
  const std::size_t bytes = std::max<std::size_t>(view.size_bytes(), 1);
  // Large pages where there are many, from the first byte on: they are read faster, at random
  // places and in a row.
  const bool is_large = bytes >= 2 * kLargePageBytes;
  std::size_t mapped = is_large ? bytes + kLargePageBytes : bytes;
  void* begin = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (begin == MAP_FAILED) {
    fail(ErrorKind::out_of_memory, cat("cannot allocate ", bytes, " bytes for a tensor ",
                                       shape.text(), " of ", name_of(dtype)));
  }
  const std::shared_ptr<void> mapping(begin, [mapped](void* memory) { ::munmap(memory, mapped); });
  if (!is_large) return mapping;
  std::align(kLargePageBytes, bytes, begin, mapped);
  ::madvise(begin, bytes, MADV_HUGEPAGE);
  return {mapping, begin};
}

std::shared_ptr<void> zeroed_device_memory(std::size_t bytes, const std::string& what,
                                           const std::string& key) {
  if constexpr (kHasCuda) {
    const auto buffer = std::make_shared<DeviceBuffer>(bytes, what, key);
    const Stream stream;
    stream.fill(buffer->data(), 0, bytes);
    stream.synchronize();
    return {buffer, buffer->data()};
  }
  fail(ErrorKind::internal, cat(what, ": this build has no GPU backend"));
}

}  // namespace

Shape::Shape(std::initializer_list<std::int64_t> extents) {
  TRIREME_CHECK(extents.size() <= kMaxDims, "dims=", extents.size());
  for (const std::int64_t extent : extents) {
    TRIREME_CHECK(extent >= 0, "extent=", extent);
    extents_[static_cast<std::size_t>(ndim_++)] = extent;
  }
}

std::int64_t Shape::num_elements() const {
  std::int64_t product = 1;
  for (int dim = 0; dim < ndim_; ++dim) {
    const bool overflows = __builtin_mul_overflow(product, (*this)[dim], &product);
    TRIREME_CHECK(!overflows, "shape=", text());
  }
  return product;
}

Shape Shape::inner() const {
  Shape result;
  for (int dim = 1; dim < ndim_; ++dim) {
    result.extents_[static_cast<std::size_t>(result.ndim_++)] = (*this)[dim];
  }
  return result;
}

std::string Shape::text() const {
  std::string result = "[";
  for (int dim = 0; dim < ndim_; ++dim) result += cat(dim == 0 ? "" : ", ", (*this)[dim]);
  return result + "]";
}

TensorView::TensorView(void* memory, DType type, const Shape& extents)
    : data(memory), dtype(type), shape(extents), row_stride(extents.inner().num_elements()) {}

std::int64_t TensorView::row_size() const { return shape.inner().num_elements(); }

TensorView TensorView::slice(std::int64_t begin, std::int64_t end) const {
  TRIREME_CHECK(0 <= begin && begin <= end && end <= rows(), "begin=", begin, " end=", end,
                " shape=", shape.text());
  TensorView result = *this;
  result.data =
      static_cast<std::byte*>(data) + static_cast<std::size_t>(begin * row_stride) * size_of(dtype);
  switch (shape.ndim()) {
    case 1:
      result.shape = {end - begin};
      break;
    case 2:
      result.shape = {end - begin, shape[1]};
      break;
    case 3:
      result.shape = {end - begin, shape[1], shape[2]};
      break;
    default:
      result.shape = {end - begin, shape[1], shape[2], shape[3]};
  }
  return result;
}

TensorView TensorView::columns(std::int64_t begin, std::int64_t end) const {
  TRIREME_CHECK(shape.ndim() == 2 && 0 <= begin && begin <= end && end <= shape[1], "begin=", begin,
                " end=", end, " shape=", shape.text());
  TensorView result = *this;
  result.data = static_cast<std::byte*>(data) + static_cast<std::size_t>(begin) * size_of(dtype);
  result.shape = {shape[0], end - begin};
  return result;
}

void TensorView::check_dtype(DType wanted) const {
  TRIREME_CHECK(dtype == wanted, "dtype=", name_of(dtype), " wanted=", name_of(wanted));
}

Tensor::Tensor(const Shape& shape, DType dtype) : view_(nullptr, dtype, shape) {
  memory_ = map_memory(shape, dtype);
  view_.data = memory_.get();
}

std::shared_ptr<void> Slab::allocate(const Shape& shape, DType dtype) const {
  if (place_ == Place::host) return map_memory(shape, dtype);
  return zeroed_device_memory(TensorView(nullptr, dtype, shape).size_bytes(), what_, key_);
}

Tensor Slab::take(const Shape& shape, DType dtype) {
  Tensor tensor;
  tensor.view_ = TensorView(nullptr, dtype, shape);
  const Cut& cut = place_ == Place::host ? kHostCut : kDeviceCut;
  const std::size_t bytes =
      (tensor.view_.size_bytes() + cut.alignment - 1) / cut.alignment * cut.alignment;
  if (memory_ == nullptr || bytes > size_ - used_) {
    // A large tensor has its own memory, and what is left here is used on.
    if (bytes > cut.own_bytes) {
      tensor.memory_ = allocate(shape, dtype);
      tensor.view_.data = tensor.memory_.get();
      return tensor;
    }
    memory_ = allocate({static_cast<std::int64_t>(cut.chunk_bytes)}, DType::uint8);
    size_ = cut.chunk_bytes;
    used_ = 0;
  }
  tensor.memory_ = memory_;
  tensor.view_.data = static_cast<std::byte*>(memory_.get()) + used_;
  used_ += bytes;
  return tensor;
}

}  // namespace trireme::tensor
