#include "text/decoder_steps.h"

#include <algorithm>
#include <charconv>

namespace trireme::text {

std::string byte_of_fallback_token(std::string token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return token;
  unsigned byte = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  if (error != std::errc() || end != token.data() + 5) return token;
  return std::string(1, static_cast<char>(byte));
}

std::string strip_token(std::string token, std::string_view pattern, std::size_t begin,
                        std::size_t end) {
  std::string_view rest = token;
  for (; begin > 0 && rest.starts_with(pattern); --begin) rest.remove_prefix(pattern.size());
  for (; end > 0 && rest.ends_with(pattern); --end) rest.remove_suffix(pattern.size());
  return std::string(rest);
}

std::string strip_text(std::string part, bool is_end, std::string_view pattern, std::size_t begin,
                       std::size_t end, DecoderState::Step& state) {
  std::string text = std::move(state.held) + part;
  state.held.clear();
  std::size_t cut = 0;
  if (state.is_at_begin) {
    while (state.num_stripped < begin && text.compare(cut, pattern.size(), pattern) == 0) {
      cut += pattern.size();
      ++state.num_stripped;
    }
    // A pattern of several bytes may come in parts.
    const bool may_continue = state.num_stripped < begin && !is_end &&
                              pattern.starts_with(std::string_view(text).substr(cut));
    if (may_continue) {
      state.held = text.substr(cut);
      return {};
    }
    state.is_at_begin = false;
  }
  if (is_end) return strip_token(text.substr(cut), pattern, 0, end);
  const std::size_t keep = text.size() - std::min(end * pattern.size(), text.size() - cut);
  state.held = text.substr(keep);
  return text.substr(cut, keep - cut);
}

std::string replace_text(std::string part, bool is_end, std::string_view pattern,
                         std::string_view replacement, DecoderState::Step& state) {
  const std::string text = std::move(state.held) + part;
  state.held.clear();
  std::string out;
  std::size_t done = 0;
  for (std::size_t found = text.find(pattern); found != std::string::npos;
       found = text.find(pattern, done)) {
    out.append(text, done, found - done);
    out += replacement;
    done = found + pattern.size();
  }
  std::size_t keep = text.size();
  for (std::size_t size = std::min(pattern.size() - 1, text.size() - done); size > 0 && !is_end;
       --size) {
    if (std::string_view(text).ends_with(pattern.substr(0, size))) {
      keep -= size;
      break;
    }
  }
  state.held = text.substr(keep);
  out.append(text, done, keep - done);
  return out;
}

}  // namespace trireme::text
