#pragma once

namespace trireme::kernels::cuda {

__device__ inline float silu_times(float gate, float up) {
  return gate / (1.0f + __expf(-gate)) * up;
}

}  // namespace trireme::kernels::cuda
