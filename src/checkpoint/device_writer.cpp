#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "checkpoint/convert.h"
#include "checkpoint/weight_writer.h"
#include "tensor/device.h"

namespace trireme::checkpoint {
namespace {

/// Copies from pinned memory of two parts: one is filled while the other is on its way.
class DeviceWriter : public WeightWriter {
 public:
  explicit DeviceWriter(std::size_t max_bytes) : part_bytes_(std::max(max_bytes, kMinPartBytes)) {}
  ~DeviceWriter() override {
    // After an error the copies that are under way still read the pinned memory.
    try {
      stream_.synchronize();
    } catch (const Error&) {
    }
  }

  std::byte* room(void* destination, std::size_t bytes) override {
    TRIREME_CHECK(bytes <= part_bytes_, "bytes=", bytes, " part_bytes=", part_bytes_);
    destination_ = destination;
    bytes_ = bytes;
    return free_part();
  }

  void commit() override { send(destination_, bytes_); }

  void write(const void* values, DType dtype, void* destination, DType destination_dtype,
             std::int64_t count) override {
    const auto* from = static_cast<const std::byte*>(values);
    auto* to = static_cast<std::byte*>(destination);
    const std::size_t from_size = size_of(dtype), to_size = size_of(destination_dtype);
    for (auto left = static_cast<std::size_t>(count); left > 0;) {
      const std::size_t num = std::min(left, part_bytes_ / to_size);
      convert_elements(from, dtype, free_part(), destination_dtype, static_cast<std::int64_t>(num));
      send(to, num * to_size);
      from += num * from_size;
      to += num * to_size;
      left -= num;
    }
  }

  void finish() override { stream_.synchronize(); }

 private:
  static constexpr std::size_t kMinPartBytes = std::size_t{64} << 10;

  struct Part {
    tensor::PinnedBuffer memory;
    tensor::Event copied;
  };

  /// The part whose turn it is, as soon as what was sent from it has left.
  std::byte* free_part() {
    std::optional<Part>& part = parts_[next_];
    if (part) {
      part->copied.synchronize();
    } else {
      part.emplace(tensor::PinnedBuffer(part_bytes_, "the loading of weights"), tensor::Event());
    }
    return static_cast<std::byte*>(part->memory.data());
  }

  void send(void* destination, std::size_t bytes) {
    Part& part = *parts_[next_];
    stream_.copy_to_device(destination, part.memory.data(), bytes);
    part.copied.record(stream_);
    next_ = (next_ + 1) % parts_.size();
  }

  std::size_t part_bytes_;
  std::array<std::optional<Part>, 2> parts_;
  std::size_t next_ = 0;
  void* destination_ = nullptr;
  std::size_t bytes_ = 0;
  tensor::Stream stream_;
};

}  // namespace

std::unique_ptr<WeightWriter> make_device_writer(std::size_t max_bytes) {
  return std::make_unique<DeviceWriter>(max_bytes);
}

}  // namespace trireme::checkpoint
