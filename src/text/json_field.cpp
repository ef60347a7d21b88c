#include "text/json_field.h"

#include "base/error.h"
#include "text/unicode.h"

namespace trireme::text {
namespace {

const Json kNull;

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 100) text = text.substr(0, 100) + "...";
  return text;
}

}  // namespace

void JsonField::refuse(const std::string& message) const {
  fail(ErrorKind::checkpoint, cat(path_, ": ", message));
}

void JsonField::refuse_type(std::string_view expected) const {
  if (value_->is_null()) refuse(cat("missing, expected ", expected));
  refuse(cat("expected ", expected, ", found ", shown(*value_)));
}

JsonField JsonField::at(std::string_view key) const {
  if (!value_->is_object()) refuse_type("an object");
  const auto found = value_->find(key);
  return {found == value_->end() ? kNull : *found,
          cat(path_, path_.ends_with(' ') ? "" : ".", key)};
}

std::vector<JsonField> JsonField::elements() const {
  if (!value_->is_array()) refuse_type("a list");
  std::vector<JsonField> found;
  for (const Json& element : *value_) {
    found.emplace_back(element, cat(path_, "[", found.size(), "]"));
  }
  return found;
}

std::vector<std::pair<std::string, JsonField>> JsonField::members() const {
  if (!value_->is_object()) refuse_type("an object");
  std::vector<std::pair<std::string, JsonField>> found;
  for (const auto& [key, value] : value_->items()) {
    found.emplace_back(key, JsonField(value, cat(path_, ".", key)));
  }
  return found;
}

const std::string& JsonField::string() const {
  if (!value_->is_string()) refuse_type("a string");
  return value_->get_ref<const std::string&>();
}

bool JsonField::boolean() const {
  if (!value_->is_boolean()) refuse_type("true or false");
  return value_->get<bool>();
}

bool JsonField::boolean_or(bool otherwise) const { return is_null() ? otherwise : boolean(); }

std::int64_t JsonField::integer(std::int64_t min, std::int64_t max) const {
  const std::string expected = cat("an integer from ", min, " to ", max);
  if (!value_->is_number_integer()) refuse_type(expected);
  // An unsigned number beyond int64 would come out negative.
  if (value_->is_number_unsigned() && value_->get<std::uint64_t>() > INT64_MAX)
    refuse_type(expected);
  const auto number = value_->get<std::int64_t>();
  if (number < min || number > max) refuse_type(expected);
  return number;
}

const std::string& JsonField::character() const {
  const std::string& text = string();
  std::size_t end = 0;
  if (!text.empty()) next_code_point(text, end);
  if (text.empty() || end != text.size()) refuse_type("a string of one character");
  return text;
}

}  // namespace trireme::text
