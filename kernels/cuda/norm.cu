#include "kernels/norm.h"

#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

/// Rows as a norm kernel sees them; `inner` rows of one outer row lie behind each other (heads).
template <typename T>
struct NormRows {
  const T* x;
  T* residual;
  T* y;
  const float* weight;
  std::int64_t x_stride, y_stride;
  std::int64_t size;
  float eps;
};

/// One row a cta. A row of at most kHeld packs a thread is read once and held in registers; kHeld =
/// 0 reads it again (from the cache).
template <typename T, int N, int kHeld, bool kAdds>
__global__ void norm_kernel(const NormRows<T> rows) {
  start_next_kernel();
  const std::int64_t row = blockIdx.x;
  const T* x = rows.x + row * rows.x_stride;
  T* residual = kAdds ? rows.residual + row * rows.size : nullptr;
  T* y = rows.y + row * rows.y_stride;
  const int first = threadIdx.x * N, step = blockDim.x * N;
  float held[kHeld == 0 ? 1 : kHeld][N];
  float sum = 0;

  const auto read = [&](std::int64_t at, float* values) {
    const Pack<T, N> pack = load_pack<T, N>(x + at);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = to_float(pack.at[i]);
    if constexpr (kAdds) {
      Pack<T, N> other = load_pack<T, N>(residual + at);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        values[i] += to_float(other.at[i]);
        other.at[i] = from_float<T>(values[i]);
      }
      store_pack<T, N>(residual + at, other);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) sum += values[i] * values[i];
  };
  const auto write = [&](std::int64_t at, const float* values, const Pack<float, N>& weight,
                         float factor) {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.at[i] = from_float<T>(values[i] * factor * weight.at[i]);
    store_pack<T, N>(y + at, pack);
  };
  Pack<float, N> weights[kHeld == 0 ? 1 : kHeld];

#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int at = first + j * step;
    if (at < rows.size) weights[j] = load_pack<float, N>(rows.weight + at);
  }
  wait_for_earlier_kernels();
  if constexpr (kHeld > 0) {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      if (first + j * step < rows.size) read(first + j * step, held[j]);
    }
  } else {
    for (std::int64_t at = first; at < rows.size; at += step) read(at, held[0]);
  }
  const float factor = rsqrtf(cta_sum(sum) / static_cast<float>(rows.size) + rows.eps);
  if constexpr (kHeld > 0) {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      if (first + j * step < rows.size) write(first + j * step, held[j], weights[j], factor);
    }
  } else {
    const T* again = kAdds ? residual : x;
    for (std::int64_t at = first; at < rows.size; at += step) {
      const Pack<T, N> pack = load_pack<T, N>(again + at);
#pragma unroll
      for (int i = 0; i < N; ++i) held[0][i] = to_float(pack.at[i]);
      write(at, held[0], load_pack<float, N>(rows.weight + at), factor);
    }
  }
}

template <typename T, bool kAdds>
void launch_norm(const NormRows<T>& rows, std::int64_t num_rows, Stream stream) {
  if (num_rows == 0) return;
  constexpr int kWide = 16 / sizeof(T);
  const auto launch = [&](auto kernel, std::int64_t packs, int held) {
    launch_overlapped(kernel,
                      {static_cast<unsigned>(num_rows), threads_for(ceil_div(packs, held), 1024)},
                      stream, rows);
  };
  const bool is_wide = vector_width<T>({rows.x, rows.y, rows.weight, rows.residual},
                                       {rows.x_stride, rows.y_stride, rows.size}) == kWide;
  const std::int64_t packs = is_wide ? rows.size / kWide : rows.size;
  if (is_wide && packs <= 2048) {
    launch(norm_kernel<T, kWide, 2, kAdds>, packs, 2);
  } else if (is_wide) {
    launch(norm_kernel<T, kWide, 0, kAdds>, packs, 1);
  } else if (packs <= 4096) {
    launch(norm_kernel<T, 1, 4, kAdds>, packs, 4);
  } else {
    launch(norm_kernel<T, 1, 0, kAdds>, packs, 1);
  }
}

/// A head a warp.
template <typename T>
__global__ void norm_heads_kernel(T* x, std::int64_t x_stride, const float* weight, float eps,
                                  std::int64_t num_pairs, std::int64_t num_heads,
                                  std::int64_t head_dim) {
  start_next_kernel();
  wait_for_earlier_kernels();
  const std::int64_t pair = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (pair >= num_pairs) return;
  T* at = x + pair / num_heads * x_stride + pair % num_heads * head_dim;
  const int lane = threadIdx.x % 32;
  float sum = 0;
  for (std::int64_t i = lane; i < head_dim; i += 32) sum += to_float(at[i]) * to_float(at[i]);
  const float factor = rsqrtf(warp_sum(sum) / static_cast<float>(head_dim) + eps);
  for (std::int64_t i = lane; i < head_dim; i += 32) {
    at[i] = from_float<T>(to_float(at[i]) * factor * weight[i]);
  }
}

