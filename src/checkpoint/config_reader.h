#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace trireme::checkpoint {

/// Values of one JSON object, checked for type and range. A key may have several published
/// spellings; null is the same as absent. Every fault is an Error(checkpoint) that names file, key,
/// value and what was expected.
class ConfigReader {
 public:
  using Names = std::initializer_list<std::string_view>;

  /// `where` begins the messages: the file, and the path of a nested object.
  ConfigReader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  /// Whole numbers in [min, max]. Two spellings with different values are refused.
  std::optional<std::int64_t> find_integer(Names names, std::int64_t min, std::int64_t max) const;
  std::int64_t integer(Names names, std::int64_t min, std::int64_t max) const;
  /// Finite numbers in [min, max].
  std::optional<double> find_number(Names names, double min, double max) const;
  std::optional<bool> find_boolean(Names names) const;
  std::optional<std::string> find_string(Names names) const;
  /// Null if absent; throws if it is there and no array or no object.
  const Json* find_array(std::string_view name) const;
  const Json* find_object(std::string_view name) const;

  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Throws the error for a value that is not what was expected.
  [[noreturn]] void refuse(std::string_view name, const Json& value,
                           const std::string& expected) const;
  const std::string& where() const { return where_; }

 private:
  const Json* find(std::string_view name) const;

  const Json& object_;
  std::string where_;
};

/// The value as a message shows it: at most 80 bytes of it.
std::string shown(const Json& value);

/// The whole number that a JSON value is (8, 8.0); none for all else.
std::optional<std::int64_t> as_integer(const Json& value);

}  // namespace trireme::checkpoint
