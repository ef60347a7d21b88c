#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>

#include "base/dtype.h"

namespace trireme::tensor {

/// Up to four extents, outermost first.
class Shape {
 public:
  static constexpr int kMaxDims = 4;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);

  int ndim() const { return ndim_; }
  std::int64_t operator[](int dim) const { return extents_[static_cast<std::size_t>(dim)]; }
  std::int64_t num_elements() const;
  /// The shape without its outermost extent.
  Shape inner() const;
  bool operator==(const Shape&) const = default;
  std::string text() const;

 private:
  std::array<std::int64_t, kMaxDims> extents_{};
  int ndim_ = 0;
};

/// Memory that somebody else owns, seen as a tensor. Rows (the outermost extent) may be apart by
/// more than they are long; everything inside a row is contiguous. Which memory it is in, the owner
/// knows.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::float32;
  Shape shape;
  std::int64_t row_stride = 0;  ///< elements from one row to the next

  TensorView() = default;
  TensorView(void* memory, DType type, const Shape& extents);

  std::int64_t rows() const { return shape.ndim() == 0 ? 0 : shape[0]; }
  /// Elements of one row.
  std::int64_t row_size() const;
  std::int64_t num_elements() const { return shape.num_elements(); }
  bool is_contiguous() const { return rows() <= 1 || row_stride == row_size(); }
  /// Bytes; contiguous views only.
  std::size_t size_bytes() const {
    return static_cast<std::size_t>(num_elements()) * size_of(dtype);
  }

  /// Rows [begin, end).
  TensorView slice(std::int64_t begin, std::int64_t end) const;
  /// Columns [begin, end) of a 2-d view; keeps the row stride.
  TensorView columns(std::int64_t begin, std::int64_t end) const;

  /// The memory as T; T must be the view's dtype.
  template <typename T>
  T* as() const {
    check_dtype(dtype_of<T>);
    return static_cast<T*>(data);
  }

 private:
  void check_dtype(DType wanted) const;
};

/// Whose memory: the processor's or the GPU's.
enum class Place { host, device };

/// Owns zeroed, page-aligned host memory, or its part of a Slab's. Move-only.
class Tensor {
 public:
  Tensor() = default;
  Tensor(const Shape& shape, DType dtype);
  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(Tensor&&) noexcept = default;
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  const TensorView& view() const { return view_; }
  operator const TensorView&() const { return view_; }
  const Shape& shape() const { return view_.shape; }
  std::size_t size_bytes() const { return view_.size_bytes(); }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  friend class Slab;
  std::shared_ptr<void> memory_;
  TensorView view_;
};

/// Gives tensors that lie one behind the other in large pages, for what is read in the order in
/// which it was made: the weights of a model. Memory lives until the last tensor in it dies.
class Slab {
 public:
  /// In the host's memory.
  Slab() = default;
  /// `what` and `key` are for the message when a GPU has not enough: who asked, and what to lower.
  Slab(Place place, std::string what, std::string key)
      : place_(place), what_(std::move(what)), key_(std::move(key)) {}

  /// Zeroed, 64-byte aligned; on the GPU 256-byte aligned. Throws Error(out_of_memory).
  Tensor take(const Shape& shape, DType dtype);

 private:
  std::shared_ptr<void> allocate(const Shape& shape, DType dtype) const;

  Place place_ = Place::host;
  std::string what_, key_;
  std::shared_ptr<void> memory_;
  std::size_t size_ = 0, used_ = 0;
};

}  // namespace trireme::tensor
