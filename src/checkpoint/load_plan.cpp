#include "checkpoint/load_plan.h"

#include <algorithm>

#include "base/error.h"

namespace trireme::checkpoint {
namespace {

struct Interval {
  std::int32_t tensor_idx = 0;
  std::int64_t begin = 0, end = 0;
  std::vector<std::int32_t> wants;
};

/// What is wanted of each tensor, slices that touch joined to one interval; ascending.
std::vector<Interval> join(std::span<const WantedSlice> wants) {
  std::vector<std::int32_t> order;
  for (std::size_t i = 0; i < wants.size(); ++i) {
    if (wants[i].runs.num_elements() > 0) order.push_back(static_cast<std::int32_t>(i));
  }
  const auto place = [&](std::int32_t i) {
    const WantedSlice& want = wants[static_cast<std::size_t>(i)];
    return std::tuple(want.tensor_idx, want.runs.offset, i);
  };
  std::ranges::sort(order, {}, place);

  std::vector<Interval> result;
  for (const std::int32_t i : order) {
    const WantedSlice& want = wants[static_cast<std::size_t>(i)];
    if (result.empty() || result.back().tensor_idx != want.tensor_idx ||
        result.back().end < want.runs.offset) {
      result.push_back({want.tensor_idx, want.runs.offset, want.runs.end(), {}});
    }
    result.back().end = std::max(result.back().end, want.runs.end());
    result.back().wants.push_back(i);
  }
  return result;
}

/// The wanter with the fewest bytes to read so far; the lowest rank of equals.
int choose_reader(const Piece& piece, std::span<const WantedSlice> wants,
                  const std::vector<std::int64_t>& bytes_of_rank) {
  int best = wants[static_cast<std::size_t>(piece.wants.front())].rank;
  for (const std::int32_t i : piece.wants) {
    const int rank = wants[static_cast<std::size_t>(i)].rank;
    const auto key = [&](int r) {
      return std::pair(bytes_of_rank[static_cast<std::size_t>(r)], r);
    };
    if (key(rank) < key(best)) best = rank;
  }
  return best;
}

}  // namespace

std::int64_t Runs::count_before(std::int64_t element) const {
  if (element <= offset || count == 0) return 0;
  const std::int64_t run = std::min((element - offset) / stride, count - 1);
  return run * length + std::min(element - offset - run * stride, length);
}

Runs runs_of_slice(const tensor::Shape& shape, const Slice& slice) {
  if (shape.ndim() == 0) return {0, 1, 1, 1};
  TRIREME_CHECK(slice.dim >= 0 && slice.dim < shape.ndim(), "dim=", slice.dim,
                " shape=", shape.text());
  const std::int64_t end = slice.end == 0 ? shape[slice.dim] : slice.end;
  TRIREME_CHECK(0 <= slice.begin && slice.begin <= end && end <= shape[slice.dim],
                "begin=", slice.begin, " end=", end, " shape=", shape.text());
  std::int64_t outer = 1, inner = 1;
  for (int dim = 0; dim < slice.dim; ++dim) outer *= shape[dim];
  for (int dim = slice.dim + 1; dim < shape.ndim(); ++dim) inner *= shape[dim];
  const Runs runs{slice.begin * inner, (end - slice.begin) * inner, shape[slice.dim] * inner,
                  outer};
  if (runs.num_elements() == 0) return {0, 0, 1, 0};
  // A slice of whole rows is one run.
  if (runs.length == runs.stride) return {runs.offset, runs.num_elements(), runs.num_elements(), 1};
  return runs;
}

std::vector<Round> plan_load(std::span<const WantedSlice> wants,
                             std::span<const std::int64_t> element_bytes, int num_ranks,
                             std::int64_t max_bytes) {
  std::vector<std::int64_t> bytes_of_rank(static_cast<std::size_t>(num_ranks), 0);
  std::vector<std::int64_t> bytes_in_round(static_cast<std::size_t>(num_ranks), 0);
  std::vector<std::size_t> round_of_rank(static_cast<std::size_t>(num_ranks), 0);
  std::vector<Round> rounds;
  for (const Interval& interval : join(wants)) {
    const std::int64_t size = element_bytes[static_cast<std::size_t>(interval.tensor_idx)];
    const std::int64_t step = std::max<std::int64_t>(1, max_bytes / size);
    for (std::int64_t begin = interval.begin; begin < interval.end; begin += step) {
      Piece piece{interval.tensor_idx, begin, std::min(begin + step, interval.end), 0, {}};
      for (const std::int32_t i : interval.wants) {
        const Runs& runs = wants[static_cast<std::size_t>(i)].runs;
        if (runs.count_before(piece.end) > runs.count_before(piece.begin)) piece.wants.push_back(i);
      }
      if (piece.wants.empty()) continue;
      piece.reader = choose_reader(piece, wants, bytes_of_rank);
      const auto reader = static_cast<std::size_t>(piece.reader);
      const std::int64_t bytes = (piece.end - piece.begin) * size;
      if (bytes_in_round[reader] > 0 && bytes_in_round[reader] + bytes > max_bytes) {
        ++round_of_rank[reader];
        bytes_in_round[reader] = 0;
      }
      bytes_of_rank[reader] += bytes;
      bytes_in_round[reader] += bytes;
      if (rounds.size() <= round_of_rank[reader]) rounds.resize(round_of_rank[reader] + 1);
      rounds[round_of_rank[reader]].push_back(std::move(piece));
    }
  }
  return rounds;
}

}  // namespace trireme::checkpoint
