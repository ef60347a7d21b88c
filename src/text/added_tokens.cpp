#include "text/added_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "text/regex.h"
#include "text/text_limits.h"
#include "text/unicode.h"

namespace trireme::text {
namespace {

bool is_space(char32_t c) { return (char_classes(c) & kSpace) != 0; }

/// Begin of the white space that ends at `position`, not before `first`.
std::size_t spaces_begin(std::string_view text, std::size_t position, std::size_t first) {
  while (position > first) {
    std::size_t before = position;
    if (!is_space(previous_code_point(text, before))) break;
    position = before;
  }
  return position;
}

/// End of the white space that begins at `position`.
std::size_t spaces_end(std::string_view text, std::size_t position) {
  while (position < text.size()) {
    std::size_t behind = position;
    if (!is_space(next_code_point(text, behind))) break;
    position = behind;
  }
  return position;
}

/// Whether no word character touches [begin, end).
bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  std::size_t before = begin;
  std::size_t behind = end;
  return (begin == 0 || !is_word_character(previous_code_point(text, before))) &&
         (end == text.size() || !is_word_character(next_code_point(text, behind)));
}

}  // namespace

std::vector<AddedToken> read_added_tokens(const JsonField& field) {
  std::vector<AddedToken> tokens;
  if (field.is_null()) return tokens;
  for (const JsonField& element : field.elements()) {
    AddedToken token;
    token.id = static_cast<std::int32_t>(element.at("id").integer(0, kMaxTokens - 1));
    token.content = element.at("content").string();
    token.single_word = element.at("single_word").boolean_or(false);
    token.lstrip = element.at("lstrip").boolean_or(false);
    token.rstrip = element.at("rstrip").boolean_or(false);
    token.special = element.at("special").boolean_or(false);
    token.normalized = element.at("normalized").boolean_or(!token.special);
    if (!token.content.empty()) tokens.push_back(std::move(token));
  }
  return tokens;
}

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& tokens,
                                   const std::vector<std::string>& texts, bool normalized)
    : nodes_(1), first_nodes_(256, -1) {
  for (std::size_t idx = 0; idx < tokens.size(); ++idx) {
    if (tokens[idx].normalized != normalized || texts[idx].empty()) continue;
    insert(texts[idx], static_cast<std::int32_t>(tokens_.size()));
    tokens_.push_back(tokens[idx]);
  }
}

void AddedTokenFinder::insert(std::string_view content, std::int32_t token_idx) {
  std::int32_t node_idx = 0;
  for (const char byte : content) {
    std::int32_t child = child_of(node_idx, byte);
    if (child < 0) {
      child = static_cast<std::int32_t>(nodes_.size());
      nodes_.push_back({byte, -1, -1, nodes_[node_idx].first_child});
      nodes_[node_idx].first_child = child;
      if (node_idx == 0) first_nodes_[static_cast<unsigned char>(byte)] = child;
    }
    node_idx = child;
  }
  // Of two that look alike once normalized, the first is found.
  if (nodes_[node_idx].token_idx < 0) nodes_[node_idx].token_idx = token_idx;
}

std::int32_t AddedTokenFinder::child_of(std::int32_t node_idx, char byte) const {
  if (node_idx == 0) return first_nodes_[static_cast<unsigned char>(byte)];
  std::int32_t child = nodes_[node_idx].first_child;
  while (child >= 0 && nodes_[child].byte != byte) child = nodes_[child].next_sibling;
  return child;
}

AddedTokenFinder::Found AddedTokenFinder::longest_at(std::string_view text,
                                                     std::size_t position) const {
  Found found;
  std::int32_t node_idx = 0;
  while (position < text.size()) {
    node_idx = child_of(node_idx, text[position++]);
    if (node_idx < 0) break;
    if (nodes_[node_idx].token_idx >= 0) found = {position, nodes_[node_idx].token_idx};
  }
  return found;
}

void AddedTokenFinder::find(std::string_view text, std::vector<Section>& sections) const {
  std::size_t done = 0;   // all before it is in a section
  ByteRange last_spaces;  // that an rstrip has found: looked through once only
  for (std::size_t position = 0; position < text.size();) {
    const Found found = longest_at(text, position);
    if (found.token_idx < 0) {
      ++position;
      continue;
    }
    const AddedToken& token = tokens_[found.token_idx];
    std::size_t begin = position;
    std::size_t end = found.end;
    position = end;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(spaces_begin(text, begin, done), done);
    if (token.rstrip) {
      const bool is_known = last_spaces.begin <= end && end <= last_spaces.end;
      last_spaces = {is_known ? last_spaces.begin : end,
                     is_known ? last_spaces.end : spaces_end(text, end)};
      end = last_spaces.end;
    }
    if (begin > done) sections.push_back({done, begin, -1});
    // Nothing is left of a token in white space that the token before has taken whole.
    if (begin < end) sections.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) sections.push_back({done, text.size(), -1});
}

}  // namespace trireme::text
