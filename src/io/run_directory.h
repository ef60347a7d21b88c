#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "io/journal.h"
#include "io/run_lock.h"

namespace trireme::io {

/// What makes a run the run it is; DIRECTORY/manifest.json.
struct Manifest {
  /// What results depend on, in order: name (such as "input", "model", "tokenizer", "sampling",
  /// "schema") and hash or text. The fingerprint is the SHA-256 of these.
  std::vector<std::pair<std::string, std::string>> parts;
  /// Root attributes for the result file, in order; values are strings, integers or floats.
  Json attributes = Json::object();

  /// SHA-256 in hexadecimal digits over the schema name and each part, with lengths between.
  std::string fingerprint() const;
  /// What the journals of this run carry: a number made of fingerprint and attribute run_id, not 0.
  std::uint32_t run_tag() const;
};

/// The directory in which a run keeps its finished rows until the result file is written.
class RunDirectory {
 public:
  /// Makes the directory, which must not be there: Error(output), which says how to go on. The
  /// object holds the directory's lock as long as it lives.
  static RunDirectory create(const std::string& path);
  /// One that is there. Throws Error(missing).
  static RunDirectory open(const std::string& path);
  /// Refuses as create() does if anything is there, and makes nothing.
  static void check_absent(const std::string& path);
  /// Throws Error(output), which names the run, if one is at work in the directory.
  static void check_idle(const std::string& path);

  /// Whether no other process can remove() it: false of one that was opened, and where the file
  /// system has no locks.
  bool is_locked() const { return lock_ && lock_->is_held(); }

  /// A word that rank 0 writes and every rank reads back, which proves that all see one file
  /// system.
  void write_nonce(const std::string& nonce) const;
  /// Throws Error(missing) if it is not there yet.
  std::string read_nonce() const;

  /// Written beside, synced, renamed: it is there whole or not at all.
  void write_manifest(const Manifest& manifest) const;
  /// None if there is none. Throws Error(input) if it is broken or its fingerprint does not fit.
  std::optional<Manifest> read_manifest() const;

  /// Throws Error(io) unless nonce and manifest are still those that this run wrote: another one
  /// may have taken the place of the directory where there are no locks.
  void check_is_of(const Manifest& manifest, const std::string& nonce) const;

  /// All journals, sorted by epoch, rank and sequence. Other files are not looked at.
  std::vector<JournalName> journals() const;
  std::string path_of(const JournalName& name) const;

  /// Names of files in it that no run writes, sorted.
  std::vector<std::string> foreign_files() const;

  /// Removes what a run writes and then the directory. A file that no run writes stays, and so does
  /// the directory; the names of such files are returned. Throws Error(output) if another run is at
  /// work in it, Error(io).
  std::vector<std::string> remove() const;

  const std::string& path() const { return path_; }

 private:
  explicit RunDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
  std::optional<RunLock> lock_;  ///< of the one that created it
};

}  // namespace trireme::io
