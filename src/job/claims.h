#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "comm/mpi_comm.h"

namespace trireme::job {

/// What rank 0 must know of the rows to hand them out.
struct ClaimPolicy {
  std::int64_t num_rows = 0;
  std::int64_t num_groups = 1;  ///< sequence groups that share the rows
  std::int64_t max_rows = 128;  ///< of one portion: two full batches
  std::int64_t window_rows = std::int64_t{1} << 20;
  /// Work of rows [begin, end): input length + allowed output.
  std::function<std::vector<std::int64_t>(std::int64_t, std::int64_t)> work_of;
};

/// Hands rows out, longest first (ties by index) inside windows of the file: memory does not grow
/// with the file. A portion is worth a quarter of a group's even share of the window's remaining
/// work, so portions shrink and the tail stays short.
class ClaimQueue {
 public:
  explicit ClaimQueue(ClaimPolicy policy);

  /// The next portion; empty when all rows are given.
  std::vector<std::int64_t> take();

 private:
  void open_window();

  ClaimPolicy policy_;
  std::int64_t next_window_ = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> rows_;  ///< work, index; longest last
  std::int64_t work_left_ = 0;
};

/// Counters that leaders send to rank 0 for the progress line.
struct GroupProgress {
  double prompts_done = 0;  ///< a sample counts for its share of its prompt
  std::int64_t rows_done = 0, rows_failed = 0, prompt_tokens = 0, output_tokens = 0,
               num_running = 0, num_waiting = 0, num_preemptions = 0, reused_tokens = 0;
  double kv_use = 0;
};

/// The messages about claims, progress and stopping between the leaders and rank 0. Every rank has
/// one and polls it; nothing blocks (DESIGN section 5, "Claims").
class ClaimChannel {
 public:
  /// `leaders`: world ranks, ascending; rank 0 is the first. `queue`: on rank 0.
  ClaimChannel(const comm::MpiComm& world, std::vector<int> leaders,
               std::unique_ptr<ClaimQueue> queue);
  ClaimChannel(const ClaimChannel&) = delete;
  ClaimChannel& operator=(const ClaimChannel&) = delete;

  /// Rank 0 answers requests; everybody takes in what has arrived.
  void poll();

  // Of a leader.
  /// Asks for a portion; at most one request is open.
  void request();
  bool is_waiting() const { return is_waiting_; }
  /// The answer, once; an empty portion means that there is no more.
  std::optional<std::vector<std::int64_t>> take_answer();
  void report(const GroupProgress& progress);
  /// Tells rank 0, and through it all leaders, to stop.
  void request_stop();
  bool stop_requested() const { return is_stopping_; }

  /// Rank 0: the newest counters of each leader.
  const std::vector<GroupProgress>& progress() const { return progress_; }
  /// Waits until all messages of this rank are delivered. The others must still poll.
  void finish();

 private:
  void send(int to, int tag, std::vector<std::int64_t> words);
  void handle(int from, int tag, std::vector<std::int64_t> words);
  void spread_stop();

  const comm::MpiComm& world_;
  std::vector<int> leaders_;
  std::unique_ptr<ClaimQueue> queue_;
  bool is_waiting_ = false;
  bool is_stopping_ = false;
  std::optional<std::vector<std::int64_t>> answer_;
  std::vector<GroupProgress> progress_;

  struct Outgoing {
    std::vector<std::int64_t> words;
    comm::HostRequest request;
  };
  std::deque<std::unique_ptr<Outgoing>> outgoing_;
};

}  // namespace trireme::job
