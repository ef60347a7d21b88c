#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trireme::io {

/// What an import did.
struct ImportReport {
  std::int64_t num_rows = 0;
  std::string source;                 ///< the object that holds the prompts
  std::vector<std::string> warnings;  ///< keys that were left out
};

/// One prompt a line, an empty line being an empty prompt, to a new prompt file. Throws
/// Error(missing), Error(input), Error(output), Error(io).
ImportReport import_text(const std::string& text_path, const std::string& prompt_path);

/// JSON lines to a new prompt file: OpenAI batch lines {custom_id, method, url, body}, or plain
/// objects with prompt or messages and any option beside them. Plain objects that all have the
/// same, good options become columns; everything else becomes requests. Empty lines are left out.
/// Reads the file twice, so it is no pipe. Throws as import_text; errors name file and line.
ImportReport import_jsonl(const std::string& json_path, const std::string& prompt_path);

}  // namespace trireme::io
