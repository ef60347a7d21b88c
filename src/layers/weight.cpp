#include "layers/weight.h"

namespace trireme::layers {
namespace {

tensor::Tensor declare(checkpoint::WeightLoader& loader, const tensor::Shape& shape, DType dtype,
                       std::span<const WeightPart> parts) {
  // Before the memory: a config.json that does not fit the files must not ask for more than they
  // have.
  for (const WeightPart& part : parts) loader.check(part.name, part.stored_shape);
  tensor::Tensor weight = loader.allocate(shape, dtype);
  const bool counts = loader.mode() == checkpoint::WeightLoader::Mode::count;
  const std::int64_t columns = shape.ndim() > 1 ? shape[shape.ndim() - 1] : 1;
  const tensor::TensorView rows(weight.view().data, dtype,
                                {shape.num_elements() / columns, columns});
  for (const WeightPart& part : parts) {
    loader.want(part.name, part.stored_shape, part.slice,
                counts ? tensor::TensorView() : rows.slice(part.row_begin, part.row_end));
  }
  return weight;
}

}  // namespace

tensor::Tensor declare_weight(checkpoint::WeightLoader& loader, const tensor::Shape& shape,
                              std::span<const WeightPart> parts) {
  DType dtype = parts.empty() ? DType::float32 : loader.dtype_of(parts.front().name);
  for (const WeightPart& part : parts) {
    if (loader.dtype_of(part.name) != dtype) dtype = DType::float32;
  }
  return declare(loader, shape, dtype, parts);
}

tensor::Tensor declare_float_weight(checkpoint::WeightLoader& loader, const tensor::Shape& shape,
                                    std::span<const WeightPart> parts) {
  return declare(loader, shape, DType::float32, parts);
}

tensor::Tensor declare_vector(checkpoint::WeightLoader& loader, const std::string& name,
                              std::int64_t stored_size, const checkpoint::Slice& slice) {
  const std::int64_t size = slice.end == 0 ? stored_size : slice.end - slice.begin;
  const WeightPart part{name, {stored_size}, slice, 0, size};
  return declare_float_weight(loader, {size}, {&part, 1});
}

}  // namespace trireme::layers
