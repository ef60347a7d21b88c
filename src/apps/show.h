#pragma once

#include <cstdint>
#include <iosfwd>

#include "io/prompt_reader.h"
#include "io/result_reader.h"

namespace trireme::apps {

/// A prompt file in words, then its first rows, one line each.
void show_prompts(io::PromptReader& reader, std::int64_t num_rows, std::ostream& out);
/// One row with everything it says.
void show_prompt(const io::PromptRow& row, std::ostream& out);

/// A result file in words, then its first rows, one line each.
void show_results(io::ResultReader& reader, std::int64_t num_rows, std::ostream& out);
/// One row with every column.
void show_result(const io::ResultRow& row, std::ostream& out);

}  // namespace trireme::apps
