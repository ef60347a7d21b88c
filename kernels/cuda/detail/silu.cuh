#pragma once

namespace trireme::kernels::cuda {

__device__ inline float silu_times(float gate, float up) {
  return gate / (1.0f + __expf(-gate)) * up;
}
/// With a quotient within two units in the last place: for kernels whose products wait meanwhile.
__device__ inline float fast_silu_times(float gate, float up) {
  return __fdividef(gate, 1.0f + __expf(-gate)) * up;
}

}  // namespace trireme::kernels::cuda
