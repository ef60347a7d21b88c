#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/dtype.h"
#include "kernels/cuda_stream.h"
#include "kernels/instruction_set.h"

namespace trireme::kernels::cpu {

/// Matrix products against weights in checkpoint layout, of which no second copy is kept. Holds the
/// memory that the products work in; used by one thread, works with OpenMP's threads.
///
/// Y[M, N] = X[M, K] · W[N, K]ᵀ (+ bias[N]), sums in float32. Threads share out N and M, never K,
/// so the bits do not depend on their number. In float32 a row's bits do not depend on M either;
/// with rounding to bfloat16 only on which side of the number of rows it lies from which weights
/// are reordered first.
class Gemm {
 public:
  /// `round_to_bf16`: X may be rounded to bfloat16 (dtype bfloat16); else products are exact in
  /// float32.
  Gemm(InstructionSet set, bool round_to_bf16);
  Gemm(Gemm&&) noexcept;
  Gemm& operator=(Gemm&&) noexcept;
  ~Gemm();

  struct Operands {
    const float* x = nullptr;
    std::int64_t x_stride = 0;
    const void* weight = nullptr;  ///< [N, K] contiguous
    DType weight_dtype = DType::bfloat16;
    const float* bias = nullptr;  ///< [N] or null
    float* y = nullptr;
    std::int64_t y_stride = 0;
    std::int64_t m = 0, n = 0, k = 0;
  };
  void run(const Operands& operands);
  /// Independent products, shared out among the threads together (the experts of a layer).
  void run_all(std::span<const Operands> products);

  InstructionSet instruction_set() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::kernels::cpu

namespace trireme::kernels::cuda {

/// Matrix products: Y[M, N] = X[M, K] · W[N, K]ᵀ (+ bias[N]), sums in float32 (never TF32), by
/// cuBLASLt, or of up to 16 rows by own kernels that read the weights once, or on Hopper of many
/// rows by one that needs no second pass for silu_and_mul. Holds the library's
/// handle, its workspace and the kernel of each shape; used by one thread on one stream at a time.
class Gemm {
 public:
  /// `invariant`: for each shape of weights one kernel for every M, which gives a row the same bits
  /// whatever rows it stands among: on Hopper the own one for many rows; where that takes no such
  /// product an algorithm of the library, which tune() must have found.
  enum class Kernels : std::uint8_t { all, library, invariant };
  explicit Gemm(Kernels kernels = Kernels::all);
  Gemm(Gemm&&) noexcept;
  Gemm& operator=(Gemm&&) noexcept;
  ~Gemm();

  struct Operands {
    const void* x = nullptr;
    std::int64_t x_stride = 0;
    const void* weight = nullptr;   ///< [N, K] contiguous
    DType dtype = DType::bfloat16;  ///< of x and weight
    const float* bias = nullptr;    ///< [N] or null
    void* y = nullptr;
    std::int64_t y_stride = 0;
    DType y_dtype = DType::bfloat16;  ///< dtype or float32
    std::int64_t m = 0, n = 0, k = 0;
    /// Null, or [M, N] contiguous of dtype to work in: then the product's columns are N / 2 gates
    /// and their ups, and y [M, N / 2], contiguous of dtype, is silu(gate) · up, without bias.
    void* gate_up = nullptr;
  };
  /// Takes the kernel that tune() found for the bucket of M. Without one: an own kernel for few
  /// rows of small weights, or else the library's first choice.
  void run(const Operands& operands, Stream stream);

  /// Times the algorithms that the library proposes for a shape and the own kernels that take it,
  /// and keeps the fastest for all M of its bucket. The products have one shape and other weights
  /// each (those of several layers), so that these come from memory as in a model. Overwrites x
  /// and y, waits for the stream; not while capturing. Does nothing for a bucket that is known.
  void tune(std::span<const Operands> products, Stream stream);

  /// Writes what tune() has found, and what load() has read, to a text file, which is replaced at
  /// once. Throws Error(output) or Error(io).
  void save(const std::string& path) const;
  /// Takes over what save() has written with the same kind of GPU and version of cuBLASLt; tune()
  /// then does nothing for these shapes. Any other file is left alone: gives the reason, else an
  /// empty text.
  std::string load(const std::string& path);

  /// The largest M that shares an algorithm with m: powers of two to 32, then steps of an eighth to
  /// a quarter.
  static std::int64_t bucket_of(std::int64_t m);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::kernels::cuda
