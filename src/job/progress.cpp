#include "job/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iomanip>
#include <sstream>

#include "base/clock.h"
#include "base/error.h"

namespace trireme::job {
namespace {

constexpr double kTerminalInterval = 0.5;  // seconds between two redraws of the live line

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return std::move(out).str();
}

std::string two_digits(std::int64_t value) { return cat(value < 10 ? "0" : "", value); }

}  // namespace

GroupProgress total_of(std::span<const GroupProgress> groups) {
  GroupProgress total;
  for (const GroupProgress& group : groups) {
    total.prompts_done += group.prompts_done;
    total.rows_done += group.rows_done;
    total.rows_failed += group.rows_failed;
    total.prompt_tokens += group.prompt_tokens;
    total.output_tokens += group.output_tokens;
    total.num_running += group.num_running;
    total.num_waiting += group.num_waiting;
    total.num_preemptions += group.num_preemptions;
    total.reused_tokens += group.reused_tokens;
    total.kv_use = std::max(total.kv_use, group.kv_use);
  }
  return total;
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "unknown";
  if (seconds < 60) return fixed(seconds, 1) + " s";
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  if (whole < 3600) return cat(whole / 60, "m ", two_digits(whole % 60), "s");
  return cat(whole / 3600, "h ", two_digits(whole / 60 % 60), "m");
}

std::string grouped(std::int64_t value) {
  std::string digits = std::to_string(value);
  for (auto at = std::ssize(digits) - 3; at > (value < 0 ? 1 : 0); at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

std::string bytes_text(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  while (bytes >= 1024 && unit < 4) {
    bytes /= 1024;
    ++unit;
  }
  return fixed(bytes, unit == 0 ? 0 : 1) + " " + units[unit];
}

Progress::Progress(const Log& log, std::int64_t num_prompts, double interval_s)
    : log_(log),
      num_prompts_(num_prompts),
      interval_s_(interval_s),
      is_terminal_(::isatty(STDERR_FILENO) != 0),
      start_s_(monotonic_seconds()),
      last_print_s_(start_s_) {}

Progress::~Progress() { finish(); }

std::string Progress::line(const GroupProgress& total, double now) {
  const double elapsed = now - start_s_;
  const double since = std::max(1e-9, now - last_print_s_);
  const double share =
      num_prompts_ == 0 ? 1 : total.prompts_done / static_cast<double>(num_prompts_);
  const auto rate = [since](std::int64_t newer, std::int64_t older) {
    return grouped(static_cast<std::int64_t>(static_cast<double>(newer - older) / since));
  };
  return cat(grouped(static_cast<std::int64_t>(total.prompts_done + 1e-6)), "/",
             grouped(num_prompts_), " prompts (", fixed(100 * share, 0), " %), in ",
             rate(total.prompt_tokens, last_.prompt_tokens), " tokens/s, out ",
             rate(total.output_tokens, last_.output_tokens), " tokens/s, KV ",
             fixed(100 * total.kv_use, 0), " %, running ", grouped(total.num_running), ", waiting ",
             grouped(total.num_waiting),
             total.rows_failed > 0 ? cat(", failed ", grouped(total.rows_failed)) : std::string(),
             ", ETA ", share > 0 ? duration_text(elapsed / share - elapsed) : "unknown");
}

void Progress::update(std::span<const GroupProgress> groups) {
  const double now = monotonic_seconds();
  const double interval = is_terminal_ ? std::min(kTerminalInterval, interval_s_) : interval_s_;
  if (interval_s_ <= 0 || now - last_print_s_ < interval || !log_.enabled(LogLevel::info)) return;
  const GroupProgress total = total_of(groups);
  const std::string text = line(total, now);
  if (is_terminal_) {
    const std::string live = cat("\r\033[K", text);
    if (::write(STDERR_FILENO, live.data(), live.size()) > 0) has_live_line_ = true;
  } else {
    log_.info(text);
  }
  last_ = total;
  last_print_s_ = now;
}

void Progress::finish() {
  if (has_live_line_ && ::write(STDERR_FILENO, "\n", 1) > 0) has_live_line_ = false;
}

}  // namespace trireme::job
