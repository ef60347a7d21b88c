#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja_call.h"

namespace trireme::text::jinja {

/// str.format with the fields {}, {0} and {name}; other fields (specifications, attributes) throw.
/// A marked pattern escapes what is put in.
std::string format(Context& context, const String& pattern, const Arguments& arguments);

/// datetime.strftime of a time without a zone, in local time and the C locale. Throws for patterns
/// and results that are too long.
std::string format_time(std::string_view pattern, std::int64_t unix_time);

}  // namespace trireme::text::jinja
