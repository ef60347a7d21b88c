#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trireme {

/// The candidate that `name` was probably meant to be, by edit distance; empty if none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace trireme
