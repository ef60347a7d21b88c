#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/dtype.h"
#include "tensor/tensor.h"

namespace trireme::checkpoint {

/// Puts values where weights stay, in the host's or the GPU's memory. Each thread has its own; what
/// it was given is there when finish() returns.
class WeightWriter {
 public:
  virtual ~WeightWriter() = default;

  /// Room for bytes that go to `destination` as they are, until commit(); at most the writer's
  /// `max_bytes`.
  virtual std::byte* room(void* destination, std::size_t bytes) = 0;
  /// The room of the last call is filled.
  virtual void commit() = 0;
  /// Writes `count` values one after the other, converted where the types differ. `values` is host
  /// memory, of any alignment, and free again on return.
  virtual void write(const void* values, DType dtype, void* destination, DType destination_dtype,
                     std::int64_t count) = 0;
  virtual void finish() = 0;
};

/// `max_bytes`: the largest room() that will be asked for.
std::unique_ptr<WeightWriter> make_weight_writer(tensor::Place place, std::size_t max_bytes);

/// For the GPU of this thread; in CUDA builds only.
std::unique_ptr<WeightWriter> make_device_writer(std::size_t max_bytes);

}  // namespace trireme::checkpoint
