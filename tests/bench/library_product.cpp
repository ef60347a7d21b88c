#include "library_product.h"

#include <oneapi/dnnl/dnnl.hpp>

#include "machine.h"

namespace trireme::bench {
namespace {

using dnnl::memory;

dnnl::matmul::primitive_desc product_of(const dnnl::engine& engine, const memory::desc& x,
                                        const memory::desc& weight, const memory::desc& y) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, x, weight, y};
#else
  return {dnnl::matmul::desc(x, weight, y), engine};
#endif
}

}  // namespace

double library_gflops(std::int64_t m, std::int64_t n, std::int64_t k, bool in_bf16) {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto type = in_bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  const memory::desc x_shape({m, k}, type, memory::format_tag::ab);
  const memory::desc weight_shape({k, n}, type, memory::format_tag::any);
  const memory::desc y_shape({m, n}, memory::data_type::f32, memory::format_tag::ab);
  try {
    const auto description = product_of(engine, x_shape, weight_shape, y_shape);
    const dnnl::matmul product(description);
    const memory x(x_shape, engine), weight(description.weights_desc(), engine), y(y_shape, engine);
    const double seconds = best_seconds(
        [&] {
          product.execute(stream,
                          {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_DST, y}});
          stream.wait();
        },
        0.002, 10);
    return 2.0 * static_cast<double>(m * n) * static_cast<double>(k) / seconds / 1e9;
  } catch (const dnnl::error&) {
    return 0;  // bf16 does not exist everywhere
  }
}

}  // namespace trireme::bench
