#include "tensor/device.h"

#include <cuda_runtime.h>

#include "base/error.h"

namespace trireme::tensor {
namespace {

void cuda_check(cudaError_t status, const char* call,
                std::source_location where = std::source_location::current()) {
  if (status == cudaSuccess) return;
  fail(ErrorKind::cuda, cat(call, ": ", cudaGetErrorString(status)), where);
}

std::string gibibytes(std::size_t bytes) {
  return cat(static_cast<double>(bytes >> 20) / 1024, " GiB");
}

}  // namespace

// Errors at the end are left: the process is ending, or the error has been seen elsewhere.
void DeviceMemoryTraits::destroy(type memory) noexcept { cudaFree(memory); }
void PinnedMemoryTraits::destroy(type memory) noexcept { cudaFreeHost(memory); }
void StreamTraits::destroy(type stream) noexcept { cudaStreamDestroy(stream); }
void EventTraits::destroy(type event) noexcept { cudaEventDestroy(event); }
void GraphTraits::destroy(type graph) noexcept { cudaGraphExecDestroy(graph); }

int num_devices() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

void use_device(int device) { cuda_check(cudaSetDevice(device), "cudaSetDevice"); }

int current_device() {
  int device = 0;
  cuda_check(cudaGetDevice(&device), "cudaGetDevice");
  return device;
}

std::string device_name() {
  cudaDeviceProp properties{};
  cuda_check(cudaGetDeviceProperties(&properties, current_device()), "cudaGetDeviceProperties");
  return properties.name;
}

DeviceMemoryInfo device_memory() {
  DeviceMemoryInfo info;
  cuda_check(cudaMemGetInfo(&info.free_bytes, &info.total_bytes), "cudaMemGetInfo");
  return info;
}

DeviceBuffer::DeviceBuffer(std::size_t bytes, const std::string& what, const std::string& key)
    : bytes_(bytes) {
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes == 0 ? 1 : bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is not for the next launch to report
    const DeviceMemoryInfo info = device_memory();
    fail(ErrorKind::out_of_memory,
         cat(what, " need ", gibibytes(bytes), " of GPU memory, of which ",
             gibibytes(info.free_bytes), " of ", gibibytes(info.total_bytes), " are free; lower ",
             key));
  }
  cuda_check(status, "cudaMalloc");
  memory_ = UniqueHandle<DeviceMemoryTraits>(memory);
}

PinnedBuffer::PinnedBuffer(std::size_t bytes, const std::string& what) : bytes_(bytes) {
  void* memory = nullptr;
  const cudaError_t status = cudaMallocHost(&memory, bytes == 0 ? 1 : bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    fail(ErrorKind::out_of_memory, cat("cannot pin ", bytes, " bytes of host memory for ", what));
  }
  cuda_check(status, "cudaMallocHost");
  memory_ = UniqueHandle<PinnedMemoryTraits>(memory);
}

Event::Event(Timing timing) {
  cudaEvent_t event = nullptr;
  cuda_check(cudaEventCreateWithFlags(
                 &event, timing == Timing::on ? cudaEventDefault : cudaEventDisableTiming),
             "cudaEventCreate");
  event_ = UniqueHandle<EventTraits>(event);
}

void Event::record(const Stream& stream) {
  cuda_check(cudaEventRecord(event_.get(), stream.get()), "cudaEventRecord");
}

bool Event::has_happened() const {
  const cudaError_t status = cudaEventQuery(event_.get());
  if (status == cudaErrorNotReady) return false;
  cuda_check(status, "cudaEventQuery");
  return true;
}

void Event::synchronize() const {
  cuda_check(cudaEventSynchronize(event_.get()), "cudaEventSynchronize");
}

float Event::milliseconds_since(const Event& begin) const {
  float milliseconds = 0;
  cuda_check(cudaEventElapsedTime(&milliseconds, begin.get(), event_.get()),
             "cudaEventElapsedTime");
  return milliseconds;
}

Stream::Stream() {
  cudaStream_t stream = nullptr;
  cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  stream_ = UniqueHandle<StreamTraits>(stream);
}

void Stream::copy_to_device(void* to, const void* from, std::size_t bytes) const {
  cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, get()), "cudaMemcpyAsync");
}

void Stream::copy_to_host(void* to, const void* from, std::size_t bytes) const {
  cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, get()), "cudaMemcpyAsync");
}

void Stream::fill(void* memory, int byte, std::size_t bytes) const {
  cuda_check(cudaMemsetAsync(memory, byte, bytes, get()), "cudaMemsetAsync");
}

void Stream::wait_for(const Event& event) const {
  cuda_check(cudaStreamWaitEvent(get(), event.get(), 0), "cudaStreamWaitEvent");
}

void Stream::synchronize() const {
  cuda_check(cudaStreamSynchronize(get()), "cudaStreamSynchronize");
}

Graph::Graph(const Stream& stream, const std::function<void()>& work) {
  cuda_check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal),
             "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(stream.get(), &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  cuda_check(cudaStreamEndCapture(stream.get(), &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  cuda_check(status, "cudaGraphInstantiate");
  graph_ = UniqueHandle<GraphTraits>(executable);
}

void Graph::launch(const Stream& stream) const {
  cuda_check(cudaGraphLaunch(graph_.get(), stream.get()), "cudaGraphLaunch");
}

}  // namespace trireme::tensor
