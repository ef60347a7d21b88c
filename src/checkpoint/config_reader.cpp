#include "checkpoint/config_reader.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace trireme::checkpoint {

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

std::optional<std::int64_t> as_integer(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return {};
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::abs(number) <= 0x1p53 && number == std::floor(number)) {
      return static_cast<std::int64_t>(number);
    }
  }
  return {};
}

const Json* ConfigReader::find(std::string_view name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void ConfigReader::refuse(std::string_view name, const Json& value,
                          const std::string& expected) const {
  fail(ErrorKind::checkpoint,
       cat(where_, ": ", name, " is ", shown(value), ", expected ", expected));
}

std::optional<std::int64_t> ConfigReader::find_integer(Names names, std::int64_t min,
                                                       std::int64_t max) const {
  std::optional<std::int64_t> result;
  for (const std::string_view name : names) {
    const Json* value = find(name);
    if (value == nullptr) continue;
    const std::optional<std::int64_t> number = as_integer(*value);
    if (!number || *number < min || *number > max) {
      refuse(name, *value, cat("a whole number from ", min, " to ", max));
    }
    if (result && *result != *number) {
      refuse(name, *value,
             cat(*result, " as the other spelling of the key (", *names.begin(), ") says"));
    }
    result = number;
  }
  return result;
}

std::int64_t ConfigReader::integer(Names names, std::int64_t min, std::int64_t max) const {
  const std::optional<std::int64_t> result = find_integer(names, min, max);
  if (!result) {
    fail(ErrorKind::checkpoint,
         cat(where_, ": ", *names.begin(), " is missing, expected a whole number from ", min,
             " to ", max));
  }
  return *result;
}

std::optional<double> ConfigReader::find_number(Names names, double min, double max) const {
  for (const std::string_view name : names) {
    const Json* value = find(name);
    if (value == nullptr) continue;
    const double number = value->is_number() ? value->get<double>() : std::nan("");
    if (!(number >= min && number <= max)) {
      refuse(name, *value, cat("a number from ", min, " to ", max));
    }
    return number;
  }
  return {};
}

std::optional<bool> ConfigReader::find_boolean(Names names) const {
  for (const std::string_view name : names) {
    const Json* value = find(name);
    if (value == nullptr) continue;
    if (!value->is_boolean()) refuse(name, *value, "true or false");
    return value->get<bool>();
  }
  return {};
}

std::optional<std::string> ConfigReader::find_string(Names names) const {
  for (const std::string_view name : names) {
    const Json* value = find(name);
    if (value == nullptr) continue;
    if (!value->is_string()) refuse(name, *value, "a string");
    return value->get<std::string>();
  }
  return {};
}

const Json* ConfigReader::find_array(std::string_view name) const {
  const Json* value = find(name);
  if (value != nullptr && !value->is_array()) refuse(name, *value, "a list");
  return value;
}

const Json* ConfigReader::find_object(std::string_view name) const {
  const Json* value = find(name);
  if (value != nullptr && !value->is_object()) refuse(name, *value, "an object");
  return value;
}

}  // namespace trireme::checkpoint
