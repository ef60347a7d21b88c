#pragma once

#include "kernels/cuda/detail/wgmma.cuh"

/// wgmma.cuh's product of operands in shared memory for every multiple of 16 columns up to 192, and
/// 256. The instruction names all its registers, so the text of each shape is put together here.
namespace trireme::kernels::cuda::wgmma {

// Registers by number, and the sums that they stand for.
#define TRIREME_REGISTERS_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define TRIREME_REGISTERS_16 TRIREME_REGISTERS_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define TRIREME_REGISTERS_24 TRIREME_REGISTERS_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define TRIREME_REGISTERS_32 TRIREME_REGISTERS_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define TRIREME_REGISTERS_40 TRIREME_REGISTERS_32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define TRIREME_REGISTERS_48 TRIREME_REGISTERS_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define TRIREME_REGISTERS_56 TRIREME_REGISTERS_48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define TRIREME_REGISTERS_64 TRIREME_REGISTERS_56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define TRIREME_REGISTERS_72 TRIREME_REGISTERS_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define TRIREME_REGISTERS_80 TRIREME_REGISTERS_72 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define TRIREME_REGISTERS_88 TRIREME_REGISTERS_80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define TRIREME_REGISTERS_96 TRIREME_REGISTERS_88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define TRIREME_REGISTERS_104 TRIREME_REGISTERS_96 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define TRIREME_REGISTERS_112 \
  TRIREME_REGISTERS_104 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define TRIREME_REGISTERS_120 \
  TRIREME_REGISTERS_112 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define TRIREME_REGISTERS_128 \
  TRIREME_REGISTERS_120 ", %120, %121, %122, %123, %124, %125, %126, %127"
#define TRIREME_EIGHT_SUMS(i)                                                                 \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define TRIREME_SUMS_8 TRIREME_EIGHT_SUMS(0)
#define TRIREME_SUMS_16 TRIREME_SUMS_8, TRIREME_EIGHT_SUMS(8)
#define TRIREME_SUMS_24 TRIREME_SUMS_16, TRIREME_EIGHT_SUMS(16)
#define TRIREME_SUMS_32 TRIREME_SUMS_24, TRIREME_EIGHT_SUMS(24)
#define TRIREME_SUMS_40 TRIREME_SUMS_32, TRIREME_EIGHT_SUMS(32)
#define TRIREME_SUMS_48 TRIREME_SUMS_40, TRIREME_EIGHT_SUMS(40)
#define TRIREME_SUMS_56 TRIREME_SUMS_48, TRIREME_EIGHT_SUMS(48)
#define TRIREME_SUMS_64 TRIREME_SUMS_56, TRIREME_EIGHT_SUMS(56)
#define TRIREME_SUMS_72 TRIREME_SUMS_64, TRIREME_EIGHT_SUMS(64)
#define TRIREME_SUMS_80 TRIREME_SUMS_72, TRIREME_EIGHT_SUMS(72)
#define TRIREME_SUMS_88 TRIREME_SUMS_80, TRIREME_EIGHT_SUMS(80)
#define TRIREME_SUMS_96 TRIREME_SUMS_88, TRIREME_EIGHT_SUMS(88)
#define TRIREME_SUMS_104 TRIREME_SUMS_96, TRIREME_EIGHT_SUMS(96)
#define TRIREME_SUMS_112 TRIREME_SUMS_104, TRIREME_EIGHT_SUMS(104)
#define TRIREME_SUMS_120 TRIREME_SUMS_112, TRIREME_EIGHT_SUMS(112)
#define TRIREME_SUMS_128 TRIREME_SUMS_120, TRIREME_EIGHT_SUMS(120)

#ifdef TRIREME_HAS_WGMMA
#define TRIREME_MULTIPLY(sums, columns, type, a, b, adds)                                \
  asm volatile("{.reg .pred p; setp.ne.b32 p, " adds                                     \
               ", 0; wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type \
               " {" TRIREME_REGISTERS_##sums "}, " a ", " b ", p, 1, 1, 0, 0;}"          \
               : TRIREME_SUMS_##sums                                                     \
               : "l"(a_rows), "l"(b_rows), "r"(static_cast<int>(has_sums)))
#else
#define TRIREME_MULTIPLY(sums, columns, type, a, b, adds)
#endif
/// d [64, columns] = a [64, 16] · b [columns, 16]ᵀ, plus what was in d if `has_sums`. `a`, `b` and
/// `adds` are the numbers of the registers behind the sums.
#define TRIREME_SHAPE(sums, columns, a, b, adds)                                               \
  __device__ inline void multiply(float(&d)[sums], std::uint64_t a_rows, std::uint64_t b_rows, \
                                  bool has_sums, __nv_bfloat16) {                              \
    TRIREME_MULTIPLY(sums, columns, "bf16", a, b, adds);                                       \
  }                                                                                            \
  __device__ inline void multiply(float(&d)[sums], std::uint64_t a_rows, std::uint64_t b_rows, \
                                  bool has_sums, __half) {                                     \
    TRIREME_MULTIPLY(sums, columns, "f16", a, b, adds);                                        \
  }

TRIREME_SHAPE(8, "16", "%8", "%9", "%10")
TRIREME_SHAPE(16, "32", "%16", "%17", "%18")
TRIREME_SHAPE(24, "48", "%24", "%25", "%26")
TRIREME_SHAPE(40, "80", "%40", "%41", "%42")
TRIREME_SHAPE(48, "96", "%48", "%49", "%50")
TRIREME_SHAPE(56, "112", "%56", "%57", "%58")
TRIREME_SHAPE(72, "144", "%72", "%73", "%74")
TRIREME_SHAPE(80, "160", "%80", "%81", "%82")
TRIREME_SHAPE(88, "176", "%88", "%89", "%90")
TRIREME_SHAPE(96, "192", "%96", "%97", "%98")
TRIREME_SHAPE(128, "256", "%128", "%129", "%130")

}  // namespace trireme::kernels::cuda::wgmma
