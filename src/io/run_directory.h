#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "io/journal.h"

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
};

/// The directory in which a run keeps its finished rows until the result file is written.
class RunDirectory {
 public:
  /// Makes the directory, which must not be there: Error(output), which says how to go on.
  static RunDirectory create(const std::string& path);
  /// One that is there. Throws Error(missing).
  static RunDirectory open(const std::string& path);
  /// Refuses as create() does if anything is there, and makes nothing.
  static void check_absent(const std::string& path);

  /// A word that rank 0 writes and every rank reads back, which proves that all see one file
  /// system.
  void write_nonce(const std::string& nonce) const;
  /// Throws Error(missing) if it is not there yet.
  std::string read_nonce() const;

  /// Written beside, synced, renamed: it is there whole or not at all.
  void write_manifest(const Manifest& manifest) const;
  /// None if there is none. Throws Error(input) if it is broken or its fingerprint does not fit.
  std::optional<Manifest> read_manifest() const;

  /// All journals, sorted by epoch, rank and sequence. Other files are not looked at.
  std::vector<JournalName> journals() const;
  std::string path_of(const JournalName& name) const;

  /// Names of files in it that no run writes, sorted.
  std::vector<std::string> foreign_files() const;

  /// Removes what a run writes and then the directory. A file that no run writes stays, and so does
  /// the directory; the names of such files are returned.
  std::vector<std::string> remove() const;

  const std::string& path() const { return path_; }

 private:
  explicit RunDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace trireme::io
