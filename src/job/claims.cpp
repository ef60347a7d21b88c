#include "job/claims.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"

namespace trireme::job {
namespace {

constexpr int kRequestTag = 11;
constexpr int kAnswerTag = 12;
constexpr int kProgressTag = 13;
constexpr int kStopTag = 14;

static_assert(sizeof(GroupProgress) % sizeof(std::int64_t) == 0);

}  // namespace

ClaimQueue::ClaimQueue(ClaimPolicy policy) : policy_(std::move(policy)) {}

void ClaimQueue::open_window() {
  const std::int64_t begin = next_window_;
  const std::int64_t end = std::min(policy_.num_rows, begin + policy_.window_rows);
  next_window_ = end;
  const std::vector<std::int64_t> work = policy_.work_of(begin, end);
  rows_.clear();
  for (std::int64_t row = begin; row < end; ++row) {
    rows_.emplace_back(std::max<std::int64_t>(1, work[static_cast<std::size_t>(row - begin)]), row);
  }
  std::sort(rows_.begin(), rows_.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second > b.second;
  });
  work_left_ = std::accumulate(rows_.begin(), rows_.end(), std::int64_t{0},
                               [](std::int64_t sum, const auto& row) { return sum + row.first; });
}

std::vector<std::int64_t> ClaimQueue::take() {
  if (rows_.empty() && next_window_ < policy_.num_rows) open_window();
  const std::int64_t worth = work_left_ / (4 * policy_.num_groups);
  std::vector<std::int64_t> portion;
  std::int64_t taken = 0;
  while (!rows_.empty() && std::ssize(portion) < policy_.max_rows) {
    const auto [work, row] = rows_.back();
    if (!portion.empty() && taken + work > worth) break;
    portion.push_back(row);
    taken += work;
    rows_.pop_back();
  }
  work_left_ -= taken;
  return portion;
}

ClaimChannel::ClaimChannel(const comm::MpiComm& world, std::vector<int> leaders,
                           std::unique_ptr<ClaimQueue> queue)
    : world_(world),
      leaders_(std::move(leaders)),
      queue_(std::move(queue)),
      progress_(leaders_.size()) {}

void ClaimChannel::send(int to, int tag, std::vector<std::int64_t> words) {
  if (to == world_.rank()) {
    handle(to, tag, std::move(words));
    return;
  }
  auto message = std::make_unique<Outgoing>();
  message->words = std::move(words);
  message->request = world_.send(std::as_bytes(std::span(message->words)), to, tag);
  outgoing_.push_back(std::move(message));
}

void ClaimChannel::handle(int from, int tag, std::vector<std::int64_t> words) {
  switch (tag) {
    case kRequestTag:
      send(from, kAnswerTag, is_stopping_ ? std::vector<std::int64_t>{} : queue_->take());
      return;
    case kAnswerTag:
      is_waiting_ = false;
      answer_ = std::move(words);
      return;
    case kProgressTag: {
      const auto leader = std::lower_bound(leaders_.begin(), leaders_.end(), from);
      TRIREME_CHECK(leader != leaders_.end() && *leader == from, "from=", from);
      TRIREME_CHECK(words.size() * sizeof(words[0]) == sizeof(GroupProgress), "from=", from);
      std::memcpy(
          static_cast<void*>(&progress_[static_cast<std::size_t>(leader - leaders_.begin())]),
          words.data(), sizeof(GroupProgress));
      return;
    }
    default:
      if (world_.rank() == 0) spread_stop();
      is_stopping_ = true;
  }
}

void ClaimChannel::spread_stop() {
  if (std::exchange(is_stopping_, true)) return;
  for (const int leader : leaders_) {
    if (leader != 0) send(leader, kStopTag, {1});
  }
}

void ClaimChannel::poll() {
  while (!outgoing_.empty() && outgoing_.front()->request.test()) outgoing_.pop_front();
  for (const int tag : {kRequestTag, kAnswerTag, kProgressTag, kStopTag}) {
    comm::MpiComm::Arrived arrived;
    while (world_.probe(-1, tag, arrived)) {
      std::vector<std::int64_t> words(arrived.size_bytes / sizeof(std::int64_t));
      world_.receive(std::as_writable_bytes(std::span(words)), arrived.from, tag).wait();
      handle(arrived.from, tag, std::move(words));
    }
  }
}

void ClaimChannel::request() {
  TRIREME_CHECK(!is_waiting_ && !answer_, "rank=", world_.rank());
  is_waiting_ = true;
  send(0, kRequestTag, {0, 0});
}

std::optional<std::vector<std::int64_t>> ClaimChannel::take_answer() {
  return std::exchange(answer_, std::nullopt);
}

void ClaimChannel::report(const GroupProgress& progress) {
  std::vector<std::int64_t> words(sizeof(GroupProgress) / sizeof(std::int64_t));
  std::memcpy(words.data(), &progress, sizeof(GroupProgress));
  send(0, kProgressTag, std::move(words));
}

void ClaimChannel::request_stop() {
  if (is_stopping_) return;
  if (world_.rank() == 0) {
    spread_stop();
  } else {
    is_stopping_ = true;
    send(0, kStopTag, {1});
  }
}

void ClaimChannel::finish() {
  while (!outgoing_.empty()) {
    poll();
    ::sched_yield();
  }
}

}  // namespace trireme::job
