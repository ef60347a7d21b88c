#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trireme::config {

struct YamlKey {
  std::string name;
  int line = 0;
};

/// A value of a YAML document, not yet typed.
struct YamlNode {
  enum class Kind { null, scalar, list, map };

  Kind kind = Kind::null;
  int line = 0;                 ///< from 1; 0: not from a file
  std::string text;             ///< of a scalar
  bool quoted = false;          ///< a scalar in quotes is text, whatever it looks like
  std::vector<YamlNode> items;  ///< of a list or map
  std::vector<YamlKey> keys;    ///< of a map, beside items; a key may stand there twice

  bool is_map() const { return kind == Kind::map; }
  bool is_scalar() const { return kind == Kind::scalar; }
};

/// What a YAML text may hold at most.
inline constexpr std::size_t kMaxYamlBytes = std::size_t{1} << 20;
inline constexpr int kMaxYamlDepth = 64;
inline constexpr std::size_t kMaxYamlValues = 100000;
struct YamlLimits {
  std::size_t max_bytes = kMaxYamlBytes;
  std::size_t max_values = kMaxYamlValues;
};

/// Reads one YAML document of any kind. Throws Error(config) that begins with `name` and says in
/// which line the text breaks the limits or is not YAML: over the sizes above, bytes that are no
/// UTF-8 text, tabs as indentation, anchors, aliases and tags, a second document. (Rule 19.)
YamlNode parse_yaml(std::string_view text, const std::string& name, const YamlLimits& limits = {});

}  // namespace trireme::config
