#include "kernels/gemm.h"

#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "kernels/cpu/detail/gemm_strip.h"
#include "kernels/cpu/detail/tiers.h"

namespace trireme::kernels::cpu {
namespace {

// Tokens of a strip: so many rows of X stay in the L2 cache while the weights pass by. A multiple
// of every kernel's tile.
constexpr std::int64_t kTokensOfStrip = 132;
constexpr std::int64_t kMostRowsOfStrip = 64;
// From this many tokens on X is packed and the strips are shared out as threads get free. Below,
// reading the weights takes longest, and each thread reads one stretch of them.
constexpr std::int64_t kManyTokens = 9;
// From this many tokens on reordering the weights costs less than it saves (bf16 kernel).
constexpr std::int64_t kTokensForPanels = 48;
// Multiplications that are done sooner than a second thread has woken up.
constexpr std::int64_t kSerialWork = 65536;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Memory that grows and is used again, 64-byte aligned.
class Buffer {
 public:
  std::byte* take(std::int64_t bytes) {
    if (bytes > size_) {
      size_ = ceil_div(bytes, 64) * 64;
      memory_.reset(
          static_cast<std::byte*>(std::aligned_alloc(64, static_cast<std::size_t>(size_))));
      if (!memory_) throw std::bad_alloc();
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::int64_t size_ = 0;
};

/// A product cut into strips: tokens outer, so that a thread's next strip reads the same rows of X.
struct Cut {
  Gemm::Operands product;
  bool is_bf16 = false;  ///< done by the bf16 kernel
  std::byte* packed =
      nullptr;  ///< X as [pieces, m, row_stride] floats or bfloat16; null: X as it is
  std::int64_t piece = 0, num_pieces = 0, row_stride = 0;
  std::int64_t first_strip = 0, num_strips = 0, strips_of_rows = 0;
  std::int64_t tokens = 0, rows = 0;  ///< of a strip

  std::int64_t element_bytes() const { return is_bf16 ? 2 : 4; }
  std::int64_t packed_bytes() const {
    return num_pieces * product.m * row_stride * element_bytes();
  }
};

std::int64_t rows_of_strip(const Gemm::Operands& product, bool is_bf16, std::int64_t threads) {
  if (is_bf16 && product.m >= kTokensForPanels) return kMostRowsOfStrip;
  return std::clamp<std::int64_t>(product.n / (8 * threads) / 4 * 4, 4, kMostRowsOfStrip);
}

Cut cut_product(const Gemm::Operands& product, bool is_bf16, std::int64_t threads) {
  Cut cut;
  cut.product = product;
  cut.is_bf16 = is_bf16;
  cut.piece = piece_of(product.k, is_bf16 ? kBf16Piece : kFloatPiece);
  cut.num_pieces = cut.piece == 0 ? 0 : ceil_div(product.k, cut.piece);
  // An odd number of cache lines: rows that are a power of two apart would share few sets of a
  // cache.
  cut.row_stride = ceil_div(cut.piece, 2 * kBf16Step) * 2 * kBf16Step + kBf16Step;
  const std::int64_t blocks = ceil_div(product.m, kTokensOfStrip);
  cut.tokens = ceil_div(ceil_div(product.m, blocks), 12) * 12;
  cut.rows = rows_of_strip(product, is_bf16, threads);
  cut.strips_of_rows = ceil_div(product.n, cut.rows);
  cut.num_strips = cut.strips_of_rows * ceil_div(product.m, cut.tokens);
  return cut;
}

void pack_row(const Cut& cut, std::int64_t row) {
  const Gemm::Operands& all = cut.product;
  for (std::int64_t piece = 0; piece < cut.num_pieces; ++piece) {
    const std::int64_t begin = piece * cut.piece, size = std::min(cut.piece, all.k - begin);
    const float* from = all.x + row * all.x_stride + begin;
    std::byte* to = cut.packed + (piece * all.m + row) * cut.row_stride * cut.element_bytes();
    if (cut.is_bf16) {
      round_row_avx512(from, size, reinterpret_cast<bfloat16*>(to));
    } else {
      std::memcpy(to, from, static_cast<std::size_t>(size) * sizeof(float));
    }
  }
}

GemmStrip strip_at(const Cut& cut, std::int64_t strip) {
  const Gemm::Operands& all = cut.product;
  const std::int64_t token = (strip - cut.first_strip) / cut.strips_of_rows * cut.tokens;
  const std::int64_t row = (strip - cut.first_strip) % cut.strips_of_rows * cut.rows;
  GemmStrip result;
  if (cut.packed != nullptr) {
    result.x = cut.packed + token * cut.row_stride * cut.element_bytes();
    result.x_stride = cut.row_stride;
    result.x_piece_stride = all.m * cut.row_stride;
  } else {
    result.x = all.x + token * all.x_stride;
    result.x_stride = all.x_stride;
    result.x_piece_stride = cut.piece;
  }
  result.weight = static_cast<const std::byte*>(all.weight) +
                  static_cast<std::size_t>(row * all.k) * size_of(all.weight_dtype);
  result.weight_dtype = all.weight_dtype;
  result.bias = all.bias == nullptr ? nullptr : all.bias + row;
  result.y = all.y + token * all.y_stride + row;
  result.y_stride = all.y_stride;
  result.num_tokens = std::min(cut.tokens, all.m - token);
  result.num_rows = std::min(cut.rows, all.n - row);
  result.k = all.k;
  return result;
}

/// The strip into memory of its own first: rows of Y that are a power of two apart share few sets
/// of a cache, and a tile writes 16 bytes to each.
void run_apart(GemmKernel kernel, GemmStrip strip) {
  constexpr std::int64_t stride = kMostRowsOfStrip + 16;
  alignas(64) float sums[kTokensOfStrip * stride];
  float* y = strip.y;
  const std::int64_t y_stride = strip.y_stride;
  strip.y = sums;
  strip.y_stride = stride;
  kernel(strip);
  for (std::int64_t token = 0; token < strip.num_tokens; ++token) {
    std::memcpy(y + token * y_stride, sums + token * stride,
                static_cast<std::size_t>(strip.num_rows) * sizeof(float));
  }
}

}  // namespace

struct Gemm::Impl {
  InstructionSet set;
  bool round_to_bf16;
  Buffer packed;
  std::vector<Cut> cuts;

