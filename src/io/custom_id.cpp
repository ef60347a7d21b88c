#include "io/custom_id.h"

namespace trireme::io {

std::string to_text(const CustomId& id) {
  if (const auto* number = std::get_if<std::int64_t>(&id)) return std::to_string(*number);
  if (const auto* text = std::get_if<std::string>(&id)) return *text;
  return {};
}

}  // namespace trireme::io
