#include "io/line_reader.h"

#include <cerrno>

#include "base/error.h"
#include "io/file_system.h"

namespace trireme::io {
namespace {

constexpr std::size_t kMaxLineBytes = std::size_t{64} << 20;

}  // namespace

LineReader::LineReader(const std::string& path)
    : path_(path), file_(std::fopen(path.c_str(), "rbe")) {
  if (!file_) fail(ErrorKind::missing, system_message(path, "cannot be read"));
}

std::optional<std::string> LineReader::next() {
  std::string line;
  char piece[4096];
  ++line_number_;
  for (;;) {
    // Through the buffer of the stream; a zero byte is a character like any other.
    std::size_t length = 0;
    int byte = 0;
    while (length < sizeof(piece) && (byte = getc_unlocked(file_.get())) != EOF && byte != '\n') {
      piece[length++] = static_cast<char>(byte);
    }
    line.append(piece, length);
    if (line.size() > kMaxLineBytes) {
      fail(ErrorKind::input, cat(place(), ": longer than ", kMaxLineBytes, " bytes"));
    }
    if (length == sizeof(piece)) continue;
    if (byte == EOF && std::ferror(file_.get()) != 0) {
      fail(ErrorKind::io, system_message(path_, "cannot be read"));
    }
    if (byte == EOF && line.empty()) return std::nullopt;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    return line;
  }
}

std::string LineReader::place() const { return cat(path_, ":", line_number_); }

}  // namespace trireme::io
