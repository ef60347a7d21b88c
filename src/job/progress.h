#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/log.h"
#include "job/claims.h"

namespace trireme::job {

/// The counters of all groups together.
GroupProgress total_of(std::span<const GroupProgress> groups);

/// "1m 05s", "2h 03m", "4.2 s".
std::string duration_text(double seconds);
/// "1,234,567".
std::string grouped(std::int64_t value);
/// "1.5 GiB".
std::string bytes_text(double bytes);

/// Rank 0's view of a run while it works: one live line on a terminal, one line per interval in a
/// log.
class Progress {
 public:
  Progress(const Log& log, std::int64_t num_prompts, double interval_s);
  ~Progress();

  /// Prints if it is time. `groups`: the newest counters of each.
  void update(std::span<const GroupProgress> groups);
  /// Ends the live line.
  void finish();

 private:
  std::string line(const GroupProgress& total, double now);

  const Log& log_;
  std::int64_t num_prompts_;
  double interval_s_;
  bool is_terminal_;
  bool has_live_line_ = false;
  double start_s_, last_print_s_;
  GroupProgress last_;
};

}  // namespace trireme::job
