#pragma once

#include <span>

#include "engine/sample_row.h"

namespace trireme::test {

/// DESIGN section 5, sampling, word by word and in doubles where it matters: sorts the whole row.
engine::SampledToken reference_sample(std::span<const float> logits, const engine::SampleRow& row);

/// log-softmax of one logit; NaN counts as −inf.
double reference_logprob(std::span<const float> logits, std::int32_t id);

}  // namespace trireme::test
