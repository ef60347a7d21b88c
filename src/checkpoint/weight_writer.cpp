#include "checkpoint/weight_writer.h"

#include "base/error.h"
#include "checkpoint/convert.h"
#include "tensor/device.h"

namespace trireme::checkpoint {
namespace {

class HostWriter : public WeightWriter {
 public:
  std::byte* room(void* destination, std::size_t) override {
    return static_cast<std::byte*>(destination);
  }
  void commit() override {}
  void write(const void* values, DType dtype, void* destination, DType destination_dtype,
             std::int64_t count) override {
    convert_elements(values, dtype, destination, destination_dtype, count);
  }
  void finish() override {}
};

}  // namespace

std::unique_ptr<WeightWriter> make_weight_writer(tensor::Place place, std::size_t max_bytes) {
  if (place == tensor::Place::host) return std::make_unique<HostWriter>();
  if constexpr (tensor::kHasCuda) return make_device_writer(max_bytes);
  fail(ErrorKind::internal, "this build has no GPU backend to load weights for");
}

}  // namespace trireme::checkpoint
