#include "kernels/cpu/detail/attention_tile.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/detail/dot_tile.h"
#include "kernels/cpu/detail/simd_math.h"

namespace trireme::kernels::cpu {
namespace {

using simd::Floats;

// Tokens whose keys and values are taken together; a multiple of every vector.
constexpr std::int64_t kChunk = 64;
// From this many rows on the keys and values of a chunk are widened to float32 once.
constexpr std::int64_t kRowsToWiden = 9;
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
  float* q;       ///< [rows, head_dim], times the scale
  float* out;     ///< [rows, head_dim]
  float* scores;  ///< [rows, kChunk]
  float* k;       ///< [kChunk, head_dim], if widened
  float* v;
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

template <int lanes, typename T>
TRIREME_INLINE void widen(const T* from, std::int64_t count, float* to) {
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) simd::store<lanes>(simd::load<lanes>(from + i), to + i);
  for (; i < count; ++i) to[i] = static_cast<float>(from[i]);
}

template <int lanes, typename T>
TRIREME_INLINE Runs<float> widen_runs(const Runs<T>& from, std::int64_t size,
                                      const Scratch& scratch) {
  Runs<float> result;
  for (; result.count < from.count; ++result.count) {
    const Run<T>& run = from.runs[result.count];
    float* k = scratch.k + run.at * size;
    float* v = scratch.v + run.at * size;
    widen<lanes>(run.k, run.count * size, k);
    widen<lanes>(run.v, run.count * size, v);
    result.runs[result.count] = {run.at, run.count, k, v};
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

/// out[row] += the run's values times the row's weights, for `rows` rows and `vectors` vectors of
/// columns.
template <int lanes, int rows, int vectors, typename T>
TRIREME_INLINE void add_values(const Run<T>& run, std::int64_t size, const float* weights,
                               std::int64_t column, float* out) {
  Floats<lanes> sums[rows][vectors];
#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row) {
#pragma GCC unroll 16
    for (int i = 0; i < vectors; ++i) {
      sums[row][i] = simd::load<lanes>(out + row * size + column + i * lanes);
    }
  }
  for (std::int64_t token = 0; token < run.count; ++token) {
    Floats<lanes> values[vectors];
#pragma GCC unroll 16
    for (int i = 0; i < vectors; ++i) {
      values[i] = simd::load<lanes>(run.v + token * size + column + i * lanes);
    }
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row) {
      const float weight = weights[row * kChunk + run.at + token];
#pragma GCC unroll 16
      for (int i = 0; i < vectors; ++i) sums[row][i] += values[i] * weight;
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row) {
#pragma GCC unroll 16
    for (int i = 0; i < vectors; ++i) {
      simd::store<lanes>(sums[row][i], out + row * size + column + i * lanes);
    }
  }
}

template <int lanes, int rows, typename T>
TRIREME_INLINE void add_run(const Run<T>& run, std::int64_t size, const float* weights,
                            float* out) {
  constexpr int vectors = lanes == 16 ? 4 : 2;
  std::int64_t column = 0;
  for (; column + vectors * lanes <= size; column += vectors * lanes) {
    add_values<lanes, rows, vectors>(run, size, weights, column, out);
  }
  for (; column + lanes <= size; column += lanes) {
    add_values<lanes, rows, 1>(run, size, weights, column, out);
  }
  for (; column < size; ++column) {
    for (int row = 0; row < rows; ++row) {
      for (std::int64_t token = 0; token < run.count; ++token) {
        out[row * size + column] += weights[row * kChunk + run.at + token] *
                                    static_cast<float>(run.v[token * size + column]);
      }
    }
  }
}

template <int lanes, typename T>
TRIREME_INLINE void add_runs(const Runs<T>& runs, std::int64_t size, std::int64_t num_rows,
                             const Scratch& scratch) {
  for (std::int64_t i = 0; i < runs.count; ++i) {
    std::int64_t row = 0;
    for (; row + 4 <= num_rows; row += 4) {
      add_run<lanes, 4>(runs.runs[i], size, scratch.scores + row * kChunk,
                        scratch.out + row * size);
    }
    for (; row + 3 <= num_rows; row += 3) {
      add_run<lanes, 3>(runs.runs[i], size, scratch.scores + row * kChunk,
                        scratch.out + row * size);
    }
    for (; row < num_rows; ++row) {
      add_run<lanes, 1>(runs.runs[i], size, scratch.scores + row * kChunk,
                        scratch.out + row * size);
    }
  }
}

template <int lanes, typename T>
TRIREME_INLINE void attend_chunk(const AttentionTile& tile, const Runs<T>& runs, std::int64_t begin,
                                 const Scratch& scratch) {
  const std::int64_t size = tile.cache->head_dim;
  score_runs<lanes>(runs, size, tile.num_rows, scratch);
  for (std::int64_t row = 0; row < tile.num_rows; ++row) {
    float* scores = scratch.scores + row * kChunk;
    hide(tile, runs, begin, scores, row);
    const float shrink = soften<lanes>(scores, scratch.largest[row], scratch.sum[row]);
    if (shrink == 1.0f) continue;
    float* out = scratch.out + row * size;
    for (std::int64_t i = 0; i < size; ++i) out[i] *= shrink;
  }
  add_runs<lanes>(runs, size, tile.num_rows, scratch);
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
  for (std::int64_t begin = first / kChunk * kChunk; begin < end; begin += kChunk) {
    const Runs<T> runs = find_runs<T>(tile, begin, std::min(kChunk, end - begin));
    if (sizeof(T) < sizeof(float) && tile.num_rows >= kRowsToWiden) {
      attend_chunk<lanes>(tile, widen_runs<lanes>(runs, tile.cache->head_dim, scratch), begin,
                          scratch);
    } else {
      attend_chunk<lanes>(tile, runs, begin, scratch);
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
