#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

namespace trireme::io {

/// Reads a text file line by line, of bounded length. The end of a line (LF or CR LF) is taken off;
/// what follows the last end counts if it is not empty.
class LineReader {
 public:
  /// Throws Error(missing).
  explicit LineReader(const std::string& path);

  /// Throws Error(input) for a line longer than 64 MiB, Error(io).
  std::optional<std::string> next();
  /// Number of the line that next() gave last, from 1.
  std::int64_t line_number() const { return line_number_; }
  /// "FILE:LINE" for messages.
  std::string place() const;

 private:
  struct Closer {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };

  std::string path_;
  std::unique_ptr<std::FILE, Closer> file_;
  std::int64_t line_number_ = 0;
};

}  // namespace trireme::io
