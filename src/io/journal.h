#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/handle.h"
#include "io/result_row.h"

namespace trireme::io {

/// Which journal: `j-<epoch>-<rank>-<sequence>.wal`.
struct JournalName {
  std::int64_t epoch = 0;     ///< number of the start of the run
  std::int64_t rank = 0;      ///< world rank of the writer
  std::int64_t sequence = 0;  ///< number of the writer's file in this start

  std::string file_name() const;
  /// None if `name` is not exactly a journal's.
  static std::optional<JournalName> parse(std::string_view name);
  auto operator<=>(const JournalName&) const = default;
};

/// The bytes of one frame that holds `row`; io/README.md has the format. `run_tag`: of the run's
/// manifest, 0 for none.
std::string encode_frame(const ResultRow& row, std::uint32_t run_tag = 0);
/// The row of a whole frame with a valid checksum. Throws Error(input), which begins with `what`.
ResultRow decode_frame(std::string_view frame, const std::string& what);

/// Writes finished rows to one journal that belongs to it alone. A row is safe against the death of
/// the process when append() returns, against the death of the node when sync() has. Not
/// thread-safe.
class JournalWriter {
 public:
  /// Creates DIRECTORY/name, which must not be there; its frames carry `run_tag`. Throws
  /// Error(output).
  static JournalWriter create(const std::string& directory, const JournalName& name,
                              std::uint32_t run_tag = 0);

  /// One write() of one frame. Throws Error(io), which says how many bytes did not fit where; the
  /// journal then ends with the last whole frame and takes no more.
  void append(const ResultRow& row);

  /// True when 4 MiB or 1 s of rows are not yet on the disk; the owner then calls sync().
  bool sync_is_due() const;
  /// fdatasync, if something was written since the last. Throws Error(io).
  void sync();

  std::uint64_t num_bytes() const { return num_bytes_; }
  std::uint64_t num_rows() const { return num_rows_; }
  const std::string& path() const { return path_; }

 private:
  JournalWriter(std::string path, FileDescriptor file, std::uint32_t run_tag);

  std::string path_;
  FileDescriptor file_;
  std::uint32_t run_tag_ = 0;
  std::uint64_t num_bytes_ = 0, num_rows_ = 0, unsynced_bytes_ = 0;
  double oldest_unsynced_ = 0;
  bool has_failed_ = false;
};

/// Where a frame lies in its journal, and what a merge must know before it reads the row.
struct FrameInfo {
  std::uint64_t begin = 0, num_bytes = 0;  ///< of the whole frame
  std::uint16_t kind = 0;                  ///< 1 row, 2 partial row
  std::int64_t index = 0;
  std::int32_t sample = 0;
  std::uint32_t run = 0;  ///< tag of the run that wrote it; 0: not said
};

/// A frame larger than this is not written, and counts as broken where it is read.
inline constexpr std::uint64_t kMaxFrameBytes = std::uint64_t{2} << 30;

/// Reads a journal from its beginning to its last whole frame. The bytes are not trusted: every
/// length is bounded by the file, every frame by its checksum.
class JournalReader {
 public:
  /// Throws Error(missing), or Error(input) if it is no regular file.
  static JournalReader open(const std::string& path);

  /// The next frame with a valid checksum; none at the end or where the rest is torn or broken. It
  /// never looks for frames behind broken bytes: a row's text could contain what looks like one.
  std::optional<FrameInfo> next();
  /// Bytes behind the last whole frame; valid once next() gave none.
  std::uint64_t torn_bytes() const { return file_bytes_ - position_; }

  /// The row of a frame that next() gave, before or after other calls. Fields of unknown number are
  /// skipped. Throws Error(input) if the frame is whole but is not a row as this program writes it.
  ResultRow read(const FrameInfo& frame);

  const std::string& path() const { return path_; }

 private:
  JournalReader(std::string path, FileDescriptor file, std::uint64_t file_bytes);
  std::string_view view(std::uint64_t begin, std::size_t num_bytes, std::size_t read_ahead);
  std::uint32_t checksum_of(std::uint64_t begin, std::uint64_t num_bytes);

  std::string path_;
  FileDescriptor file_;
  std::uint64_t file_bytes_ = 0, position_ = 0;
  std::string window_;  ///< the bytes of the file from window_begin_
  std::uint64_t window_begin_ = 0;
};

}  // namespace trireme::io
