#include "kernels/cpu/detail/attention_tile.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/detail/dot_tile.h"
#include "kernels/cpu/detail/outer_tile.h"
#include "kernels/cpu/detail/simd_math.h"

namespace trireme::kernels::cpu {
namespace {

using simd::Floats;

// Tokens whose keys and values are taken together; a multiple of every vector.
constexpr std::int64_t kChunk = 64;
// From this many rows on the keys of a chunk are transposed, and it and its values widened, once.
constexpr std::int64_t kManyRows = 9;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Tokens of a chunk that lie one after the other in a block.
template <typename T>
struct Run {
  std::int64_t at, count;  ///< in the chunk
  const T* k;
  const T* v;
};

template <typename T>
struct Runs {
  Run<T> runs[kChunk];
  std::int64_t count = 0;
};

/// What a tile works on, by rows.
struct Scratch {
  float* q;        ///< [rows, head_dim], times the scale
  float* out;      ///< [rows, head_dim]
  float* scores;   ///< [rows, kChunk]
  float* k;        ///< [head_dim, kChunk], with many rows
  float* v;        ///< [kChunk, head_dim], with many rows
  float* largest;  ///< [rows]
  float* sum;      ///< [rows]

  Scratch(float* memory, std::int64_t head_dim)
      : q(memory),
        out(q + kMostRowsOfTile * head_dim),
        scores(out + kMostRowsOfTile * head_dim),
        k(scores + kMostRowsOfTile * kChunk),
        v(k + kChunk * head_dim),
        largest(v + kChunk * head_dim),
        sum(largest + kMostRowsOfTile) {}
};

/// The runs of tokens [begin, begin + count) that are in sight.
template <typename T>
TRIREME_INLINE Runs<T> find_runs(const AttentionTile& tile, std::int64_t begin,
                                 std::int64_t count) {
  const KvCache& cache = *tile.cache;
  Runs<T> result;
  for (std::int64_t at = 0; at < count;) {
    const std::int64_t offset = (begin + at) % cache.tokens_per_block;
    const std::int64_t length = std::min(count - at, cache.tokens_per_block - offset);
    const std::int64_t block = tile.blocks[(begin + at) / cache.tokens_per_block];
    if (block >= 0) {
      const std::int64_t row =
          (block * cache.num_kv_heads + tile.kv_head) * cache.tokens_per_block + offset;
      result.runs[result.count++] = {at, length,
                                     static_cast<const T*>(cache.k) + row * cache.head_dim,
                                     static_cast<const T*>(cache.v) + row * cache.head_dim};
    }
    at += length;
  }
  return result;
}

/// from [count, size] to columns of to [size, kChunk].
template <int lanes, typename T>
TRIREME_INLINE void transpose_keys(const T* from, std::int64_t count, std::int64_t size,
                                   float* to) {
  std::int64_t token = 0;
  for (; token + lanes <= count; token += lanes) {
    std::int64_t i = 0;
    for (; i + lanes <= size; i += lanes) {
      Floats<lanes> square[lanes];
#pragma GCC unroll 16
      for (int row = 0; row < lanes; ++row) {
        square[row] = simd::load<lanes>(from + (token + row) * size + i);
      }
      simd::transpose<lanes>(square);
#pragma GCC unroll 16
      for (int row = 0; row < lanes; ++row) {
        simd::store<lanes>(square[row], to + (i + row) * kChunk + token);
      }
    }
    for (; i < size; ++i) {
      for (int row = 0; row < lanes; ++row) {
        to[i * kChunk + token + row] = static_cast<float>(from[(token + row) * size + i]);
      }
    }
  }
  for (; token < count; ++token) {
    for (std::int64_t i = 0; i < size; ++i) {
      to[i * kChunk + token] = static_cast<float>(from[token * size + i]);
    }
  }
}

template <int lanes, typename T>
TRIREME_INLINE void widen(const T* from, std::int64_t count, float* to) {
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) simd::store<lanes>(simd::load<lanes>(from + i), to + i);
  for (; i < count; ++i) to[i] = static_cast<float>(from[i]);
}

/// Keys and values of the runs into scratch memory; runs that lie side by side there become one.
template <int lanes, typename T>
TRIREME_INLINE Runs<float> gather_runs(const Runs<T>& from, std::int64_t size,
                                       const Scratch& scratch) {
  Runs<float> result;
  for (std::int64_t i = 0; i < from.count; ++i) {
    const Run<T>& run = from.runs[i];
    transpose_keys<lanes>(run.k, run.count, size, scratch.k + run.at);
    widen<lanes>(run.v, run.count * size, scratch.v + run.at * size);
    Run<float>* last = result.count == 0 ? nullptr : &result.runs[result.count - 1];
    if (last != nullptr && last->at + last->count == run.at) {
      last->count += run.count;
    } else {
      result.runs[result.count++] = {run.at, run.count, nullptr, scratch.v + run.at * size};
    }
  }
  return result;
}

struct NoFetch {
  template <int rows>
  TRIREME_INLINE void at(std::int64_t) const {}
};

/// scores[row, at ...] of `keys` keys against all rows.
template <int lanes, int keys, int rows_of_tile, typename T>
TRIREME_INLINE void score_keys(const T* k, std::int64_t size, std::int64_t num_rows,
                               const Scratch& scratch, std::int64_t at) {
  std::int64_t row = 0;
  for (; row + rows_of_tile <= num_rows; row += rows_of_tile) {
    simd::dot_tile<lanes, keys, rows_of_tile>(
        k, size, scratch.q + row * size, size, size, NoFetch(),
        {scratch.scores + row * kChunk + at, kChunk, nullptr, true});
  }
  for (; row < num_rows; ++row) {
    simd::dot_tile<lanes, keys, 1>(k, size, scratch.q + row * size, size, size, NoFetch(),
                                   {scratch.scores + row * kChunk + at, kChunk, nullptr, true});
  }
}

template <int lanes, typename T>
TRIREME_INLINE void score_runs(const Runs<T>& runs, std::int64_t size, std::int64_t num_rows,
                               const Scratch& scratch) {
  constexpr int tile = lanes == 16 ? 4 : 3;
  for (std::int64_t i = 0; i < runs.count; ++i) {
    const Run<T>& run = runs.runs[i];
    std::int64_t token = 0;
    for (; token + 4 <= run.count; token += 4) {
      score_keys<lanes, 4, tile>(run.k + token * size, size, num_rows, scratch, run.at + token);
    }
    for (; token < run.count; ++token) {
      score_keys<lanes, 1, tile>(run.k + token * size, size, num_rows, scratch, run.at + token);
    }
  }
}

/// Hides what a row may not see of the chunk: what is after it, before its window, or freed.
template <typename T>
TRIREME_INLINE void hide(const AttentionTile& tile, const Runs<T>& runs, std::int64_t begin,
                         float* scores, std::int64_t row) {
  std::int64_t shown = 0;
  const auto hide_until = [&](std::int64_t end) {
    for (; shown < end; ++shown) scores[shown] = kMinusInfinity;
  };
  const std::int64_t position = tile.position_of(row) - begin;
  const std::int64_t first = tile.window > 0 ? position - tile.window + 1 : 0;
  for (std::int64_t i = 0; i < runs.count; ++i) {
    const Run<T>& run = runs.runs[i];
    hide_until(std::clamp(first, run.at, run.at + run.count));
    shown = std::max(shown, std::min(run.at + run.count, position + 1));
  }
  hide_until(kChunk);
}

/// Turns a row's scores into weights against the largest score so far; returns by what the earlier
/// sums shrink.
template <int lanes>
TRIREME_INLINE float soften(float* scores, float& largest, float& sum) {
  Floats<lanes> top = simd::load<lanes>(scores);
  for (std::int64_t i = lanes; i < kChunk; i += lanes) {
    top = simd::max<lanes>(top, simd::load<lanes>(scores + i));
  }
  const float before = largest;
  largest = std::max(largest, simd::max_lane<lanes>(top));
  if (largest == kMinusInfinity) {
    std::fill_n(scores, kChunk, 0.0f);
    return 1.0f;
  }
  Floats<lanes> total = {};
  for (std::int64_t i = 0; i < kChunk; i += lanes) {
    const Floats<lanes> weights = simd::exp<lanes>(simd::load<lanes>(scores + i) - largest);
    simd::store<lanes>(weights, scores + i);
    total += weights;
  }
  const float shrink = before == largest ? 1.0f : simd::exp<4>(Floats<4>{} + (before - largest))[0];
  sum = sum * shrink + simd::sum_lanes<lanes>(total);
  return shrink;
}

/// Scores to weights, and out += weights · values.
template <int lanes, typename T>
TRIREME_INLINE void add_runs(const AttentionTile& tile, const Runs<T>& runs, std::int64_t begin,
                             const Scratch& scratch) {
  const std::int64_t size = tile.cache->head_dim;
  for (std::int64_t row = 0; row < tile.num_rows; ++row) {
    float* scores = scratch.scores + row * kChunk;
    hide(tile, runs, begin, scores, row);
    const float shrink = soften<lanes>(scores, scratch.largest[row], scratch.sum[row]);
    if (shrink == 1.0f) continue;
    float* out = scratch.out + row * size;
    for (std::int64_t i = 0; i < size; ++i) out[i] *= shrink;
  }
  for (std::int64_t i = 0; i < runs.count; ++i) {
    const Run<T>& run = runs.runs[i];
    simd::outer_product<lanes, T>(scratch.scores + run.at, kChunk, tile.num_rows,
                                  {run.v, size, size}, run.count, {scratch.out, size, size}, true);
  }
}

/// Brings what the next chunk reads into the cache.
template <typename T>
TRIREME_INLINE void fetch_runs(const Runs<T>& runs, std::int64_t size) {
  constexpr std::int64_t line = 64 / sizeof(T);
  for (std::int64_t i = 0; i < runs.count; ++i) {
    const Run<T>& run = runs.runs[i];
    for (std::int64_t at = 0; at < run.count * size; at += line) {
      __builtin_prefetch(run.k + at);
      __builtin_prefetch(run.v + at);
    }
  }
}

TRIREME_INLINE void begin_rows(const AttentionTile& tile, const Scratch& scratch) {
  const std::int64_t size = tile.cache->head_dim;
  for (std::int64_t row = 0; row < tile.num_rows; ++row) {
    const std::int64_t at = tile.first_row + row;
    const float* q =
        tile.q + at / tile.heads_per_kv * tile.q_stride + at % tile.heads_per_kv * size;
    for (std::int64_t i = 0; i < size; ++i) scratch.q[row * size + i] = q[i] * tile.scale;
    scratch.largest[row] = kMinusInfinity;
    scratch.sum[row] = 0;
  }
  std::fill_n(scratch.out, tile.num_rows * size, 0.0f);
}

TRIREME_INLINE void end_rows(const AttentionTile& tile, const Scratch& scratch) {
  const std::int64_t size = tile.cache->head_dim;
  for (std::int64_t row = 0; row < tile.num_rows; ++row) {
    const std::int64_t at = tile.first_row + row;
    float* out =
        tile.out + at / tile.heads_per_kv * tile.out_stride + at % tile.heads_per_kv * size;
    const float factor = scratch.sum[row] > 0 ? 1.0f / scratch.sum[row] : 0.0f;
    for (std::int64_t i = 0; i < size; ++i) out[i] = scratch.out[row * size + i] * factor;
  }
}

template <int lanes, typename T>
TRIREME_INLINE void attend_typed(const AttentionTile& tile, float* memory) {
  const Scratch scratch(memory, tile.cache->head_dim);
  begin_rows(tile, scratch);
  const std::int64_t first =
      tile.window > 0 ? std::max<std::int64_t>(0, tile.position_of(0) - tile.window + 1) : 0;
  const std::int64_t end = tile.position_of(tile.num_rows - 1) + 1;
  const std::int64_t size = tile.cache->head_dim;
  for (std::int64_t begin = first / kChunk * kChunk; begin < end; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, end - begin);
    const Runs<T> runs = find_runs<T>(tile, begin, count);
    if (tile.num_rows >= kManyRows) {
      const Runs<float> gathered = gather_runs<lanes>(runs, size, scratch);
      const std::int64_t columns = (count + lanes - 1) / lanes * lanes;
      simd::outer_product<lanes, float>(scratch.q, size, tile.num_rows,
                                        {scratch.k, kChunk, columns}, size,
                                        {scratch.scores, kChunk, columns}, false);
      add_runs<lanes>(tile, gathered, begin, scratch);
    } else {
      if (begin + kChunk < end) {
        fetch_runs(find_runs<T>(tile, begin + kChunk, std::min(kChunk, end - begin - kChunk)),
                   size);
      }
      score_runs<lanes>(runs, size, tile.num_rows, scratch);
      add_runs<lanes>(tile, runs, begin, scratch);
    }
  }
  end_rows(tile, scratch);
}

template <int lanes>
TRIREME_INLINE void attend(const AttentionTile& tile, float* scratch) {
  if (tile.cache->dtype == DType::bfloat16) {
    attend_typed<lanes, bfloat16>(tile, scratch);
  } else if (tile.cache->dtype == DType::float16) {
    attend_typed<lanes, float16>(tile, scratch);
  } else {
    attend_typed<lanes, float>(tile, scratch);
  }
}

}  // namespace

std::int64_t attention_scratch(std::int64_t head_dim) {
  return (2 * kMostRowsOfTile + 2 * kChunk) * head_dim + kMostRowsOfTile * (kChunk + 2);
}

void attend_generic(const AttentionTile& tile, float* scratch) { attend<4>(tile, scratch); }
TRIREME_AVX2 void attend_avx2(const AttentionTile& tile, float* scratch) {
  attend<8>(tile, scratch);
}
TRIREME_AVX512 void attend_avx512(const AttentionTile& tile, float* scratch) {
  attend<16>(tile, scratch);
}

}  // namespace trireme::kernels::cpu
