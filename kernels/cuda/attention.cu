#include "kernels/attention.h"

#include "kernels/cuda/detail/attention_common.cuh"
#include "kernels/cuda/detail/kv_slot.cuh"
#include "kernels/cuda/detail/launch.cuh"
#include "kernels/cuda/detail/vector.cuh"

namespace trireme::kernels::cuda {
namespace {

/// A head of keys or values a warp.
template <typename T>
__global__ void append_kernel(const T* k, const T* v, std::int64_t stride,
                              const std::int64_t* slot_mapping, std::int64_t num_heads_in_all,
                              const KvCache cache) {
  const std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (at >= num_heads_in_all) return;
  const std::int64_t token = at / cache.num_kv_heads, head = at % cache.num_kv_heads;
  const std::int64_t slot = slot_mapping[token];
  if (slot < 0) return;
  const std::int64_t from = token * stride + head * cache.head_dim;
  const std::int64_t to = slot_offset(cache, slot, head);
  for (std::int64_t i = threadIdx.x % 32; i < cache.head_dim; i += 32) {
    static_cast<T*>(cache.k)[to + i] = k[from + i];
    static_cast<T*>(cache.v)[to + i] = v[from + i];
  }
}

bool fits_tensor_cores(const Attention& a) {
  const std::int64_t dim = a.cache.head_dim, tokens = a.cache.tokens_per_block;
  return a.cache.dtype != DType::float32 && (dim == 64 || dim == 128 || dim == 256) &&
         (tokens & (tokens - 1)) == 0 &&
         vector_width<__half>({a.q, a.cache.k, a.cache.v, a.out}, {a.q_stride}) == 8;
}

}  // namespace

void append_kv(const void* k, const void* v, std::int64_t stride, const std::int64_t* slot_mapping,
               std::int64_t num_tokens, const KvCache& cache, Stream stream) {
  const std::int64_t heads = num_tokens * cache.num_kv_heads;
  if (heads == 0) return;
  with_float_type(cache.dtype, [&](auto zero) {
    using T = decltype(zero);
    append_kernel<T><<<static_cast<unsigned>(ceil_div(heads, 8)), 256, 0, stream>>>(
        static_cast<const T*>(k), static_cast<const T*>(v), stride, slot_mapping, heads, cache);
  });
  check_launch("append_kv");
}

void attention(const Attention& arguments, Stream stream) {
  const Attention& a = arguments;
  TRIREME_CHECK(a.cache.num_kv_heads > 0 && a.num_heads % a.cache.num_kv_heads == 0 &&
                    a.cache.head_dim <= 256 && a.batch.num_decodes <= a.batch.num_seqs,
                "num_heads=", a.num_heads, " num_kv_heads=", a.cache.num_kv_heads,
                " head_dim=", a.cache.head_dim, " num_decodes=", a.batch.num_decodes,
                " num_seqs=", a.batch.num_seqs);
  if (a.num_tokens == 0 || a.batch.num_seqs == 0) return;
  if (!fits_tensor_cores(a)) {
    attention_plain(a, stream);
  } else {
    TRIREME_CHECK(!a.is_invariant || a.batch.num_decodes == 0, "num_decodes=", a.batch.num_decodes);
    if (a.batch.num_decodes > 0) attention_decode(a, stream);
    if (a.batch.num_seqs > a.batch.num_decodes) attention_prefill(a, stream);
  }
  check_launch("attention");
}

std::int64_t most_split_ctas() { return 4 * static_cast<std::int64_t>(num_multiprocessors()); }

std::size_t prefill_counters_offset(std::int64_t head_dim) {
  const std::int64_t floats = kRowsOfDecodeTile * (head_dim + 2) + 1;
  return static_cast<std::size_t>(most_split_ctas() * floats) * sizeof(float);
}

std::size_t attention_workspace_bytes(std::int64_t head_dim) {
  return prefill_counters_offset(head_dim) + 2 * sizeof(int);
}

}  // namespace trireme::kernels::cuda
