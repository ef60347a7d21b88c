#include "io/result_writer.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "io/disk_space.h"
#include "io/file_system.h"
#include "io/hdf5_file.h"
#include "io/journal_frame.h"
#include "io/result_columns.h"

namespace trireme::io {
namespace {

constexpr std::size_t kMaxOpenJournals = 200;

// Where one result lies.
struct Entry {
  std::int64_t index = 0;
  std::int32_t sample = 0;
  std::uint32_t journal = 0;
  std::uint64_t begin = 0;
  std::uint32_t num_bytes = 0;

  std::pair<std::int64_t, std::int32_t> key() const { return {index, sample}; }
};

// The journals of a run directory, of which only some are open at a time.
class Journals {
 public:
  explicit Journals(const RunDirectory& directory) {
    for (const JournalName& name : directory.journals()) {
      paths_.push_back(directory.path_of(name));
    }
    readers_.resize(paths_.size());
  }

  std::size_t size() const { return paths_.size(); }

  JournalReader& reader(std::size_t journal) {
    std::optional<JournalReader>& reader = readers_[journal];
    if (!reader) {
      if (num_open_ == kMaxOpenJournals) close_all();
      reader = JournalReader::open(paths_[journal]);
      ++num_open_;
    }
    return *reader;
  }

  ResultRow read(const Entry& entry) {
    FrameInfo frame;
    frame.begin = entry.begin;
    frame.num_bytes = entry.num_bytes;
    return reader(entry.journal).read(frame);
  }

 private:
  void close_all() {
    for (auto& reader : readers_) reader.reset();
    num_open_ = 0;
  }

  std::vector<std::string> paths_;
  std::vector<std::optional<JournalReader>> readers_;
  std::size_t num_open_ = 0;
};

// First pass: where each row is, sorted, and which columns they need.
struct Index {
  std::vector<Entry> entries;
  ResultShape shape;
  std::uint64_t num_bytes = 0;
};

// The run that the journals must be of; 0: not known yet. Journals that do not say are taken.
std::uint32_t run_tag_of(const RunDirectory& directory) {
  const auto manifest = directory.read_manifest();
  return manifest ? manifest->run_tag() : 0;
}

void check_run(const JournalReader& reader, const FrameInfo& frame, std::uint32_t& run_tag) {
  if (frame.run == 0) return;
  if (run_tag == 0) run_tag = frame.run;
  if (frame.run == run_tag) return;
  fail(ErrorKind::input, cat(reader.path(), ": the row at byte ", frame.begin,
                             " was written by another run than the rest of the run directory; move "
                             "this journal out of it to merge what is left"));
}

Index read_index(Journals& journals, std::uint32_t run_tag, MergeReport& report) {
  Index index;
  for (std::size_t i = 0; i < journals.size(); ++i) {
    JournalReader& reader = journals.reader(i);
    while (const std::optional<FrameInfo> frame = reader.next()) {
      check_run(reader, *frame, run_tag);
      if (frame->kind != kFrameRow) continue;
      index.shape.include(reader.read(*frame));
      index.entries.push_back({frame->index, frame->sample, static_cast<std::uint32_t>(i),
                               frame->begin, static_cast<std::uint32_t>(frame->num_bytes)});
      index.num_bytes += frame->num_bytes;
    }
    if (reader.torn_bytes() > 0) {
      report.warnings.push_back(cat(reader.path(), ": the last ", reader.torn_bytes(),
                                    " bytes are no whole row and were left out"));
    }
  }
  // Stable: of equal rows the first of the first journal wins.
  std::stable_sort(index.entries.begin(), index.entries.end(),
                   [](const Entry& a, const Entry& b) { return a.key() < b.key(); });
  if (index.entries.empty()) index.shape.has_integer_ids = false;
  return index;
}

std::int64_t num_distinct(const std::vector<Entry>& sorted) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (i == 0 || sorted[i].key() != sorted[i - 1].key()) ++count;
  }
  return count;
}

// A journal that vanished, or lost its end, must not become a result file that looks whole.
void check_num_rows(const RunDirectory& directory, const Index& index, std::int64_t expected) {
  const std::int64_t found = num_distinct(index.entries);
  if (found == expected) return;
  fail(ErrorKind::io, cat(directory.path(), ": the journals hold ", found, " rows, the run has ",
                          "finished ", expected,
                          ": journals were removed or changed while it ran, "
                          "so no result file is written; 'trireme results merge ",
                          directory.path(), " OUT.h5' writes what is left"));
}

void count(const ResultRow& row, MergeReport& report) {
  ++report.num_rows;
  if (row.status == RowStatus::ok) ++report.num_ok;
  if (row.status == RowStatus::cancelled) ++report.num_cancelled;
  if (row.status != RowStatus::error) return;
  if (report.num_error++ == 0) report.first_error = cat("row ", row.index, ": ", row.error);
}

void write_rows(Journals& journals, const Index& index, Hdf5File& file, MergeReport& report) {
  ResultColumns columns(file, index.shape);
  ResultRow row;
  for (std::size_t i = 0; i < index.entries.size(); ++i) {
    const Entry& entry = index.entries[i];
    const bool is_duplicate = i > 0 && entry.key() == index.entries[i - 1].key();
    if (!is_duplicate) {
      row = journals.read(entry);
      count(row, report);
      columns.add(row);
      continue;
    }
    ++report.num_duplicates;
    if (!same_result(row, journals.read(entry))) {
      ++report.num_differing;
      if (report.num_differing == 1) {
        report.warnings.push_back(
            cat("row ", entry.index, " sample ", entry.sample,
                " was computed twice with different results; the first is kept"));
      }
    }
  }
  columns.flush();
}

void write_attributes(const RunDirectory& directory, const MergeOptions& options,
                      const MergeReport& report, Hdf5File& file) {
  Json own = {{"schema", "trireme.results"},
              {"schema_version", "1.0.0"},
              {"complete", options.complete ? 1 : 0},
              {"n_ok", report.num_ok},
              {"n_error", report.num_error}};
  if (const auto manifest = directory.read_manifest()) own["fingerprint"] = manifest->fingerprint();
  for (const auto& [name, value] : own.items()) file.write_attribute("/", name, value);
  for (const auto& [name, value] : options.attributes.items()) {
    if (!own.contains(name)) file.write_attribute("/", name, value);
  }
}

}  // namespace

MergeReport merge_results(const RunDirectory& directory, const MergeOptions& options) {
  require_replaceable(options.output);
  if (!options.overwrite && exists(options.output)) {
    fail(ErrorKind::output, cat(options.output,
                                ": is there already; choose another name, or give "
                                "--overwrite to replace it"));
  }
  MergeReport report;
  Journals journals(directory);
  const Index index = read_index(journals, run_tag_of(directory), report);
  if (options.num_rows) check_num_rows(directory, index, *options.num_rows);

  TemporaryFile temporary(options.output + ".tmp");
  try {
    Hdf5File file = Hdf5File::create(temporary.path(), Hdf5File::Existing::replace);
    write_rows(journals, index, file, report);
    write_attributes(directory, options, report, file);
    file.close();
    temporary.rename_to(options.output);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::io) throw;
    fail(ErrorKind::io, cat(error.what(), ". The result file needs up to ", index.num_bytes,
                            " bytes, ", free_disk_bytes(temporary.path()), " are free in ",
                            directory_of(options.output), "; the finished rows stay in ",
                            directory.path(), ", 'trireme results merge' writes the file later"));
  }
  return report;
}

}  // namespace trireme::io
