#pragma once

#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>

#include "engine/request.h"
#include "io/journal.h"
#include "job/bounded_queue.h"

namespace trireme::job {

/// A leader's finished rows on their way to its journal. A thread of its own writes one frame a row
/// and syncs when due, so that no step waits for the disk.
class ResultJournal : public engine::ResultSink {
 public:
  /// `start_s`: the run's beginning on the monotonic clock; times in the file count from it.
  ResultJournal(io::JournalWriter writer, int rank, double start_s);
  ~ResultJournal() override;

  /// Throws what the journal thread met (Error(io): disk full).
  void finish(engine::Completion completion) override;

  /// Writes what is queued, syncs, closes. Throws what the thread met.
  void close();
  /// On the error path: gives the thread at most this long to write what is queued.
  void drain_for(double seconds) noexcept;

  std::int64_t num_rows() const { return num_rows_; }
  std::int64_t num_failed() const { return num_failed_; }
  /// A sample counts for its share of its prompt.
  double num_prompts() const { return num_prompts_; }

 private:
  void work();
  void rethrow();

  io::JournalWriter writer_;
  const int rank_;
  const double start_s_;
  BoundedQueue<io::ResultRow> queue_;
  std::int64_t num_rows_ = 0, num_failed_ = 0;
  double num_prompts_ = 0;
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::thread thread_;
};

/// The row of the result file. `attachment` of the request is its io::CustomId.
io::ResultRow to_result_row(engine::Completion completion, int rank, double start_s);

}  // namespace trireme::job
