#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/dtype.h"
#include "tensor/tensor.h"

namespace trireme::checkpoint {

/// Values that go to one stretch of a weight, and its types there and before.
struct Stretch {
  void* destination = nullptr;
  DType destination_dtype = DType::float32;
  DType dtype = DType::float32;
  std::int64_t count = 0;

  std::size_t size_bytes() const { return static_cast<std::size_t>(count) * size_of(dtype); }
};

/// Puts values where weights stay, in the host's or the GPU's memory, converted where the types
/// differ. Each thread has its own; what it was given is there when finish() returns.
class WeightWriter {
 public:
  virtual ~WeightWriter() = default;

  /// Host memory for the values of a stretch, until commit(): at most the writer's `max_bytes`.
  virtual std::byte* room(const Stretch& stretch) = 0;
  /// The room of the last call is filled.
  virtual void commit() = 0;
  /// Writes values of any alignment and number, which are free again on return.
  virtual void write(const void* values, const Stretch& stretch) = 0;
  virtual void finish() = 0;
};

/// `max_bytes`: the largest room() that will be asked for.
std::unique_ptr<WeightWriter> make_weight_writer(tensor::Place place, std::size_t max_bytes);

/// For the GPU of this thread; in CUDA builds only.
std::unique_ptr<WeightWriter> make_device_writer(std::size_t max_bytes);

}  // namespace trireme::checkpoint
