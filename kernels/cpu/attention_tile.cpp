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
  float* largest;  ///< [rows]
  float* sum;      ///< [rows]
  float* k;        ///< [head_dim, kChunk], with many rows
  float* v;        ///< [kChunk, head_dim], with many rows

  Scratch(float* memory, std::int64_t num_rows, std::int64_t head_dim)
      : q(memory),
        out(q + num_rows * head_dim),
        scores(out + num_rows * head_dim),
        largest(scores + num_rows * kChunk),
        sum(largest + num_rows),
        k(sum + num_rows),
        v(k + kChunk * head_dim) {}
};

/// The runs of tokens [begin, begin + count) that are in sight of the tile's KV head `head`.
template <typename T>
TRIREME_INLINE void find_runs(const AttentionTile& tile, std::int64_t head, std::int64_t begin,
                              std::int64_t count, Runs<T>& found) {
  const KvCache& cache = *tile.cache;
  found.count = 0;
  for (std::int64_t at = 0; at < count;) {
    const std::int64_t offset = (begin + at) % cache.tokens_per_block;
    const std::int64_t length = std::min(count - at, cache.tokens_per_block - offset);
    const std::int64_t block = tile.blocks[(begin + at) / cache.tokens_per_block];
    if (block >= 0) {
      const std::int64_t row =
          (block * cache.num_kv_heads + tile.kv_head + head) * cache.tokens_per_block + offset;
      found.runs[found.count++] = {at, length,
                                   static_cast<const T*>(cache.k) + row * cache.head_dim,
                                   static_cast<const T*>(cache.v) + row * cache.head_dim};
    }
    at += length;
  }
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

/// scores[row, at ...] of `keys` keys against `rows` rows and then the rest of them.
template <int lanes, int keys, int rows, typename T>
TRIREME_INLINE void score_keys(const T* k, std::int64_t size, std::int64_t row,
                               std::int64_t num_rows, const Scratch& scratch, std::int64_t at) {
  for (; row + rows <= num_rows; row += rows) {
    simd::dot_tile<lanes, keys, rows>(k, size, scratch.q + row * size, size, size, NoFetch(),
                                      {scratch.scores + row * kChunk + at, kChunk, nullptr, true});
  }
  if constexpr (rows > 1) score_keys<lanes, keys, rows - 1>(k, size, row, num_rows, scratch, at);
}

/// Brings `count` elements from `begin` on of a run into the cache.
template <typename T>
TRIREME_INLINE void fetch_run(const Run<T>& run, std::int64_t begin, std::int64_t count) {
  constexpr std::int64_t line = 64 / sizeof(T);
  for (std::int64_t at = begin; at < begin + count; at += line) {
    __builtin_prefetch(run.k + at);
    __builtin_prefetch(run.v + at);
  }
}

/// Scores, and little by little fetches what is needed next: in one go the fetches would wait for
/// memory and hold up everything else.
template <int lanes, typename T>
TRIREME_INLINE void score_runs(const Runs<T>& runs, const Runs<T>& next, std::int64_t size,
                               std::int64_t num_rows, const Scratch& scratch) {
  constexpr int rows = lanes == 16 ? 4 : 3;
  for (std::int64_t i = 0; i < runs.count; ++i) {
    const Run<T>& run = runs.runs[i];
    std::int64_t token = 0;
    for (; token + 4 <= run.count; token += 4) {
      if (i < next.count) fetch_run(next.runs[i], token * size, 4 * size);
      score_keys<lanes, 4, rows>(run.k + token * size, size, 0, num_rows, scratch, run.at + token);
    }
    for (; token < run.count; ++token) {
      score_keys<lanes, 1, rows>(run.k + token * size, size, 0, num_rows, scratch, run.at + token);
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

/// The tokens that any row of the tile sees lie in [begin, end); begin is a chunk's.
struct Sight {
  std::int64_t begin, end;

  explicit Sight(const AttentionTile& tile) {
    const std::int64_t first = tile.position_of(0) - tile.window + 1;
    begin = tile.window > 0 && first > 0 ? first / kChunk * kChunk : 0;
    end = tile.position_of(tile.num_rows - 1) + 1;
  }
};

template <int lanes, typename T>
TRIREME_INLINE void attend_many_rows(const AttentionTile& tile, float* memory) {
  const std::int64_t size = tile.cache->head_dim;
  const Scratch scratch(memory, tile.num_rows, size);
  begin_rows(tile, scratch);
  const Sight sight(tile);
  Runs<T> found;
  for (std::int64_t begin = sight.begin; begin < sight.end; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, sight.end - begin);
    const std::int64_t columns = (count + lanes - 1) / lanes * lanes;
    find_runs<T>(tile, 0, begin, count, found);
    const Runs<float> runs = gather_runs<lanes>(found, size, scratch);
    simd::outer_product<lanes, float>(scratch.q, size, tile.num_rows, {scratch.k, kChunk, columns},
                                      size, {scratch.scores, kChunk, columns}, false);
    add_runs<lanes>(tile, runs, begin, scratch);
  }
  end_rows(tile, scratch);
}

/// All KV heads of a chunk before the next chunk: they lie side by side in a block, so memory is
/// read in long stretches.
template <int lanes, typename T>
TRIREME_INLINE void attend_few_rows(const AttentionTile& tile, float* memory) {
  const std::int64_t size = tile.cache->head_dim;
  const std::int64_t scratch_size = attention_scratch(tile.num_rows, size);
  for (std::int64_t head = 0; head < tile.num_kv_heads; ++head) {
    begin_rows(tile.of_head(head), Scratch(memory + head * scratch_size, tile.num_rows, size));
  }
  const Sight sight(tile);
  Runs<T> two[2];  // of a chunk and head, and of what comes next
  Runs<T>*runs = &two[0], *next = &two[1];
  const auto find = [&](std::int64_t head, std::int64_t begin, Runs<T>& found) {
    find_runs<T>(tile, head, begin, std::min(kChunk, sight.end - begin), found);
  };
  find(0, sight.begin, *next);
  for (std::int64_t begin = sight.begin; begin < sight.end; begin += kChunk) {
    for (std::int64_t head = 0; head < tile.num_kv_heads; ++head) {
      std::swap(runs, next);
      if (head + 1 < tile.num_kv_heads) {
        find(head + 1, begin, *next);
      } else if (begin + kChunk < sight.end) {
        find(0, begin + kChunk, *next);
      }
      const Scratch scratch(memory + head * scratch_size, tile.num_rows, size);
      score_runs<lanes>(*runs, *next, size, tile.num_rows, scratch);
      add_runs<lanes>(tile, *runs, begin, scratch);
    }
  }
  for (std::int64_t head = 0; head < tile.num_kv_heads; ++head) {
    end_rows(tile.of_head(head), Scratch(memory + head * scratch_size, tile.num_rows, size));
  }
}

template <int lanes, typename T>
TRIREME_INLINE void attend_typed(const AttentionTile& tile, float* scratch) {
  if (tile.num_rows >= kManyRows) {
    for (std::int64_t head = 0; head < tile.num_kv_heads; ++head) {
      attend_many_rows<lanes, T>(tile.of_head(head), scratch);
    }
  } else {
    attend_few_rows<lanes, T>(tile, scratch);
  }
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

std::int64_t attention_scratch(std::int64_t num_rows, std::int64_t head_dim) {
  const std::int64_t gathered = num_rows < kManyRows ? 0 : 2 * kChunk * head_dim;
  return num_rows * (2 * head_dim + kChunk + 2) + gathered;
}

void attend_generic(const AttentionTile& tile, float* scratch) { attend<4>(tile, scratch); }
TRIREME_AVX2 void attend_avx2(const AttentionTile& tile, float* scratch) {
  attend<8>(tile, scratch);
}
TRIREME_AVX512 void attend_avx512(const AttentionTile& tile, float* scratch) {
  attend<16>(tile, scratch);
}

}  // namespace trireme::kernels::cpu
