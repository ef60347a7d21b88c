#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/mpi_comm.h"
#include "tensor/tensor.h"

namespace trireme::checkpoint {

class Checkpoint;

/// The part [begin, end) along `dim` of a stored tensor; end = 0: all of it.
struct Slice {
  int dim = 0;
  std::int64_t begin = 0, end = 0;
};

/// Brings weights from a checkpoint into the memory of the ranks that declared they want them.
/// First every layer declares, then load() reads: each byte once a node, by one of the ranks that
/// want it, which passes the others their slices. For benchmarks there are weights without a
/// checkpoint as well.
class WeightLoader {
 public:
  /// `count`: nothing is allocated or read; declarations are checked and their bytes counted.
  /// `synthetic`: matrices are random, N(0, 0.02²), norms 1 and biases 0.
  enum class Mode { load, count, synthetic };

  struct Options {
    Mode mode = Mode::load;
    tensor::Place place = tensor::Place::host;
    std::optional<DType> dtype = std::nullopt;  ///< in which weights are kept; unset: as stored
    std::uint64_t seed = 0;                     ///< of synthetic weights
  };

  /// `node`: the ranks of this node, null: this rank alone. All have opened the same folder. On
  /// the GPU of this thread if the options' place is the device.
  WeightLoader(const Checkpoint& checkpoint, const comm::MpiComm* node, const Options& options);
  WeightLoader(const Checkpoint& checkpoint, const comm::MpiComm* node);
  /// Without files, counting or synthetic: every tensor is there in the shape that is expected, and
  /// stored as bfloat16.
  explicit WeightLoader(const Options& options);
  ~WeightLoader();

  /// The type in which a weight is kept. Throws Error(checkpoint) if it is missing.
  DType dtype_of(const std::string& name) const;
  bool has(const std::string& name) const;

  /// Throws Error(checkpoint) if the tensor is missing or has another shape than `expected`.
  void check(const std::string& name, const tensor::Shape& expected) const;

  /// Zeroed memory for a weight, in the options' place; without memory when counting.
  tensor::Tensor allocate(const tensor::Shape& shape, DType dtype);
  /// A copy of these values (contiguous, in the host's memory) in the options' place: what a layer
  /// computes instead of reading it. When counting without memory, and the values are not read.
  tensor::Tensor upload(const tensor::TensorView& values);
  /// Bytes that allocate() and upload() were asked for.
  std::int64_t allocated_bytes() const;
  Mode mode() const;

  /// Declares that `destination` (contiguous, alive until load() ends) is to hold this slice of the
  /// tensor, which must have `stored_shape`. Converts if the dtypes differ.
  /// When counting, the destination is not looked at.
  /// Throws Error(checkpoint) naming tensor, shape and expectation.
  void want(const std::string& name, const tensor::Shape& stored_shape, const Slice& slice,
            const tensor::TensorView& destination);

  struct Summary {
    std::int64_t bytes_read = 0;  ///< by this rank, headers included
    std::int64_t bytes_kept = 0;
    std::int64_t file_bytes = 0;  ///< all files of the checkpoint
    double seconds = 0;
  };
  /// Reads everything wanted, or fills it. Collective over the node: a rank whose declarations
  /// failed must have told the others before. `on_progress(done, total)` in bytes of the node. An
  /// error on one rank is thrown on all of them, in the same words.
  Summary load(const std::function<void(std::int64_t, std::int64_t)>& on_progress = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::checkpoint
