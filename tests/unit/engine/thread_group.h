#pragma once

#include <barrier>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "base/error.h"
#include "comm/communicator.h"

namespace trireme::test {

/// A group whose ranks are threads of this process: what the sampler needs of a Communicator,
/// without MPI. Counts the collectives.
class ThreadGroup {
 public:
  explicit ThreadGroup(int size)
      : meeting_(size),
        in_(static_cast<std::size_t>(size)),
        sent_(static_cast<std::size_t>(size)) {}

  int size() const { return static_cast<int>(in_.size()); }
  int num_collectives() const { return num_collectives_; }

  /// Calls function(member) on a thread for each rank.
  void run(const std::function<void(comm::Communicator&)>& function);

 private:
  friend class ThreadGroupMember;

  std::barrier<> meeting_;
  std::vector<tensor::TensorView> in_;
  std::vector<std::span<const std::int64_t>> sent_;
  int num_collectives_ = 0;
};

class ThreadGroupMember final : public comm::Communicator {
 public:
  ThreadGroupMember(ThreadGroup& group, int rank) : group_(group), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return group_.size(); }

  void all_gather(const comm::TensorView& in, const comm::TensorView& out,
                  std::span<const std::int64_t> counts) override {
    meet(in, counts);
    auto* to = static_cast<std::byte*>(out.data);
    for (std::size_t from = 0; from < counts.size(); ++from) {
      TRIREME_CHECK(group_.in_[from].rows() == counts[from], "from=", from);
      to = append(to, from, 0, counts[from]);
    }
    TRIREME_CHECK(to == static_cast<std::byte*>(out.data) + out.size_bytes(), "rank=", rank_);
    group_.meeting_.arrive_and_wait();
  }

  void all_to_all(const comm::TensorView& in, std::span<const std::int64_t> send_counts,
                  const comm::TensorView& out, std::span<const std::int64_t> recv_counts) override {
    meet(in, send_counts);
    auto* to = static_cast<std::byte*>(out.data);
    for (std::size_t from = 0; from < recv_counts.size(); ++from) {
      const auto& sent = group_.sent_[from];
      std::int64_t begin = 0;
      for (int rank = 0; rank < rank_; ++rank) begin += sent[static_cast<std::size_t>(rank)];
      TRIREME_CHECK(sent[static_cast<std::size_t>(rank_)] == recv_counts[from], "from=", from);
      to = append(to, from, begin, begin + recv_counts[from]);
    }
    TRIREME_CHECK(to == static_cast<std::byte*>(out.data) + out.size_bytes(), "rank=", rank_);
    group_.meeting_.arrive_and_wait();
  }

  void all_reduce(const comm::TensorView&) override { refuse(); }
  void all_reduce_max(const comm::TensorView&) override { refuse(); }
  void reduce_scatter(const comm::TensorView&, const comm::TensorView&,
                      std::span<const std::int64_t>) override {
    refuse();
  }
  void broadcast(const comm::TensorView&, int) override { refuse(); }
  std::unique_ptr<comm::Transfer> send(const comm::TensorView&, int) override { refuse(); }
  std::unique_ptr<comm::Transfer> receive(const comm::TensorView&, int) override { refuse(); }
  void barrier() override { refuse(); }

 private:
  [[noreturn]] static void refuse() { fail(ErrorKind::internal, "not in this group"); }

  void meet(const comm::TensorView& in, std::span<const std::int64_t> counts) {
    group_.in_[static_cast<std::size_t>(rank_)] = in;
    group_.sent_[static_cast<std::size_t>(rank_)] = counts;
    if (rank_ == 0) ++group_.num_collectives_;
    group_.meeting_.arrive_and_wait();
  }

  std::byte* append(std::byte* to, std::size_t from, std::int64_t begin, std::int64_t end) {
    const comm::TensorView rows = group_.in_[from].slice(begin, end);
    if (rows.size_bytes() > 0) std::memcpy(to, rows.data, rows.size_bytes());
    return to + rows.size_bytes();
  }

  ThreadGroup& group_;
  int rank_;
};

inline void ThreadGroup::run(const std::function<void(comm::Communicator&)>& function) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size(); ++rank) {
    threads.emplace_back([this, rank, &function] {
      ThreadGroupMember member(*this, rank);
      function(member);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace trireme::test
