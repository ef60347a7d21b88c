#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trireme::config {

/// One thing that is wrong with a configuration: key, value and what was expected, in one line.
struct Fault {
  std::vector<std::string>
      keys;  ///< dotted names of the keys that take part; the first is to blame
  std::string message;
};

/// Throws Error(config) that lists every fault, a line each; returns if there is none.
void require_none(const std::vector<Fault>& faults);

/// `text` for a message: in quotes, control characters escaped, cut after 60 characters.
std::string shown(std::string_view text);

}  // namespace trireme::config
