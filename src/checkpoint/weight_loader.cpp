#include "checkpoint/weight_loader.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/load_job.h"
#include "checkpoint/synthetic_weights.h"

namespace trireme::checkpoint {

struct WeightLoader::Impl {
  Impl(const Checkpoint* files, const comm::MpiComm* ranks, const Options& how)
      : checkpoint(files),
        node(ranks != nullptr && *ranks ? ranks : nullptr),
        options(how),
        slab(how.place, "the weights",
             "what a rank holds, by a larger tensor_parallel_size or pipeline_parallel_size") {}

  const Checkpoint* checkpoint;  // null: no files
  const comm::MpiComm* node;
  Options options;
  tensor::Slab slab;
  std::vector<LocalWant> wants;
  std::vector<SyntheticWant> synthetic_wants;
  std::int64_t allocated_bytes = 0;
};

WeightLoader::WeightLoader(const Checkpoint& checkpoint, const comm::MpiComm* node)
    : WeightLoader(checkpoint, node, Options{}) {}
WeightLoader::WeightLoader(const Checkpoint& checkpoint, const comm::MpiComm* node,
                           const Options& options)
    : impl_(std::make_unique<Impl>(&checkpoint, node, options)) {}
WeightLoader::WeightLoader(const Options& options)
    : impl_(std::make_unique<Impl>(nullptr, nullptr, options)) {
  TRIREME_CHECK(options.mode != Mode::load, "a checkpoint is needed to load one");
}
WeightLoader::~WeightLoader() = default;

DType WeightLoader::dtype_of(const std::string& name) const {
  const DType stored =
      impl_->checkpoint == nullptr ? DType::bfloat16 : impl_->checkpoint->find(name).dtype;
  return impl_->options.dtype.value_or(stored);
}

bool WeightLoader::has(const std::string& name) const {
  return impl_->checkpoint == nullptr || impl_->checkpoint->has(name);
}
std::int64_t WeightLoader::allocated_bytes() const { return impl_->allocated_bytes; }
WeightLoader::Mode WeightLoader::mode() const { return impl_->options.mode; }

tensor::Tensor WeightLoader::allocate(const tensor::Shape& shape, DType dtype) {
  impl_->allocated_bytes += shape.num_elements() * static_cast<std::int64_t>(size_of(dtype));
  return mode() == Mode::count ? tensor::Tensor() : impl_->slab.take(shape, dtype);
}

tensor::Tensor WeightLoader::upload(const tensor::TensorView& values) {
  TRIREME_CHECK(values.is_contiguous(), "shape=", values.shape.text());
  tensor::Tensor result = allocate(values.shape, values.dtype);
  if (mode() == Mode::count) return result;
  const auto writer = make_weight_writer(impl_->options.place, 0);
  writer->write(values.data, {.destination = result.view().data,
                              .destination_dtype = values.dtype,
                              .dtype = values.dtype,
                              .count = values.num_elements()});
  writer->finish();
  return result;
}

void WeightLoader::check(const std::string& name, const tensor::Shape& expected) const {
  if (impl_->checkpoint == nullptr) return;
  const StoredTensor& stored = impl_->checkpoint->find(name);
  if (stored.shape == expected) return;
  fail(ErrorKind::checkpoint,
       cat(impl_->checkpoint->model_dir(), ": tensor \"", name, "\" has shape ",
           stored.shape.text(), ", expected ", expected.text(), " from config.json"));
}

void WeightLoader::want(const std::string& name, const tensor::Shape& stored_shape,
                        const Slice& slice, const tensor::TensorView& destination) {
  check(name, stored_shape);
  const Runs runs = runs_of_slice(stored_shape, slice);
  if (mode() == Mode::count) return;
  TRIREME_CHECK(destination.is_contiguous() && destination.num_elements() == runs.num_elements(),
                "tensor=", name, " destination=", destination.shape.text(),
                " wanted=", runs.num_elements());
  if (mode() == Mode::synthetic) {
    impl_->synthetic_wants.push_back({name, stored_shape.ndim() == 1, runs, destination});
  } else {
    impl_->wants.push_back({&impl_->checkpoint->find(name), runs, destination});
  }
}

WeightLoader::Summary WeightLoader::load(
    const std::function<void(std::int64_t, std::int64_t)>& on_progress) {
  TRIREME_CHECK(mode() != Mode::count, "nothing was allocated");
  const double begin = monotonic_seconds();
  Summary summary;
  if (mode() == Mode::synthetic) {
    fill_synthetic(impl_->synthetic_wants, impl_->options.place, impl_->options.seed, on_progress);
  } else {
    LoadJob job(*impl_->checkpoint, impl_->node, impl_->options.place, impl_->wants);
    summary.bytes_read = impl_->checkpoint->header_bytes_read() + job.run(on_progress);
    summary.file_bytes = impl_->checkpoint->file_bytes();
  }
  const auto count = [&](const auto& wants) {
    for (const auto& want : wants) {
      summary.bytes_kept += static_cast<std::int64_t>(want.destination.size_bytes());
    }
  };
  count(impl_->wants);
  count(impl_->synthetic_wants);
  impl_->wants.clear();
  impl_->synthetic_wants.clear();
  summary.seconds = monotonic_seconds() - begin;
  return summary;
}

}  // namespace trireme::checkpoint
