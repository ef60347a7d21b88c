#pragma once

#include <string>

#include "layers/weight.h"
#include "ops/ops.h"

namespace trireme::layers {

/// y = x / sqrt(mean(x²) + eps) · weight, replicated on all ranks.
class RmsNorm {
 public:
  RmsNorm(checkpoint::WeightLoader& loader, const std::string& name, std::int64_t size, double eps)
      : weight_(declare_vector(loader, name, size)), eps_(static_cast<float>(eps)) {}

  /// x, y [rows, size]; y may be x.
  void forward(ops::Context& context, const tensor::TensorView& x,
               const tensor::TensorView& y) const {
    ops::rms_norm(context, x, weight_, eps_, y);
  }

  /// residual += x, then y = its norm; all [rows, size], y may be x.
  void add_forward(ops::Context& context, const tensor::TensorView& x,
                   const tensor::TensorView& residual, const tensor::TensorView& y) const {
    ops::add_rms_norm(context, x, residual, weight_, eps_, y);
  }

 private:
  tensor::Tensor weight_;
  float eps_;
};

}  // namespace trireme::layers
