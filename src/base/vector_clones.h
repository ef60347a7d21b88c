#pragma once

/// Compiles a loop once for every x86-64 processor and once for AVX2, chosen when the program
/// starts. Neither has fused multiply-add, so both give the same bits.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TRIREME_VECTOR_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define TRIREME_VECTOR_CLONES
#endif
