#pragma once

#include <string>

#include "engine/engine.h"
#include "io/result_writer.h"
#include "job/claims.h"

namespace trireme::job {

/// Wall times of a run on rank 0, in seconds.
struct RunTimes {
  double load_s = 0, work_s = 0, merge_s = 0, total_s = 0;
};

struct ReportInput {
  const io::MergeReport& merged;
  const GroupProgress& total;        ///< of all groups
  const engine::EngineStats& stats;  ///< of rank 0
  const RunTimes& times;
  std::string output;
  std::string experts;  ///< what expert_report() says
};

/// The closing summary, several lines. A run whose rows all failed says so first and loudly.
std::string report_text(const ReportInput& input);

}  // namespace trireme::job
