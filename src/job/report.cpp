#include "job/report.h"

#include <algorithm>

#include "base/error.h"
#include "job/progress.h"

namespace trireme::job {
namespace {

std::string rate(std::int64_t tokens, double seconds) {
  return grouped(static_cast<std::int64_t>(static_cast<double>(tokens) / std::max(seconds, 1e-9)));
}

std::string phase(const char* name, double seconds, double total) {
  const auto per_cent = static_cast<std::int64_t>(100 * seconds / std::max(total, 1e-9) + 0.5);
  return cat("\n    ", name, std::string(12 - std::string(name).size(), ' '),
             duration_text(seconds), "  (", per_cent, " %)");
}

}  // namespace

std::string report_text(const ReportInput& input) {
  const io::MergeReport& merged = input.merged;
  const GroupProgress& total = input.total;
  const engine::EngineStats& stats = input.stats;
  const RunTimes& times = input.times;

  std::string text =
      cat("\nresults: ", input.output, "\n  rows       ", grouped(merged.num_rows), " (",
          grouped(merged.num_ok), " ok, ", grouped(merged.num_error), " failed)");
  if (merged.num_error > 0) text += cat("\n  first error: ", merged.first_error);
  if (merged.num_rows > 0 && merged.num_error == merged.num_rows) {
    text = cat("\nALL ", grouped(merged.num_rows), " ROWS FAILED", text);
  }
  text += cat("\n  tokens     ", grouped(total.prompt_tokens), " in (",
              rate(total.prompt_tokens, times.work_s), "/s), ", grouped(total.output_tokens),
              " out (", rate(total.output_tokens, times.work_s), "/s)");
  text +=
      cat("\n  KV reuse   ", grouped(total.reused_tokens), " prompt tokens not computed again; ",
          grouped(total.num_preemptions), " preemption(s)");
  text += input.experts;
  text += cat("\n  time       ", duration_text(times.total_s), " in all, on rank 0:");
  const double inside =
      stats.forward_seconds + stats.sample_seconds + stats.plan_seconds + stats.idle_seconds;
  text +=
      phase("start", times.total_s - times.load_s - times.work_s - times.merge_s, times.total_s);
  text += phase("load", times.load_s, times.total_s);
  text += phase(stats.is_on_gpu ? "launch" : "forward", stats.forward_seconds, times.total_s);
  if (!stats.is_on_gpu) text += phase("sample", stats.sample_seconds, times.total_s);
  text += phase("plan", stats.plan_seconds, times.total_s);
  text += phase(stats.is_on_gpu ? "GPU" : "wait", stats.idle_seconds, times.total_s);
  text += phase("other", std::max(0.0, times.work_s - inside), times.total_s);
  text += phase("merge", times.merge_s, times.total_s);
  return text;
}

}  // namespace trireme::job