  void cut(std::span<const Operands> products, std::int64_t threads);
  void run_strip(std::int64_t strip) const;
  void run_cuts(std::int64_t threads, bool many_tokens) const;
};

void Gemm::Impl::cut(std::span<const Operands> products, std::int64_t threads) {
  cuts.clear();
  std::int64_t num_strips = 0, packed_bytes = 0;
  for (const Operands& product : products) {
    if (product.m == 0 || product.n == 0) continue;
    const bool is_bf16 = round_to_bf16 && set == InstructionSet::avx512_bf16 &&
                         product.weight_dtype == DType::bfloat16;
    Cut& cut = cuts.emplace_back(cut_product(product, is_bf16, threads));
    cut.first_strip = num_strips;
    num_strips += cut.num_strips;
    packed_bytes += cut.packed_bytes();
  }
  std::byte* at = packed.take(packed_bytes);
  for (Cut& cut : cuts) {
    if (!cut.is_bf16 && cut.product.m < kManyTokens) continue;
    cut.packed = at;
    at += cut.packed_bytes();
  }
}

void Gemm::Impl::run_strip(std::int64_t strip) const {
  const auto after = std::upper_bound(
      cuts.begin(), cuts.end(), strip,
      [](std::int64_t wanted, const Cut& cut) { return wanted < cut.first_strip; });
  const Cut& cut = *(after - 1);
  const GemmKernel in_float =
      choose<GemmKernel>(set, gemm_float_generic, gemm_float_avx2, gemm_float_avx512);
  const GemmKernel kernel = cut.is_bf16 ? gemm_bf16_avx512 : in_float;
  if (cut.is_bf16 && cut.product.m >= kTokensForPanels) {
    gemm_bf16_panel_avx512(strip_at(cut, strip));
  } else if (cut.product.m < kManyTokens) {
    kernel(strip_at(cut, strip));
  } else {
    run_apart(kernel, strip_at(cut, strip));
  }
}

void Gemm::Impl::run_cuts(std::int64_t threads, bool many_tokens) const {
  const std::int64_t num_strips = cuts.back().first_strip + cuts.back().num_strips;
  if (!many_tokens) {
    for (const Cut& cut : cuts) {
      for (std::int64_t row = 0; cut.packed != nullptr && row < cut.product.m; ++row) {
        pack_row(cut, row);
      }
    }
  }
#pragma omp parallel num_threads(static_cast <int>(threads)) if (threads > 1)
  {
    if (many_tokens) {
      for (const Cut& cut : cuts) {
        const std::int64_t num_rows = cut.packed == nullptr ? 0 : cut.product.m;
#pragma omp for schedule(static) nowait
        for (std::int64_t row = 0; row < num_rows; ++row) pack_row(cut, row);
      }
#pragma omp barrier
#pragma omp for schedule(dynamic) nowait
      for (std::int64_t strip = 0; strip < num_strips; ++strip) run_strip(strip);
    } else {
#pragma omp for schedule(static) nowait
      for (std::int64_t strip = 0; strip < num_strips; ++strip) run_strip(strip);
    }
  }
}

Gemm::Gemm(InstructionSet set, bool round_to_bf16)
    : impl_(std::make_unique<Impl>(Impl{set, round_to_bf16, {}, {}})) {}
Gemm::Gemm(Gemm&&) noexcept = default;
Gemm& Gemm::operator=(Gemm&&) noexcept = default;
Gemm::~Gemm() = default;

void Gemm::run(const Operands& operands) { run_all({&operands, 1}); }

void Gemm::run_all(std::span<const Operands> products) {
  std::int64_t work = 0, most_tokens = 0;
  for (const Operands& product : products) {
    work += product.m * product.n * product.k;
    most_tokens = std::max(most_tokens, product.m);
  }
  const std::int64_t threads = work <= kSerialWork ? 1 : omp_get_max_threads();
  impl_->cut(products, threads);
  if (!impl_->cuts.empty()) impl_->run_cuts(threads, most_tokens >= kManyTokens);
}

InstructionSet Gemm::instruction_set() const { return impl_->set; }

}  // namespace trireme::kernels::cpu
