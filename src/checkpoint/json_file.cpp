#include "checkpoint/json_file.h"

#include "base/error.h"
#include "checkpoint/files.h"

namespace trireme::checkpoint {

Json parse_object(std::string_view text, const std::string& what, const JsonLimits& limits) {
  Json document;
  try {
    document = parse_json(text, what, limits);
  } catch (const Error& error) {
    fail(ErrorKind::checkpoint, error.what());
  }
  if (!document.is_object()) {
    fail(ErrorKind::checkpoint,
         cat(what, ": holds ", document.type_name(), ", expected an object"));
  }
  return document;
}

Json read_json_object(const std::string& path) {
  constexpr std::uint64_t kMaxBytes = std::uint64_t{16} << 20;
  return parse_object(read_text_file(path, kMaxBytes), path);
}

}  // namespace trireme::checkpoint
