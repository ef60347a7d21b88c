#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/run_config.h"

namespace trireme::config {

/// The place of a key's value in a RunConfig; its type is the key's type.
using Slot =
    std::variant<std::int64_t*, double*, bool*, std::string*, std::optional<std::int64_t>*,
                 std::optional<std::uint64_t>*, std::optional<double>*, std::optional<bool>*,
                 std::vector<std::int64_t>*, std::vector<std::string>*>;

/// The part of --help in which a key is shown.
enum class Topic { files, parallelism, engine, kv_memory, sampling, messages };

/// The values that a key may have.
struct Expected {
  std::string text;                                             ///< follows "expected "
  std::int64_t min = std::numeric_limits<std::int64_t>::min();  ///< of whole numbers
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
  bool (*allows)(double) = nullptr;       ///< of numbers, whole ones too; nullptr: all finite ones
  std::vector<std::string> choices = {};  ///< of words; empty: any text
  bool is_bytes = false;                  ///< "4 GiB" is understood
  std::string zero_word = {};             ///< another word for 0
};

/// One key of the configuration. The table of them drives YAML, --set, the flags, --dump-config,
/// --help and the checks of single values.
struct Key {
  std::string name;  ///< dotted where the YAML is nested
  Topic topic;
  Slot (*slot)(RunConfig&);
  Expected expected;
  std::string default_text;  ///< for --help
  std::string unset_word;    ///< how "not given" is written, which is then the value of
                             ///< RunConfig{}; empty: the key always has a value
  std::string doc;           ///< one line
};

/// All keys, those of a topic together, in the order of --help.
const std::vector<Key>& keys();

/// The key of that name; nullptr if there is none.
const Key* find_key(std::string_view name);

/// The names of all keys.
std::vector<std::string> key_names();

/// Words for --help.
std::string_view title_of(Topic topic);

}  // namespace trireme::config
