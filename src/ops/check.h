#pragma once

#include "base/error.h"
#include "ops/context.h"
#include "tensor/tensor.h"

/// The checks that operators share. All throw Error(internal): a wrong shape is a caller's bug.
namespace trireme::ops {

/// A view of two extents whose rows may be apart.
inline void check_rows_of(const char* name, const tensor::TensorView& view, DType dtype) {
  TRIREME_CHECK(view.shape.ndim() == 2 && view.dtype == dtype && view.row_stride >= view.shape[1],
                name, " is ", trireme::name_of(view.dtype), " ", view.shape.text(),
                ", rows apart by ", view.row_stride, "; expected ", trireme::name_of(dtype),
                " [rows, size]");
}

/// The same of what is float32 everywhere: logits, weights of experts, tables.
inline void check_rows(const char* name, const tensor::TensorView& view) {
  check_rows_of(name, view, DType::float32);
}

/// The same of activations.
inline void check_activations(const Context& context, const char* name,
                              const tensor::TensorView& view) {
  check_rows_of(name, view, context.activation_dtype);
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

/// A weight: any floating type on the CPU, the activations' on a GPU.
inline void check_weight(const Context& context, const char* name, const tensor::TensorView& view) {
  const bool fits = context.is_on_gpu()
                        ? view.dtype == context.activation_dtype
                        : view.dtype == DType::float32 || view.dtype == DType::bfloat16 ||
                              view.dtype == DType::float16;
  TRIREME_CHECK(
      fits, name, " is ", trireme::name_of(view.dtype), "; expected ",
      context.is_on_gpu() ? trireme::name_of(context.activation_dtype) : "a floating type");
  check_contiguous(name, view);
}

}  // namespace trireme::ops
