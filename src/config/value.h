#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "config/key_table.h"
#include "config/yaml_tree.h"

namespace trireme::config {

/// Writes a YAML value into the key's place. Returns what is wrong with it, such as "n is 'two',
/// expected a whole number from 1 to 256"; then the old value stays. Null and the key's unset word
/// give the default back.
std::optional<std::string> assign(const Key& key, const YamlNode& value, RunConfig& config);

/// The same complaint about the value that a configuration holds, whoever put it there.
std::optional<std::string> complaint(const Key& key, const RunConfig& config);

/// The key's value as JSON; its unset word if it has none.
Json value_json(const Key& key, const RunConfig& config);

/// The key's value as a message shows it.
std::string value_text(const Key& key, const RunConfig& config);

/// Bytes of "1073741824", "4 GiB", "512MiB" (KiB, MiB, GiB, TiB); none if it is not such a text or
/// does not fit.
std::optional<std::int64_t> parse_bytes(std::string_view text);

/// The whole number that the text is, all of it; none otherwise or if it does not fit.
std::optional<std::int64_t> parse_whole(std::string_view text);

}  // namespace trireme::config
