#include "base/log.h"

#include <unistd.h>

namespace trireme {

bool Log::enabled(LogLevel level) const {
  if (level < options_.level) return false;
  return options_.is_rank_0 || options_.all_ranks || level == LogLevel::error;
}

void Log::write(LogLevel level, const std::string& message) const {
  if (!enabled(level)) return;
  std::string line = options_.prefix;
  if (level == LogLevel::warning) line += "warning: ";
  if (level == LogLevel::error) line += "error: ";
  line += message;
  line += '\n';
  // One write, so that lines of several ranks on one terminal do not mix.
  std::size_t begin = 0;
  while (begin < line.size()) {
    const ssize_t written = ::write(STDERR_FILENO, line.data() + begin, line.size() - begin);
    if (written <= 0) return;
    begin += static_cast<std::size_t>(written);
  }
}

}  // namespace trireme
