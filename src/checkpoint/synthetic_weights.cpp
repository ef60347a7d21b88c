#include "checkpoint/synthetic_weights.h"

#include <string_view>
#include <vector>

#include "base/mix.h"
#include "checkpoint/weight_writer.h"
#include "kernels/fill.h"
#include "tensor/device.h"

namespace trireme::checkpoint {
namespace {

constexpr float kDeviation = 0.02f;

void fill_ones(const SyntheticWant& want, WeightWriter& writer) {
  const std::int64_t count = want.destination.num_elements();
  const std::vector<float> ones(static_cast<std::size_t>(count), 1.0f);
  writer.write(ones.data(), {.destination = want.destination.data,
                             .destination_dtype = want.destination.dtype,
                             .dtype = DType::float32,
                             .count = count});
}

template <typename Fill>
void fill_all(std::span<const SyntheticWant> wants, WeightWriter& writer, std::uint64_t seed,
              const std::function<void(std::int64_t, std::int64_t)>& on_progress,
              const Fill& fill_normal) {
  std::int64_t done = 0, total = 0;
  for (const SyntheticWant& want : wants) {
    total += static_cast<std::int64_t>(want.destination.size_bytes());
  }
  for (const SyntheticWant& want : wants) {
    const tensor::TensorView& to = want.destination;
    if (!want.is_vector) {
      const kernels::FillRuns runs{want.runs.offset, want.runs.length, want.runs.stride};
      const std::uint64_t key = splitmix64(splitmix64(seed) ^ key_of(want.name));
      fill_normal(to, runs, key);
    } else if (std::string_view(want.name).ends_with("norm.weight")) {
      fill_ones(want, writer);
    }
    done += static_cast<std::int64_t>(to.size_bytes());
    if (on_progress) on_progress(done, total);
  }
  writer.finish();
}

}  // namespace

void fill_synthetic(std::span<const SyntheticWant> wants, tensor::Place place, std::uint64_t seed,
                    const std::function<void(std::int64_t, std::int64_t)>& on_progress) {
  const std::unique_ptr<WeightWriter> writer = make_weight_writer(place, 0);
  using tensor::TensorView;
  if (place == tensor::Place::host) {
    fill_all(wants, *writer, seed, on_progress,
             [](const TensorView& to, const kernels::FillRuns& runs, std::uint64_t key) {
               kernels::cpu::fill_normal(to.data, to.dtype, to.num_elements(), runs, key,
                                         kDeviation);
             });
    return;
  }
  if constexpr (tensor::kHasCuda) {
    const tensor::Stream stream;
    fill_all(wants, *writer, seed, on_progress,
             [&](const TensorView& to, const kernels::FillRuns& runs, std::uint64_t key) {
               kernels::cuda::fill_normal(to.data, to.dtype, to.num_elements(), runs, key,
                                          kDeviation, stream.get());
             });
    stream.synchronize();
  }
}

}  // namespace trireme::checkpoint
