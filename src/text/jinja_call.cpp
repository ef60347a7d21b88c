#include "text/jinja_call.h"

#include "base/error.h"

namespace trireme::text::jinja {
namespace detail {

void bind(std::string_view callee, const Arguments& arguments,
          std::span<const std::string_view> parameters, std::span<const Value*> bound) {
  if (arguments.positional.size() > parameters.size()) {
    fail(ErrorKind::input, cat(callee, " takes at most ", parameters.size(),
                               " arguments here, not ", arguments.positional.size()));
  }
  for (std::size_t idx = 0; idx < arguments.positional.size(); ++idx) {
    bound[idx] = &arguments.positional[idx];
  }
  for (std::size_t idx = 0; idx < arguments.named.size(); ++idx) {
    const std::string& name = arguments.names[idx];
    std::size_t place = 0;
    while (place < parameters.size() && parameters[place] != name) ++place;
    if (place == parameters.size()) {
      fail(ErrorKind::input, cat(callee, " takes no argument named '", name, "'"));
    }
    if (bound[place] != nullptr) {
      fail(ErrorKind::input, cat(callee, " is given the argument '", name, "' twice"));
    }
    bound[place] = &arguments.named[idx];
  }
}

}  // namespace detail

const Value& required(std::string_view callee, std::string_view parameter, const Value* argument) {
  if (argument == nullptr) {
    fail(ErrorKind::input, cat(callee, " needs the argument '", parameter, "'"));
  }
  return *argument;
}

bool flag(const Value* argument, bool otherwise) {
  if (argument == nullptr) return otherwise;
  if (argument->is_number()) return argument->as_real() != 0;
  if (argument->is(Kind::none) || argument->is(Kind::undefined)) return false;
  return length_of(*argument).value_or(1) != 0;
}

std::int64_t integer(std::string_view callee, const Value* argument, std::int64_t otherwise) {
  if (argument == nullptr) return otherwise;
  if (!argument->is_integral()) {
    fail(ErrorKind::input, cat(callee, " needs an integer, not ", type_name(*argument)));
  }
  return argument->as_integer();
}

const std::string& text(std::string_view callee, const Value* argument) {
  if (argument == nullptr || !argument->is(Kind::string)) {
    fail(ErrorKind::input,
         cat(callee, " needs a text, not ",
             argument == nullptr ? std::string_view("nothing") : type_name(*argument)));
  }
  return text_of(*argument);
}

std::optional<std::string_view> optional_text(std::string_view callee, const Value* argument) {
  if (argument == nullptr || argument->is(Kind::none)) return std::nullopt;
  return text(callee, argument);
}

}  // namespace trireme::text::jinja
