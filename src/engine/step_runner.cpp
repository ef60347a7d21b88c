#include "engine/step_runner.h"

#include "engine/model_runner.h"

namespace trireme::engine {

std::unique_ptr<StepRunner> make_step_runner(const RunnerParts& parts) {
  if constexpr (ops::kHasCuda) {
    if (parts.context.ops.is_on_gpu()) return make_cuda_runner(parts);
  }
  return std::make_unique<ModelRunner>(parts);
}

}  // namespace trireme::engine
