#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_budget.h"

namespace trireme::text::jinja {

// Python's operations on str, over valid UTF-8. Counts and indices are code points.

std::size_t count_code_points(std::string_view text);

/// The byte where code point `idx` begins; the size of the text if it is shorter.
std::size_t byte_offset(std::string_view text, std::size_t idx);

/// The beginning of a text for an error message: whole characters, at most so many bytes.
std::string_view clip(std::string_view text, std::size_t max_bytes = 80);

/// White space as Python's str.isspace has it: Unicode's and U+001C to U+001F.
bool is_space(char32_t code_point);

/// Whether Python's repr shows the character as it is.
bool is_printable(char32_t code_point);

/// Unicode's full mappings without a language: ß gives SS, a final sigma ς. Throws if the result
/// outgrows a value.
std::string upper(Budget& budget, std::string_view text);
std::string lower(Budget& budget, std::string_view text);
/// First letter in title case, the rest in lower case; `title` does so for each run of letters.
std::string capitalize(Budget& budget, std::string_view text);
std::string title(Budget& budget, std::string_view text);

/// Whether there are cased letters and all are upper (lower) case.
bool is_upper(std::string_view text);
bool is_lower(std::string_view text);

struct Sides {
  bool left = true;
  bool right = true;
};

/// Without the characters of `set` at its ends; without a set, without white space.
std::string_view strip(Budget& budget, std::string_view text, std::optional<std::string_view> set,
                       Sides sides = {});

using Pieces = std::vector<std::string_view>;

/// The words between runs of white space. At most `max_splits` cuts, from the left or from the
/// right; the piece that is left over keeps its white space inside.
Pieces split_words(Budget& budget, std::string_view text, std::size_t max_splits, bool from_right);
/// The pieces between separators, empty ones too.
Pieces split(Budget& budget, std::string_view text, std::string_view separator,
             std::size_t max_splits, bool from_right);
/// The lines without their ends, as str.splitlines.
Pieces split_lines(Budget& budget, std::string_view text);

/// Where `wanted` begins, in bytes, at or after `from`; npos if nowhere. Linear time.
std::size_t find_text(std::string_view text, std::string_view wanted, std::size_t from = 0);
/// Occurrences that do not overlap; of the empty text one more than there are code points.
std::size_t count(Budget& budget, std::string_view text, std::string_view wanted);
/// The first `max_count` occurrences replaced.
std::string replace(Budget& budget, std::string_view text, std::string_view from,
                    std::string_view to, std::size_t max_count);

/// & < > ' " as HTML entities, spelled as markupsafe does.
std::string escape_html(Budget& budget, std::string_view text);

/// Python's repr of a float: the shortest digits that give it back; "1e+16", "1.0", "inf".
std::string format_real(double value);

}  // namespace trireme::text::jinja
