#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace trireme::job {

struct TokenizeReport {
  std::int64_t num_rows = 0, num_failed = 0, num_tokens = 0;
  std::string first_error;  ///< of the first row that failed: its index and words
};

/// Writes a prompt file again with /input_ids in the place of its prompts: the other columns and
/// the root attributes stay as they are; what requests ask for becomes /options; rows that fail
/// have no tokens, and then there are /status and /error. `tokenizer_dir` is a model's folder;
/// `progress` is told the number of rows done, every now and then. Throws Error(missing),
/// Error(checkpoint), Error(input) (a file of token ids too), Error(output), Error(io).
TokenizeReport tokenize_prompts(const std::string& input, const std::string& output,
                                const std::string& tokenizer_dir,
                                const std::function<void(std::int64_t)>& progress);

}  // namespace trireme::job
