#include "layers/lm_head.h"

#include "ops/ops.h"

namespace trireme::layers {

void LmHead::forward(ops::Context& context, const TensorView& x, const TensorView& y) const {
  ops::linear(context, x, tied_ != nullptr ? tied_->weight() : weight_.view(), nullptr, y);
}

}  // namespace trireme::layers
