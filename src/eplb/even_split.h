#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace trireme::eplb {

/// Which half of the items has the sum closest to `wanted`. Exact; about 2^(items / 2) steps.
///   loads    an even number of items, at most 24
///   returns  true for the items of that half
std::vector<bool> even_split(std::span<const std::int64_t> loads, std::int64_t wanted);

}  // namespace trireme::eplb
