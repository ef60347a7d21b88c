#pragma once

#include "base/error.h"
#include "tensor/tensor.h"

/// The checks that operators share. All throw Error(internal): a wrong shape is a caller's bug.
namespace trireme::ops {

/// A float32 view of two extents whose rows may be apart.
inline void check_rows(const char* name, const tensor::TensorView& view) {
  TRIREME_CHECK(
      view.shape.ndim() == 2 && view.dtype == DType::float32 && view.row_stride >= view.shape[1],
      name, " is ", trireme::name_of(view.dtype), " ", view.shape.text(), ", rows apart by ",
      view.row_stride, "; expected float32 [rows, size]");
}

inline void check_contiguous(const char* name, const tensor::TensorView& view) {
  TRIREME_CHECK(view.is_contiguous(), name, " ", view.shape.text(), " has rows apart by ",
                view.row_stride, "; expected contiguous");
}

inline void check_shape(const char* name, const tensor::TensorView& view,
                        const tensor::Shape& wanted) {
  TRIREME_CHECK(view.shape == wanted, name, " is ", view.shape.text(), "; expected ",
                wanted.text());
}

/// A contiguous float32 vector: a norm's weight, a bias, a row's sums.
inline void check_vector(const char* name, const tensor::TensorView& view, std::int64_t size) {
  TRIREME_CHECK(view.dtype == DType::float32, name, " is ", trireme::name_of(view.dtype),
                "; expected float32");
  check_shape(name, view, {size});
  check_contiguous(name, view);
}

inline void check_floating(const char* name, const tensor::TensorView& view) {
  TRIREME_CHECK(
      view.dtype == DType::float32 || view.dtype == DType::bfloat16 || view.dtype == DType::float16,
      name, " is ", trireme::name_of(view.dtype), "; expected a floating type");
}

}  // namespace trireme::ops
