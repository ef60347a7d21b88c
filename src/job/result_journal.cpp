#include "job/result_journal.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"

namespace trireme::job {
namespace {

constexpr std::size_t kMaxQueuedBytes = std::size_t{256} << 20;

std::size_t weight_of(const io::ResultRow& row) {
  return 256 + row.text.size() +
         4 * (row.output_ids.size() + row.logprobs.size() + row.top_logprobs.size() * 2 +
              row.prompt_logprobs.size());
}

}  // namespace

io::ResultRow to_result_row(engine::Completion completion, int rank, double start_s) {
  const engine::Request& request = *completion.request;
  const bool is_error = !completion.error.empty();
  io::ResultRow row;
  row.index = request.index;
  row.sample = completion.sample;
  if (request.attachment)
    row.custom_id = *static_cast<const io::CustomId*>(request.attachment.get());
  row.status = is_error ? io::RowStatus::error : io::RowStatus::ok;
  switch (completion.finish_reason) {
    case engine::FinishReason::stop:
      row.finish_reason = io::FinishReason::stop;
      break;
    case engine::FinishReason::length:
      row.finish_reason = io::FinishReason::length;
      break;
    case engine::FinishReason::error:
      row.finish_reason = io::FinishReason::error;
  }
  row.error = std::move(completion.error);
  row.prompt_tokens = static_cast<std::int32_t>(request.prompt_tokens.size());
  row.completion_tokens = static_cast<std::int32_t>(completion.output_tokens.size());
  row.seed = request.params.seed;
  row.output_ids = std::move(completion.output_tokens);
  row.text = std::move(completion.text);
  row.has_logprobs = request.params.logprobs >= 0 && !is_error;
  if (row.has_logprobs) {
    row.logprobs = std::move(completion.logprobs);
    row.top_k = std::max(request.params.logprobs, 0);
    row.top_logprob_ids = std::move(completion.top_ids);
    row.top_logprobs = std::move(completion.top_logprobs);
  }
  row.has_prompt_logprobs = request.params.prompt_logprobs && !is_error;
  if (row.has_prompt_logprobs) row.prompt_logprobs = std::move(completion.prompt_logprobs);
  const auto since_start = [start_s](double s) { return s > 0 ? s - start_s : 0; };
  row.time_queued = since_start(request.queued_s);
  row.time_first_token = since_start(completion.first_token_s);
  row.time_done = since_start(completion.done_s);
  row.rank = rank;
  return row;
}

ResultJournal::ResultJournal(io::JournalWriter writer, int rank, double start_s)
    : writer_(std::move(writer)), rank_(rank), start_s_(start_s), queue_(kMaxQueuedBytes) {
  thread_ = std::thread([this] { work(); });
}

ResultJournal::~ResultJournal() {
  queue_.close();
  if (thread_.joinable()) thread_.join();
}

void ResultJournal::work() {
  using namespace std::chrono_literals;
  try {
    while (!queue_.is_drained()) {
      const auto row = queue_.pop_for(200ms);
      if (row) writer_.append(*row);
      if (writer_.sync_is_due()) writer_.sync();
    }
    writer_.sync();
  } catch (...) {
    {
      const std::lock_guard lock(error_mutex_);
      error_ = std::current_exception();
    }
    queue_.close();  // nobody may wait for room that will not come
  }
}

void ResultJournal::rethrow() {
  const std::lock_guard lock(error_mutex_);
  if (error_) std::rethrow_exception(error_);
}

void ResultJournal::finish(engine::Completion completion) {
  rethrow();
  num_prompts_ += 1.0 / completion.request->num_samples;
  io::ResultRow row = to_result_row(std::move(completion), rank_, start_s_);
  ++num_rows_;
  if (row.status == io::RowStatus::error) ++num_failed_;
  const std::size_t weight = weight_of(row);
  queue_.push(std::move(row), weight);
}

void ResultJournal::close() {
  queue_.close();
  if (thread_.joinable()) thread_.join();
  rethrow();
}

void ResultJournal::drain_for(double seconds) noexcept {
  const double until = monotonic_seconds() + seconds;
  queue_.close();
  while (!queue_.is_drained() && monotonic_seconds() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  // Taken out of the queue is not yet written: one more moment for the frame at hand.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

}  // namespace trireme::job
