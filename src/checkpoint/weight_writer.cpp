#include "checkpoint/weight_writer.h"

#include <vector>

#include "base/error.h"
#include "kernels/convert.h"
#include "tensor/device.h"

namespace trireme::checkpoint {
namespace {

class HostWriter : public WeightWriter {
 public:
  std::byte* room(const Stretch& stretch) override {
    stretch_ = stretch;
    if (stays()) return static_cast<std::byte*>(stretch.destination);
    if (scratch_.size() < stretch.size_bytes()) scratch_.resize(stretch.size_bytes());
    return scratch_.data();
  }
  void commit() override {
    if (!stays()) write(scratch_.data(), stretch_);
  }
  void write(const void* values, const Stretch& stretch) override {
    kernels::cpu::convert(values, stretch.dtype, stretch.destination, stretch.destination_dtype,
                          stretch.count);
  }
  void finish() override {}

 private:
  /// Where it was read to.
  bool stays() const { return stretch_.dtype == stretch_.destination_dtype; }

  Stretch stretch_;
  std::vector<std::byte> scratch_;
};

}  // namespace

std::unique_ptr<WeightWriter> make_weight_writer(tensor::Place place, std::size_t max_bytes) {
  if (place == tensor::Place::host) return std::make_unique<HostWriter>();
  if constexpr (tensor::kHasCuda) return make_device_writer(max_bytes);
  fail(ErrorKind::internal, "this build has no GPU backend to load weights for");
}

}  // namespace trireme::checkpoint
