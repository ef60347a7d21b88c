#include "io/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/clock.h"
#include "base/error.h"
#include "io/crc32c.h"
#include "io/file_system.h"
#include "io/journal_frame.h"

namespace trireme::io {
namespace {

constexpr std::uint64_t kSyncBytes = std::uint64_t{4} << 20;
constexpr double kSyncSeconds = 1.0;
constexpr std::size_t kWindowBytes = std::size_t{1} << 20;

// Takes a non-negative number without leading zeros off the front of `text`.
std::optional<std::int64_t> take_number(std::string_view& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const auto length = static_cast<std::size_t>(end - text.data());
  if (error != std::errc() || number < 0 || (text[0] == '0' && length > 1)) return std::nullopt;
  text.remove_prefix(length);
  return number;
}

bool take_word(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

}  // namespace

std::string JournalName::file_name() const {
  return cat("j-", epoch, "-", rank, "-", sequence, ".wal");
}

std::optional<JournalName> JournalName::parse(std::string_view name) {
  JournalName parsed;
  if (!take_word(name, "j")) return std::nullopt;
  for (std::int64_t* part : {&parsed.epoch, &parsed.rank, &parsed.sequence}) {
    if (!take_word(name, "-") || name.empty()) return std::nullopt;
    const std::optional<std::int64_t> number = take_number(name);
    if (!number) return std::nullopt;
    *part = *number;
  }
  return name == ".wal" ? std::optional(parsed) : std::nullopt;
}

JournalWriter::JournalWriter(std::string path, FileDescriptor file, std::uint32_t run_tag)
    : path_(std::move(path)), file_(std::move(file)), run_tag_(run_tag) {}

JournalWriter JournalWriter::create(const std::string& directory, const JournalName& name,
                                    std::uint32_t run_tag) {
  const std::string path = cat(directory, "/", name.file_name());
  FileDescriptor file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666));
  if (!file) fail(ErrorKind::output, system_message(path, "the journal cannot be created"));
  sync_directory_of(path);
  return JournalWriter(path, std::move(file), run_tag);
}

void JournalWriter::append(const ResultRow& row) {
  TRIREME_CHECK(!has_failed_, path_, ": an earlier write failed");
  const std::string frame = encode_frame(row, run_tag_);
  TRIREME_CHECK(frame.size() <= kMaxFrameBytes, path_, ", ", frame.size());
  try {
    write_all(file_.get(), frame, path_);
  } catch (const Error&) {
    // Half a frame would hide what is written behind it.
    has_failed_ = true;
    if (::ftruncate(file_.get(), static_cast<off_t>(num_bytes_)) != 0) {
      // Then the reader finds the last whole frame.
    }
    throw;
  }
  if (unsynced_bytes_ == 0) oldest_unsynced_ = monotonic_seconds();
  unsynced_bytes_ += frame.size();
  num_bytes_ += frame.size();
  ++num_rows_;
}

bool JournalWriter::sync_is_due() const {
  return unsynced_bytes_ >= kSyncBytes ||
         (unsynced_bytes_ > 0 && monotonic_seconds() - oldest_unsynced_ >= kSyncSeconds);
}

void JournalWriter::sync() {
  if (unsynced_bytes_ == 0) return;
  if (::fdatasync(file_.get()) != 0) {
    fail(ErrorKind::io,
         system_message(path_, cat("cannot bring ", unsynced_bytes_, " bytes to the disk")));
  }
  unsynced_bytes_ = 0;
}

JournalReader::JournalReader(std::string path, FileDescriptor file, std::uint64_t file_bytes)
    : path_(std::move(path)), file_(std::move(file)), file_bytes_(file_bytes) {}

JournalReader JournalReader::open(const std::string& path) {
  FileDescriptor file = open_regular_file(path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail(ErrorKind::io, system_message(path, "has no size"));
  return JournalReader(path, std::move(file), static_cast<std::uint64_t>(status.st_size));
}

// The bytes [begin, begin + num_bytes) of the file; fewer where it ends. What is not in the window
// yet is read, with `read_ahead` bytes at least.
std::string_view JournalReader::view(std::uint64_t begin, std::size_t num_bytes,
                                     std::size_t read_ahead) {
  if (begin < window_begin_ || begin + num_bytes > window_begin_ + window_.size()) {
    window_.resize(std::max(num_bytes, read_ahead));
    window_begin_ = begin;
    std::size_t filled = 0;
    while (filled < window_.size()) {
      const ssize_t count = ::pread(file_.get(), window_.data() + filled, window_.size() - filled,
                                    static_cast<off_t>(begin + filled));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail(ErrorKind::io, system_message(path_, "cannot be read"));
      if (count == 0) break;
      filled += static_cast<std::size_t>(count);
    }
    window_.resize(filled);
  }
  return std::string_view(window_).substr(begin - window_begin_, num_bytes);
}

std::uint32_t JournalReader::checksum_of(std::uint64_t begin, std::uint64_t num_bytes) {
  std::uint32_t checksum = 0;
  while (num_bytes > 0) {
    const std::string_view part =
        view(begin, std::min<std::uint64_t>(num_bytes, kWindowBytes), kWindowBytes);
    if (part.empty()) break;  // the file became shorter: the checksum cannot be right
    checksum = crc32c(part, checksum);
    begin += part.size();
    num_bytes -= part.size();
  }
  return checksum;
}

std::optional<FrameInfo> JournalReader::next() {
  const std::string_view head = view(position_, kFrameHeaderBytes, kWindowBytes);
  if (head.size() < kFrameHeaderBytes) return std::nullopt;
  const auto header = load_value<FrameHeader>(head.data());
  const std::uint64_t left = file_bytes_ - position_;
  if (header.magic != kFrameMagic || header.version != kFrameVersion ||
      header.payload_bytes > kMaxFrameBytes ||
      header.payload_bytes + kFrameHeaderBytes + kChecksumBytes > left) {
    return std::nullopt;
  }
  const std::uint64_t covered = kFrameHeaderBytes + header.payload_bytes;
  const std::uint32_t computed = checksum_of(position_, covered);
  const std::string_view tail = view(position_ + covered, kChecksumBytes, kWindowBytes);
  if (tail.size() < kChecksumBytes || load_value<std::uint32_t>(tail.data()) != computed) {
    return std::nullopt;
  }
  FrameInfo info;
  info.begin = position_;
  info.num_bytes = covered + kChecksumBytes;
  info.kind = header.kind;
  info.index = header.index;
  info.sample = header.sample;
  info.run = header.run;
  position_ += info.num_bytes;
  return info;
}

ResultRow JournalReader::read(const FrameInfo& frame) {
  const std::string what = cat(path_, ": frame at byte ", frame.begin);
  // Rows are asked for in any order: reading ahead would read everything many times.
  const std::string_view bytes = view(frame.begin, frame.num_bytes, 0);
  if (bytes.size() != frame.num_bytes ||
      crc32c(bytes.substr(0, bytes.size() - kChecksumBytes)) !=
          load_value<std::uint32_t>(bytes.data() + bytes.size() - kChecksumBytes)) {
    fail(ErrorKind::io, cat(what, ": changed while it was read"));
  }
  return decode_frame(bytes, what);
}

}  // namespace trireme::io
