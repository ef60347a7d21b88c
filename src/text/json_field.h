#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace trireme::text {

/// A value inside a JSON file with its path, so that what is wrong with it can be named. All
/// functions throw Error(checkpoint) if the value is not what they are asked for.
class JsonField {
 public:
  /// `path` is the file's name, or what leads to the value inside it.
  JsonField(const Json& value, std::string path) : value_(&value), path_(std::move(path)) {}

  const Json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  bool is_null() const { return value_->is_null(); }

  /// The member of that name; null if it is absent.
  JsonField at(std::string_view key) const;
  std::vector<JsonField> elements() const;
  /// Members of an object, their keys at the end of their paths.
  std::vector<std::pair<std::string, JsonField>> members() const;

  const std::string& string() const;
  bool boolean() const;
  /// The default if the value is null or absent.
  bool boolean_or(bool otherwise) const;
  std::int64_t integer(std::int64_t min, std::int64_t max) const;
  /// A string of exactly one character.
  const std::string& character() const;

  [[noreturn]] void refuse(const std::string& message) const;

 private:
  [[noreturn]] void refuse_type(std::string_view expected) const;

  const Json* value_;
  std::string path_;
};

}  // namespace trireme::text
