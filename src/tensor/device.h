#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "base/handle.h"

struct CUstream_st;
struct CUevent_st;
struct CUgraphExec_st;

/// The GPU of this process: memory, streams, events, graphs. In CUDA builds only; no CUDA header is
/// needed to use it. Everything throws Error(cuda), memory that is not there Error(out_of_memory).
namespace trireme::tensor {

/// Whether this build has a GPU backend. Where it has not, `if constexpr` keeps its calls out.
#ifdef TRIREME_CUDA
inline constexpr bool kHasCuda = true;
#else
inline constexpr bool kHasCuda = false;
#endif

struct DeviceMemoryTraits {
  using type = void*;
  static type null() { return nullptr; }
  static void destroy(type memory) noexcept;
};
struct PinnedMemoryTraits {
  using type = void*;
  static type null() { return nullptr; }
  static void destroy(type memory) noexcept;
};
struct StreamTraits {
  using type = CUstream_st*;
  static type null() { return nullptr; }
  static void destroy(type stream) noexcept;
};
struct EventTraits {
  using type = CUevent_st*;
  static type null() { return nullptr; }
  static void destroy(type event) noexcept;
};
struct GraphTraits {
  using type = CUgraphExec_st*;
  static type null() { return nullptr; }
  static void destroy(type graph) noexcept;
};

/// GPUs that this process sees; 0 without a driver.
int num_devices();
/// Makes a GPU the one of this thread.
void use_device(int device);
/// The GPU of this thread; a new thread's is GPU 0.
int current_device();
std::string device_name();

struct DeviceMemoryInfo {
  std::size_t free_bytes = 0, total_bytes = 0;
};
DeviceMemoryInfo device_memory();

/// Whether this build and this machine can use a GPU.
inline bool has_gpu() {
  if constexpr (kHasCuda) return num_devices() > 0;
  return false;
}
/// What is free on the GPU of this thread; 0 in builds without.
inline std::int64_t free_gpu_bytes() {
  if constexpr (kHasCuda) return static_cast<std::int64_t>(device_memory().free_bytes);
  return 0;
}

/// Memory of the GPU, 256-byte aligned, uninitialised. `what` and `key` are for the message when
/// there is not enough: who asked, and the configuration key to lower.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(std::size_t bytes, const std::string& what, const std::string& key);

  void* data() const { return memory_.get(); }
  std::size_t size_bytes() const { return bytes_; }

 private:
  UniqueHandle<DeviceMemoryTraits> memory_;
  std::size_t bytes_ = 0;
};

/// Memory of the host that the GPU copies from and to beside other work.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(std::size_t bytes, const std::string& what);

  void* data() const { return memory_.get(); }
  std::size_t size_bytes() const { return bytes_; }

 private:
  UniqueHandle<PinnedMemoryTraits> memory_;
  std::size_t bytes_ = 0;
};

class Stream;

/// A point in a stream's work.
class Event {
 public:
  enum class Timing { off, on };
  explicit Event(Timing timing = Timing::off);

  void record(const Stream& stream);
  bool has_happened() const;
  void synchronize() const;
  /// From `begin`'s point to this one; both with Timing::on and in the past.
  float milliseconds_since(const Event& begin) const;
  CUevent_st* get() const { return event_.get(); }

 private:
  UniqueHandle<EventTraits> event_;
};

/// Work in order, beside that of other streams. Copies are of `bytes`, and beside the host's work
/// if host memory is pinned.
class Stream {
 public:
  Stream();

  CUstream_st* get() const { return stream_.get(); }
  void copy_to_device(void* to, const void* from, std::size_t bytes) const;
  void copy_to_host(void* to, const void* from, std::size_t bytes) const;
  void fill(void* memory, int byte, std::size_t bytes) const;
  /// What is put into this stream from now on waits for the event.
  void wait_for(const Event& event) const;
  /// For tests and start-up; in steps nobody who owns MPI may wait.
  void synchronize() const;

 private:
  UniqueHandle<StreamTraits> stream_;
};

/// Work recorded once and launched as a whole.
class Graph {
 public:
  Graph() = default;
  /// Calls `work`, which puts work into the stream; nothing of it runs.
  Graph(const Stream& stream, const std::function<void()>& work);

  void launch(const Stream& stream) const;
  explicit operator bool() const { return static_cast<bool>(graph_); }

 private:
  UniqueHandle<GraphTraits> graph_;
};

}  // namespace trireme::tensor
