#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "checkpoint/weight_loader.h"
#include "tensor/tensor.h"

namespace trireme::layers {

/// A slice of a stored tensor and the rows of a weight that it fills.
struct WeightPart {
  std::string name;
  tensor::Shape stored_shape;
  checkpoint::Slice slice;
  std::int64_t row_begin = 0,
               row_end = 0;  ///< of the weight seen as [all but the last extent, last]
};

/// Allocates a weight and declares what fills it; rows that no part fills stay zero. Its dtype is
/// the parts' stored one, float32 if they differ.
tensor::Tensor declare_weight(checkpoint::WeightLoader& loader, const tensor::Shape& shape,
                              std::span<const WeightPart> parts);

/// The same as float32, whatever is stored: norm weights and biases.
tensor::Tensor declare_float_weight(checkpoint::WeightLoader& loader, const tensor::Shape& shape,
                                    std::span<const WeightPart> parts);

/// A vector of which this rank holds a slice, as float32.
tensor::Tensor declare_vector(checkpoint::WeightLoader& loader, const std::string& name,
                              std::int64_t stored_size, const checkpoint::Slice& slice = {});

}  // namespace trireme::layers
