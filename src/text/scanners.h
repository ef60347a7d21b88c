#pragma once

#include <cstddef>
#include <string_view>

namespace trireme::text {

/// A hand-written matcher of one regular expression: where the match that begins at `position` of
/// `text` (valid UTF-8, position < size) ends; `position` itself if there is none. Calling it from
/// match to match costs time linear in the text, whatever the text.
using Scanner = std::size_t (*)(std::string_view text, std::size_t position);

/// The scanner of a pattern as published tokenizer.json files spell it; null if the pattern is not
/// one of GPT-2, Llama 3 (cl100k), Qwen2, DeepSeek-V3 (three patterns), o200k and their spellings.
Scanner known_scanner(std::string_view pattern);

/// The pattern that ByteLevel uses by itself.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// One character of a class each, as the pre-tokenizers Digits, Punctuation and WhitespaceSplit
/// cut.
std::size_t scan_one_number(std::string_view text, std::size_t position);
std::size_t scan_one_punctuation(std::string_view text, std::size_t position);
std::size_t scan_one_space(std::string_view text, std::size_t position);
/// \w+|[^\w\s]+, as the pre-tokenizer Whitespace cuts.
std::size_t scan_words(std::string_view text, std::size_t position);

}  // namespace trireme::text
