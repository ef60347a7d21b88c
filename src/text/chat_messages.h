#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "text/jinja_context.h"

namespace trireme::text {

/// JSON as a value of a template. Throws Error(input) that begins with `what` for texts that are
/// not UTF-8, integers beyond 64 bits and parts that are nested too deep.
jinja::Value value_from_json(jinja::Context& context, const Json& json, const std::string& what);

/// The messages as transformers gives them to a template: keys whose value is null are dropped, and
/// reasoning is found under `thinking` and `reasoning_content`. Throws Error(input) if they are not
/// a list, not empty, of objects.
jinja::Value prepare_messages(jinja::Context& context, const Json& messages);

/// The last message as a beginning to go on from: a tag is put behind its text, and what the
/// template prints from there on is cut off.
class Continuation {
 public:
  /// Puts the tag into the last of `messages`, which have been checked. Throws Error(input) if it
  /// has no text.
  explicit Continuation(Json& messages);

  /// The rendered text up to the tag. Throws Error(input) if the message is not in it.
  std::string cut(std::string rendered) const;

 private:
  std::string text_;  // of the last message
};

}  // namespace trireme::text
