#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "checkpoint/weight_writer.h"
#include "kernels/convert.h"
#include "tensor/device.h"

namespace trireme::checkpoint {
namespace {

/// Copies from pinned memory of two parts: one is filled while the other is on its way. What is
/// converted stops over in the GPU's memory.
class DeviceWriter : public WeightWriter {
 public:
  explicit DeviceWriter(std::size_t max_bytes) : part_bytes_(std::max(max_bytes, kMinPartBytes)) {}
  ~DeviceWriter() override {
    // After an error elsewhere the copies that are under way still read the pinned memory; an error
    // of theirs has been thrown before, or nobody waits for them any more.
    try {
      stream_.synchronize();
    } catch (const Error&) {
    }
  }

  std::byte* room(const Stretch& stretch) override {
    TRIREME_CHECK(stretch.size_bytes() <= part_bytes_, "bytes=", stretch.size_bytes(),
                  " part_bytes=", part_bytes_);
    stretch_ = stretch;
    std::optional<Part>& part = parts_[next_];
    if (part) {
      part->sent.synchronize();
    } else {
      part.emplace();
      part->pinned = tensor::PinnedBuffer(part_bytes_, "the loading of weights");
    }
    return static_cast<std::byte*>(part->pinned.data());
  }

  void commit() override {
    Part& part = *parts_[next_];
    const std::size_t bytes = stretch_.size_bytes();
    if (stretch_.dtype == stretch_.destination_dtype) {
      stream_.copy_to_device(stretch_.destination, part.pinned.data(), bytes);
    } else {
      // In the order of the stream, one stopover serves both parts.
      if (stopover_.size_bytes() == 0) {
        stopover_ = tensor::DeviceBuffer(part_bytes_, "weights that are converted",
                                         "what a rank holds, by a larger tensor_parallel_size");
      }
      stream_.copy_to_device(stopover_.data(), part.pinned.data(), bytes);
      kernels::cuda::convert(stopover_.data(), stretch_.dtype, stretch_.destination,
                             stretch_.destination_dtype, stretch_.count, stream_.get());
    }
    part.sent.record(stream_);
    next_ = (next_ + 1) % parts_.size();
  }

  void write(const void* values, const Stretch& stretch) override {
    const auto* from = static_cast<const std::byte*>(values);
    const auto most = static_cast<std::int64_t>(part_bytes_ / size_of(stretch.dtype));
    for (std::int64_t begin = 0; begin < stretch.count; begin += most) {
      Stretch some = stretch;
      some.count = std::min(most, stretch.count - begin);
      some.destination = static_cast<std::byte*>(stretch.destination) +
                         static_cast<std::size_t>(begin) * size_of(stretch.destination_dtype);
      std::memcpy(room(some), from, some.size_bytes());
      commit();
      from += some.size_bytes();
    }
  }

  void finish() override { stream_.synchronize(); }

 private:
  static constexpr std::size_t kMinPartBytes = std::size_t{64} << 10;

  struct Part {
    tensor::PinnedBuffer pinned;
    tensor::Event sent;
  };

  std::size_t part_bytes_;
  std::array<std::optional<Part>, 2> parts_;
  std::size_t next_ = 0;
  Stretch stretch_;
  tensor::DeviceBuffer stopover_;
  tensor::Stream stream_;
};

}  // namespace

std::unique_ptr<WeightWriter> make_device_writer(std::size_t max_bytes) {
  return std::make_unique<DeviceWriter>(max_bytes);
}

}  // namespace trireme::checkpoint
