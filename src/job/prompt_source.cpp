#include "job/prompt_source.h"

#include <limits>

#include "base/clock.h"

namespace trireme::job {
namespace {

constexpr std::size_t kNoLimit =
    std::numeric_limits<std::size_t>::max();  // claims bound the queues

}  // namespace

PromptSource::PromptSource(SharedReader& reader, ClaimChannel& claims, RequestMaker make_request,
                           int num_threads)
    : reader_(reader),
      claims_(claims),
      make_request_(std::move(make_request)),
      rows_(kNoLimit),
      requests_(kNoLimit) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { work(); });
  claims_.request();
}

PromptSource::~PromptSource() {
  rows_.close();
  while (rows_.try_pop()) {
  }
  for (std::thread& thread : threads_) thread.join();
}

void PromptSource::work() {
  try {
    while (auto row = rows_.pop()) {
      const io::PromptRow prompt =
          reader_.with([&](io::PromptReader& reader) { return reader.read_row(row->first); });
      engine::Request request = make_request_(prompt);
      request.queued_s = row->second;
      requests_.push(std::move(request));
    }
  } catch (...) {
    const std::lock_guard lock(error_mutex_);
    error_ = std::current_exception();
  }
}

void PromptSource::claim_more() {
  if (auto portion = claims_.take_answer()) {
    portion_size_ = std::ssize(*portion);
    num_unfinished_ += portion_size_;
    is_drained_ = portion->empty();
    const double now = monotonic_seconds();
    for (const std::int64_t index : *portion) rows_.push({index, now});
  }
  if (!is_drained_ && !claims_.is_waiting() && num_unfinished_ <= portion_size_ / 2) {
    claims_.request();
  }
}

std::optional<engine::Request> PromptSource::next() {
  {
    const std::lock_guard lock(error_mutex_);
    if (error_) std::rethrow_exception(error_);
  }
  claim_more();
  std::optional<engine::Request> request = requests_.try_pop();
  if (request) --num_unfinished_;
  return request;
}

bool PromptSource::exhausted() const { return is_drained_ && num_unfinished_ == 0; }

}  // namespace trireme::job
