#pragma once

#include "kernels/cuda/detail/attention_tile.cuh"

/// A warp's query heads of one token against tiles of 16 keys and values in shared memory: what a
/// decode's attention is made of. Scores are in log2.
namespace trireme::kernels::cuda {

/// Results of a warp or a cta that are to be merged: out [kHeads, kDim], then largest and sum of
/// each head.
template <int kHeads, int kDim>
struct PartialHeads {
  static constexpr int kFloats = kHeads * (kDim + 2);
  float* memory;
  __device__ float& out(int head, int i) const { return memory[head * kDim + i]; }
  __device__ float& largest(int head) const { return memory[kHeads * kDim + head]; }
  __device__ float& sum(int head) const { return memory[kHeads * (kDim + 1) + head]; }
};

/// An 8 x 8 matrix in the layout of fragments with rows and columns exchanged.
__device__ inline unsigned transposed(unsigned matrix) {
  unsigned result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(matrix));
  return result;
}

/// Up to 16 heads, which are the products' rows.
template <typename T, int kDim>
class SixteenHeads {
 public:
  static constexpr int kHeads = 16;

  /// Heads from `from` on, kDim apart; those that are not there are zeros.
  __device__ void load(const T* from, int num_heads) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int head = lane / 4 + i % 2 * 8;
        const T* at = from + head * kDim + step * 16 + i / 2 * 8 + lane % 4 * 2;
        q_[step][i] = head < num_heads ? *reinterpret_cast<const unsigned*>(at) : 0u;
      }
    }
  }

  /// Of the tile's keys only those in [first, end) are seen.
  __device__ void attend(unsigned keys, unsigned values, float scale, int first, int end) {
    float scores[2][4];
    multiply_keys<T, kDim, 16>(scores, q_, keys);
    if (first > 0 || end < 16) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int key = j * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i % 2;
          if (key < first || key >= end) scores[j][i] = -INFINITY;
        }
      }
    }
    update_softmax(rows_, scores, scale);
    add_values<T, kDim, 16>(rows_, scores, values);
  }

  __device__ void leave(const PartialHeads<kHeads, kDim>& to) {
    finish_sums(rows_);
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int head = half * 8 + lane / 4;
#pragma unroll
      for (int j = 0; j < kDim / 8; ++j) {
        to.out(head, j * 8 + lane % 4 * 2) = rows_.out[j][half * 2];
        to.out(head, j * 8 + lane % 4 * 2 + 1) = rows_.out[j][half * 2 + 1];
      }
      if (lane % 4 == 0) {
        to.largest(head) = rows_.largest[half];
        to.sum(head) = rows_.sum[half];
      }
    }
  }

 private:
  unsigned q_[kDim / 16][4];
  SoftmaxRows<kDim> rows_;
};

/// Up to eight heads, which are the products' columns, keys and dimensions their rows: half as many
/// products as with rows of heads that are not there. A lane has heads 2 · (l mod 4) and the next.
template <typename T, int kDim>
class EightHeads {
 public:
  static constexpr int kHeads = 8;

  __device__ void load(const T* from, int num_heads) {
    const int lane = threadIdx.x % 32, head = lane / 4;
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const T* at = from + head * kDim + step * 16 + i * 8 + lane % 4 * 2;
        q_[step][i] = head < num_heads ? *reinterpret_cast<const unsigned*>(at) : 0u;
      }
    }
  }

  __device__ void attend(unsigned keys, unsigned values, float scale, int first, int end) {
    const int lane = threadIdx.x % 32;
    float scores[4] = {};  // of keys l / 4 and l / 4 + 8, two heads each
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      unsigned a[4];
      load_matrices(a, keys + swizzled<kDim / 8>(lane % 16, step * 2 + lane / 16));
      mma(scores, a, q_[step][0], q_[step][1], T{});
    }
    if (first > 0 || end < 16) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = lane / 4 + i / 2 * 8;
        if (key < first || key >= end) scores[i] = -INFINITY;
      }
    }
    update(scores, scale);
    const unsigned b0 = transposed(pack_two(scores[0], scores[1], T{}));
    const unsigned b1 = transposed(pack_two(scores[2], scores[3], T{}));
#pragma unroll
    for (int j = 0; j < kDim / 16; ++j) {
      unsigned a[4];
      load_matrices_transposed(
          a, values + swizzled<kDim / 8>(lane / 16 * 8 + lane % 8, j * 2 + lane / 8 % 2));
      mma(out_[j], a, b0, b1, T{});
    }
  }

  __device__ void leave(const PartialHeads<kHeads, kDim>& to) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int head = lane % 4 * 2 + i;
#pragma unroll
      for (int j = 0; j < kDim / 16; ++j) {
        to.out(head, j * 16 + lane / 4) = out_[j][i];
        to.out(head, j * 16 + lane / 4 + 8) = out_[j][i + 2];
      }
#pragma unroll
      for (int distance = 4; distance < 32; distance *= 2) {
        sum_[i] += __shfl_xor_sync(0xffffffffu, sum_[i], distance);
      }
      if (lane < 4) {
        to.largest(head) = largest_[i];
        to.sum(head) = sum_[i];
      }
    }
  }

 private:
  /// Turns scores into weights relative to the new maximum and shrinks what was summed before.
  __device__ void update(float (&scores)[4], float scale) {
    float shrink[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float most = fmaxf(scores[i], scores[i + 2]);
#pragma unroll
      for (int distance = 4; distance < 32; distance *= 2) {
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, distance));
      }
      const float before = largest_[i], now = fmaxf(before, most * scale);
      // A head that has seen no key yet: subtract 0 from its -inf.
      const float base = now == -INFINITY ? 0.0f : now;
      shrink[i] = power_of_two(before - base);
      largest_[i] = now;
      scores[i] = power_of_two(scores[i] * scale - base);
      scores[i + 2] = power_of_two(scores[i + 2] * scale - base);
      sum_[i] = sum_[i] * shrink[i] + (scores[i] + scores[i + 2]);
    }
    // Behind the first tiles a new maximum is rare.
    if (__all_sync(0xffffffffu, shrink[0] == 1.0f && shrink[1] == 1.0f)) return;
#pragma unroll
    for (int j = 0; j < kDim / 16; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out_[j][i] *= shrink[i % 2];
    }
  }

  unsigned q_[kDim / 16][2];
  float out_[kDim / 16][4] = {};
  float largest_[2] = {-INFINITY, -INFINITY};
  float sum_[2] = {};  ///< of this lane's keys alone
};

}  // namespace trireme::kernels::cuda
