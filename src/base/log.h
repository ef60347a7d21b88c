#pragma once

#include <string>

namespace trireme {

enum class LogLevel { debug, info, warning, error };

/// Writes whole lines to standard error, below a level nothing. Every rank owns one, made in main and
/// passed by reference. Lines of `info` come from rank 0 alone unless `all_ranks`.
class Log {
 public:
  struct Options {
    LogLevel level = LogLevel::info;
    bool all_ranks = false;
    bool is_rank_0 = true;
    std::string prefix;  ///< such as "[rank 3/16 dp1 tp3 pp0] "; empty for one rank
  };

  Log() = default;
  explicit Log(Options options) : options_(std::move(options)) {}

  void debug(const std::string& message) const { write(LogLevel::debug, message); }
  void info(const std::string& message) const { write(LogLevel::info, message); }
  void warning(const std::string& message) const { write(LogLevel::warning, message); }
  void error(const std::string& message) const { write(LogLevel::error, message); }
  bool enabled(LogLevel level) const;

 private:
  void write(LogLevel level, const std::string& message) const;

  Options options_;
};

}  // namespace trireme
