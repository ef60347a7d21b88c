#pragma once

struct CUstream_st;

namespace trireme::kernels::cuda {

/// A CUDA stream. Kernels are launched on it and come back at once; all their pointers are to
/// device memory, and errors of a launch throw Error(cuda). Opaque, so that no CUDA header is
/// needed to call them.
using Stream = CUstream_st*;

}  // namespace trireme::kernels::cuda
