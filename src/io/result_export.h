#pragma once

#include <cstdint>
#include <iosfwd>

#include "io/result_reader.h"

namespace trireme::io {

struct ExportOptions {
  bool as_text_completions = false;  ///< choices hold text; false: a message of the assistant
  std::string output_name = "standard output";  ///< for messages
};

/// Writes one JSON line a prompt, in the shape of OpenAI batch results: custom_id, response, error;
/// the samples of a prompt are its choices, which hold prompt_logprobs too if asked for. A prompt
/// without custom_id gets its index. Bytes of a text that are no UTF-8 become U+FFFD. Returns the
/// number of lines. Throws Error(io) when `out` takes no more.
std::int64_t export_jsonl(ResultReader& results, const ExportOptions& options, std::ostream& out);

}  // namespace trireme::io
