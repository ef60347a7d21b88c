#pragma once

#include <string>
#include <vector>

#include "apps/eplb_measure.h"
#include "eplb/planner.h"
#include "io/expert_loads.h"

namespace trireme::apps {

/// A table with right-aligned columns, the first line its head.
std::string table_text(const std::vector<std::vector<std::string>>& lines);

/// "1.234".
std::string ratio_text(double value);

/// One line: layers, experts, windows, domains, tokens, model.
std::string loads_text(const io::ExpertLoads& loads);

/// What a plan reached, by layer: balance before and after, DeepSeek's, the lower bound, and what
/// it took; then means and worst layers.
///   has_previous  whether slots were counted that changed
///   has_traffic   whether remote nodes were counted
std::string plan_text(const eplb::Plan& plan, bool has_previous, bool has_traffic);

/// Balance by layer before and after, and the averages.
std::string balance_text(const LoadsMeasure& measure);

/// How often each expert was chosen, a line for each layer, in characters.
std::string heat_text(const LoadsMeasure& measure);

}  // namespace trireme::apps
