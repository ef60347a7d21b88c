#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/handle.h"

// Only comm includes mpi.h; a communicator is held here as what Open MPI's MPI_Comm is.
struct ompi_communicator_t;
struct ompi_request_t;

namespace trireme::comm {

struct MpiCommTraits {
  using type = ompi_communicator_t*;
  static type null() { return nullptr; }
  static void destroy(type communicator) noexcept;
};

/// A non-blocking host message. Owns its request; the memory given must outlive it.
class HostRequest {
 public:
  HostRequest() = default;
  explicit HostRequest(ompi_request_t* request) : request_(request) {}
  HostRequest(HostRequest&& other) noexcept;
  HostRequest& operator=(HostRequest&& other) noexcept;
  ~HostRequest();  ///< waits; while an exception unwinds it cancels

  bool is_active() const { return request_ != nullptr; }
  bool test();
  /// Polls until done, calling `while_waiting` between polls (yields the core if it is empty).
  void wait(const std::function<void()>& while_waiting = {});

 private:
  ompi_request_t* request_ = nullptr;
};

/// Small host values over MPI: start-up, agreement, plans, headers, claims. A split owns its
/// communicator. Used by the main thread only. Not collective unless said.
class MpiComm {
 public:
  MpiComm() = default;
  /// A duplicate of MPI_COMM_WORLD. Collective over the world.
  static MpiComm world();

  int rank() const;
  int size() const;
  ompi_communicator_t* get() const { return handle_.get(); }
  explicit operator bool() const { return static_cast<bool>(handle_); }

  /// Collective. Ranks of one color, ordered by key. A negative color gives an empty communicator.
  MpiComm split(int color, int key) const;
  /// Collective. The ranks that share memory with this one (one node).
  MpiComm split_by_node() const;
  MpiComm duplicate() const;

  /// Collective.
  void barrier() const;
  HostRequest begin_barrier() const;
  void broadcast(std::span<std::byte> bytes, int root) const;
  std::string broadcast(const std::string& text, int root) const;
  std::int64_t min(std::int64_t value) const;
  std::int64_t max(std::int64_t value) const;
  std::int64_t sum(std::int64_t value) const;
  void sum(std::span<double> values) const;
  void sum(std::span<std::int64_t> values) const;
  /// At every rank: the texts of all ranks.
  std::vector<std::string> all_gather(const std::string& text) const;
  /// Equal sizes; out holds size() parts.
  HostRequest begin_all_gather(std::span<const std::byte> in, std::span<std::byte> out) const;

  HostRequest send(std::span<const std::byte> bytes, int to, int tag) const;
  HostRequest receive(std::span<std::byte> bytes, int from, int tag) const;
  /// A message that has arrived: its source and size in bytes; `from` -1 = any. Does not block.
  struct Arrived {
    int from = -1;
    std::size_t size_bytes = 0;
  };
  bool probe(int from, int tag, Arrived& arrived) const;

  /// Ends the whole job with this exit code, now. Does not return.
  [[noreturn]] void abort(int exit_code) const;

 private:
  explicit MpiComm(ompi_communicator_t* communicator) : handle_(communicator) {}
  UniqueHandle<MpiCommTraits> handle_;
};

/// MPI_Init_thread(FUNNELED) and MPI_Finalize. Works without a launcher as a world of one rank.
class MpiEnvironment {
 public:
  MpiEnvironment(int* argc, char*** argv);
  ~MpiEnvironment();
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;
};

}  // namespace trireme::comm
