#pragma once

#include <string>
#include <string_view>

namespace trireme::text {

enum class UnicodeForm { nfc, nfd, nfkc, nfkd };

/// `text` (valid UTF-8) in a normal form of Unicode (UAX #15), in time linear in its length but for
/// the sorting of runs of combining marks.
std::string to_unicode_form(std::string_view text, UnicodeForm form);

}  // namespace trireme::text
