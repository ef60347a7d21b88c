#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace trireme::job {

/// Hands values from some threads to others, at most so much at a time. `close()` lets the takers
/// drain what is there and then go.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t max_weight) : max_weight_(max_weight) {}

  /// Waits while the queue is full. A value heavier than the queue goes in when it is empty.
  void push(T value, std::size_t weight = 1) {
    std::unique_lock lock(mutex_);
    has_room_.wait(lock,
                   [&] { return weight_ == 0 || weight_ + weight <= max_weight_ || closed_; });
    weight_ += weight;
    values_.emplace_back(std::move(value), weight);
    has_value_.notify_one();
  }

  /// The next value; waits for one; none when the queue is closed and empty.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    has_value_.wait(lock, [&] { return !values_.empty() || closed_; });
    return take();
  }

  /// The same without waiting, or waiting at most so long.
  std::optional<T> try_pop() {
    const std::lock_guard lock(mutex_);
    return take();
  }
  template <typename Duration>
  std::optional<T> pop_for(Duration duration) {
    std::unique_lock lock(mutex_);
    has_value_.wait_for(lock, duration, [&] { return !values_.empty() || closed_; });
    return take();
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    has_value_.notify_all();
    has_room_.notify_all();
  }
  bool is_drained() const {
    const std::lock_guard lock(mutex_);
    return closed_ && values_.empty();
  }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return values_.size();
  }

 private:
  std::optional<T> take() {
    if (values_.empty()) return std::nullopt;
    std::optional<T> value(std::move(values_.front().first));
    weight_ -= values_.front().second;
    values_.pop_front();
    has_room_.notify_all();
    return value;
  }

  const std::size_t max_weight_;
  mutable std::mutex mutex_;
  std::condition_variable has_value_, has_room_;
  std::deque<std::pair<T, std::size_t>> values_;
  std::size_t weight_ = 0;
  bool closed_ = false;
};

}  // namespace trireme::job
