#include "eplb/even_split.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/error.h"

namespace trireme::eplb {

namespace {

struct Subset {
  std::int64_t sum;
  std::uint32_t items;
};

/// All subsets, by their number of items, each list ascending by sum.
std::vector<std::vector<Subset>> subsets_by_size(std::span<const std::int64_t> loads) {
  std::vector<std::vector<Subset>> lists(loads.size() + 1);
  std::vector<std::int64_t> sums(std::size_t{1} << loads.size(), 0);
  for (std::uint32_t items = 0; items < sums.size(); ++items) {
    if (items != 0) sums[items] = sums[items & (items - 1)] + loads[std::countr_zero(items)];
    lists[std::popcount(items)].push_back({sums[items], items});
  }
  for (auto& list : lists) {
    std::ranges::sort(list, [](const Subset& a, const Subset& b) {
      return a.sum != b.sum ? a.sum < b.sum : a.items < b.items;
    });
  }
  return lists;
}

}  // namespace

std::vector<bool> even_split(std::span<const std::int64_t> loads, std::int64_t wanted) {
  const std::size_t half = loads.size() / 2;
  TRIREME_CHECK(loads.size() % 2 == 0 && loads.size() <= 24, loads.size(), " items");
  const auto left = subsets_by_size(loads.first(half)), right = subsets_by_size(loads.last(half));
  std::int64_t closest = std::numeric_limits<std::int64_t>::max();
  std::uint32_t chosen = 0;
  for (std::size_t size = 0; size <= half; ++size) {
    const auto& rest = right[half - size];
    auto at = static_cast<std::ptrdiff_t>(rest.size()) - 1;
    for (const Subset& subset : left[size]) {
      // As the sum of the left part grows, that of the right part must fall.
      while (true) {
        const std::int64_t off = subset.sum + rest[at].sum - wanted;
        if (std::abs(off) < closest) {
          closest = std::abs(off);
          chosen = subset.items | rest[at].items << half;
        }
        if (off <= 0 || at == 0) break;
        --at;
      }
    }
  }
  std::vector<bool> in_half(loads.size());
  for (std::size_t item = 0; item < loads.size(); ++item) in_half[item] = chosen >> item & 1;
  return in_half;
}

}  // namespace trireme::eplb
