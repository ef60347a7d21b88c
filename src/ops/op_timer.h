#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "ops/context.h"
#include "tensor/device.h"

namespace trireme::ops {

/// Times on the GPU what operators put into the stream, by their names. For benchmarks: two events
/// an operator cost a few microseconds, and recorded graphs cannot be timed this way.
class OpTimer {
 public:
  struct Total {
    double milliseconds = 0;
    std::int64_t count = 0;
  };

  void begin(const std::string& name, const tensor::Stream& stream) {
    if (pending_.size() == kMostPending) settle();
    Pending& pending = pending_.emplace_back();
    pending.name = name;
    pending.begin.record(stream);
  }
  void end(const tensor::Stream& stream) { pending_.back().end.record(stream); }

  /// Waits for all that was begun.
  const std::map<std::string, Total>& totals() {
    settle();
    return totals_;
  }

 private:
  static constexpr std::size_t kMostPending = 4096;
  struct Pending {
    std::string name;
    tensor::Event begin{tensor::Event::Timing::on}, end{tensor::Event::Timing::on};
  };

  void settle() {
    for (Pending& pending : pending_) {
      pending.end.synchronize();
      Total& total = totals_[pending.name];
      total.milliseconds += pending.end.milliseconds_since(pending.begin);
      ++total.count;
    }
    pending_.clear();
  }

  std::deque<Pending> pending_;
  std::map<std::string, Total> totals_;
};

/// An operator's time, where the context has a timer. Operators do not nest.
class OpScope {
 public:
  template <typename... Parts>
  explicit OpScope(const Context& context, const Parts&... name)
      : timer_(context.cuda->timer), stream_(context.cuda->stream) {
    if (timer_ != nullptr) timer_->begin(cat(name...), stream_);
  }
  ~OpScope() {
    if (timer_ != nullptr) timer_->end(stream_);
  }
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

 private:
  OpTimer* timer_;
  const tensor::Stream& stream_;
};

}  // namespace trireme::ops
