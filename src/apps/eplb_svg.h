#pragma once

#include <string>

#include "apps/eplb_measure.h"

namespace trireme::apps {

/// A drawing of the measure as an SVG file: balance by layer before and after, the heat of experts
/// by layer, and remote nodes per token where they are known.
///   title  one line of text, escaped here
std::string measure_svg(const LoadsMeasure& measure, const std::string& title);

}  // namespace trireme::apps
