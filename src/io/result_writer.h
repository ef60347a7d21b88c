#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "io/run_directory.h"

namespace trireme::io {

/// How journals become a result file.
struct MergeOptions {
  std::string output;      ///< path of the result file
  bool overwrite = false;  ///< replace an output that is there
  bool complete = false;   ///< every row of the input has its result
  /// Rows that the run has finished; another number in the journals is an Error(io).
  std::optional<std::int64_t> num_rows;
  Json attributes = Json::object();  ///< root attributes in order; strings, integers or floats
};

/// What a merge found.
struct MergeReport {
  std::int64_t num_rows = 0, num_ok = 0, num_error = 0, num_cancelled = 0;
  std::int64_t num_duplicates = 0;    ///< further results of a row that has one; the first is kept
  std::int64_t num_differing = 0;     ///< of these, such that say something else
  std::string first_error;            ///< of the first row that failed: its index and text
  std::vector<std::string> warnings;  ///< torn journals, differing duplicates
};

/// Writes the result file (io/README.md has the schema) of all journals of a run directory, sorted
/// by (index, sample): to OUTPUT.tmp, synced, then renamed. Memory: 32 bytes a row, and slices of
/// the columns. Adds the attributes schema, schema_version, complete, n_ok, n_error and the
/// manifest's fingerprint itself. Throws Error(output) if the output is there already or cannot be
/// created, Error(input) if a journal is of another run than the manifest, Error(io) if rows are
/// missing, the disk is full (bytes and path are named) or a journal cannot be read.
MergeReport merge_results(const RunDirectory& directory, const MergeOptions& options);

}  // namespace trireme::io