template <typename T>
__global__ void sum_of_squares_kernel(const T* x, std::int64_t x_stride, float* sums,
                                      std::int64_t size) {
  start_next_kernel();
  wait_for_earlier_kernels();
  const T* row = x + blockIdx.x * x_stride;
  float sum = 0;
  for (std::int64_t i = threadIdx.x; i < size; i += blockDim.x) {
    sum += to_float(row[i]) * to_float(row[i]);
  }
  sum = cta_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

template <typename T>
__global__ void scale_by_norm_kernel(const NormRows<T> rows, const float* sums, float total_size) {
  start_next_kernel();
  wait_for_earlier_kernels();
  const std::int64_t row = blockIdx.x;
  const float factor = rsqrtf(sums[row] / total_size + rows.eps);
  for (std::int64_t i = threadIdx.x; i < rows.size; i += blockDim.x) {
    rows.y[row * rows.y_stride + i] =
        from_float<T>(to_float(rows.x[row * rows.x_stride + i]) * factor * rows.weight[i]);
  }
}

template <typename T, int N>
__global__ void add_kernel(const T* y, T* x, std::int64_t num_packs) {
  start_next_kernel();
  wait_for_earlier_kernels();
  const std::int64_t pack = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pack >= num_packs) return;
  const Pack<T, N> other = load_pack<T, N>(y + pack * N);
  Pack<T, N> sum = load_pack<T, N>(x + pack * N);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    sum.at[i] = from_float<T>(to_float(sum.at[i]) + to_float(other.at[i]));
  }
  store_pack<T, N>(x + pack * N, sum);
}

template <typename T>
__global__ void add_bias_kernel(const float* bias, T* x, std::int64_t x_stride, std::int64_t size) {
  start_next_kernel();
  wait_for_earlier_kernels();
  T* row = x + blockIdx.x * x_stride;
  for (std::int64_t i = threadIdx.x; i < size; i += blockDim.x) {
    row[i] = from_float<T>(to_float(row[i]) + bias[i]);
  }
}

/// A row a cta, four elements a thread.
LaunchShape row_shape(std::int64_t num_rows, std::int64_t size) {
  return {static_cast<unsigned>(num_rows), threads_for(ceil_div(size, 4), 1024)};
}

}  // namespace

void rms_norm(const void* x, std::int64_t x_stride, const float* weight, float eps, void* y,
              std::int64_t y_stride, std::int64_t num_rows, std::int64_t size, DType dtype,
              Stream stream) {
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launch_norm<T, false>({static_cast<const T*>(x), nullptr, static_cast<T*>(y), weight, x_stride,
                           y_stride, size, eps},
                          num_rows, stream);
  });
  check_launch("rms_norm");
}

void add_rms_norm(const void* x, void* residual, const float* weight, float eps, void* y,
                  std::int64_t num_rows, std::int64_t size, DType dtype, Stream stream) {
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launch_norm<T, true>({static_cast<const T*>(x), static_cast<T*>(residual), static_cast<T*>(y),
                          weight, size, size, size, eps},
                         num_rows, stream);
  });
  check_launch("add_rms_norm");
}

void rms_norm_heads(void* x, std::int64_t x_stride, const float* weight, float eps,
                    std::int64_t num_rows, std::int64_t num_heads, std::int64_t head_dim,
                    DType dtype, Stream stream) {
  const std::int64_t num_pairs = num_rows * num_heads;
  if (num_pairs == 0) return;
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launch_overlapped(norm_heads_kernel<T>, {static_cast<unsigned>(ceil_div(num_pairs, 8)), 256},
                      stream, static_cast<T*>(x), x_stride, weight, eps, num_pairs, num_heads,
                      head_dim);
  });
  check_launch("rms_norm_heads");
}

void sum_of_squares(const void* x, std::int64_t x_stride, float* sums, std::int64_t num_rows,
                    std::int64_t size, DType dtype, Stream stream) {
  if (num_rows == 0) return;
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launch_overlapped(sum_of_squares_kernel<T>, row_shape(num_rows, size), stream,
                      static_cast<const T*>(x), x_stride, sums, size);
  });
  check_launch("sum_of_squares");
}

void scale_by_norm(const void* x, std::int64_t x_stride, const float* sums, std::int64_t total_size,
                   const float* weight, float eps, void* y, std::int64_t y_stride,
                   std::int64_t num_rows, std::int64_t size, DType dtype, Stream stream) {
  if (num_rows == 0) return;
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const NormRows<T> rows{static_cast<const T*>(x),
                           nullptr,
                           static_cast<T*>(y),
                           weight,
                           x_stride,
                           y_stride,
                           size,
                           eps};
    launch_overlapped(scale_by_norm_kernel<T>, row_shape(num_rows, size), stream, rows, sums,
                      static_cast<float>(total_size));
  });
  check_launch("scale_by_norm");
}

void add(const void* y, void* x, std::int64_t size, DType dtype, Stream stream) {
  if (size == 0) return;
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kWide = 16 / sizeof(T);
    const bool is_wide = vector_width<T>({x, y}, {size}) == kWide;
    const std::int64_t packs = is_wide ? size / kWide : size;
    const auto kernel = is_wide ? add_kernel<T, kWide> : add_kernel<T, 1>;
    launch_overlapped(kernel, {static_cast<unsigned>(ceil_div(packs, 256)), 256}, stream,
                      static_cast<const T*>(y), static_cast<T*>(x), packs);
  });
  check_launch("add");
}

void add_bias(const float* bias, void* x, std::int64_t x_stride, std::int64_t num_rows,
              std::int64_t size, DType dtype, Stream stream) {
  if (num_rows == 0) return;
  with_float_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    launch_overlapped(add_bias_kernel<T>, row_shape(num_rows, size), stream, bias,
                      static_cast<T*>(x), x_stride, size);
  });
  check_launch("add_bias");
}

}  // namespace trireme::kernels::cuda
