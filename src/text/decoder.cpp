#include "text/decoder.h"

#include <memory>
#include <utility>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/decoder_steps.h"
#include "text/pattern.h"
#include "text/shortened.h"

namespace trireme::text {
namespace {

constexpr std::int64_t kMaxStrip = 1024;
// Decoded tokens together; a file that needs more is hostile.
constexpr std::size_t kMaxDecodedBytes = std::size_t{1} << 30;

}  // namespace

/// The steps while they are read.
struct Decoder::TokenSteps {
  std::vector<TokenStep> steps;
  bool is_fused = false;          // what follows works on the text
  bool depends_on_first = false;  // the first token may come out otherwise
};

Decoder::Decoder(const JsonField& field, std::int32_t num_ids, const TokenOfId& token_of_id) {
  TokenSteps token_steps;
  if (field.is_null()) {
    token_steps.depends_on_first = true;
    token_steps.steps.push_back(
        [](std::string token, bool is_first) { return is_first ? token : " " + token; });
  } else {
    read_steps(field, token_steps);
  }
  const auto decode = [&](std::string_view token, bool is_first) {
    std::string text(token);
    for (const TokenStep& step : token_steps.steps) text = step(std::move(text), is_first);
    if (bytes_.size() + text.size() > kMaxDecodedBytes) {
      field.refuse(cat("decoded tokens take more than ", kMaxDecodedBytes, " bytes"));
    }
    return text;
  };
  texts_.reserve(num_ids);
  for (std::int32_t id = 0; id < num_ids; ++id) {
    const auto token = token_of_id(id);
    if (!token) {
      texts_.emplace_back();
      if (token_steps.depends_on_first) first_texts_.emplace_back();
      continue;
    }
    add_token(decode(*token, false), texts_);
    if (token_steps.depends_on_first) add_token(decode(*token, true), first_texts_);
  }
}

void Decoder::add_token(std::string_view bytes, std::vector<TokenText>& texts) {
  texts.push_back({bytes_.size(), static_cast<std::uint32_t>(bytes.size()), true});
  bytes_ += bytes;
}

void Decoder::read_steps(const JsonField& field, TokenSteps& steps) {
  const std::string& type = field.at("type").string();
  const auto refuse_on_text = [&] {
    if (steps.is_fused) field.refuse(cat("decoder \"", type, "\" behind a Fuse is not supported"));
  };
  if (type == "Sequence") {
    for (const JsonField& part : field.at("decoders").elements()) read_steps(part, steps);
  } else if (type == "ByteLevel") {
    refuse_on_text();
    steps.steps.push_back(
        [](std::string token, bool) { return bytes_of_characters(token).value_or(token); });
    steps.is_fused = true;
  } else if (type == "ByteFallback") {
    refuse_on_text();
    steps.steps.push_back(
        [](std::string token, bool) { return byte_of_fallback_token(std::move(token)); });
  } else if (type == "Fuse") {
    steps.is_fused = true;
  } else if (type == "Strip") {
    read_strip(field, steps);
  } else if (type == "Replace") {
    read_replace(field, steps);
  } else if (type == "Metaspace") {
    refuse_on_text();
    read_metaspace(field, steps);
  } else {
    field.refuse(cat("unknown decoder \"", shortened(type),
                     "\", known are Sequence, ByteLevel, ByteFallback, Fuse, Strip, Replace and "
                     "Metaspace"));
  }
}

void Decoder::read_strip(const JsonField& field, TokenSteps& steps) {
  const std::string content = field.at("content").character();
  const auto begin = static_cast<std::size_t>(field.at("start").integer(0, kMaxStrip));
  const auto end = static_cast<std::size_t>(field.at("stop").integer(0, kMaxStrip));
  if (steps.is_fused) {
    text_steps_.push_back({TextStep::Kind::strip, content, {}, begin, end});
  } else {
    steps.steps.push_back([=](std::string token, bool) {
      return strip_token(std::move(token), content, begin, end);
    });
  }
}

void Decoder::read_replace(const JsonField& field, TokenSteps& steps) {
  auto pattern = std::make_shared<const Pattern>(Pattern::from_json(field.at("pattern")));
  const std::string content = field.at("content").string();
  if (!steps.is_fused) {
    steps.steps.push_back([=](std::string token, bool) {
      StepBudget budget(token.size());
      return pattern->replace(token, content, budget);
    });
  } else if (pattern->literal() != nullptr && !pattern->literal()->empty()) {
    text_steps_.push_back({TextStep::Kind::replace, *pattern->literal(), content, 0, 0});
  } else {
    field.refuse("a Replace behind a Fuse needs a pattern that is a string");
  }
}

void Decoder::read_metaspace(const JsonField& field, TokenSteps& steps) {
  const JsonField scheme = field.at("prepend_scheme");
  const bool drops_first =
      scheme.is_null() ? field.at("add_prefix_space").boolean_or(true) : scheme.string() != "never";
  steps.depends_on_first = steps.depends_on_first || drops_first;
  steps.steps.push_back(
      [=, mark = field.at("replacement").character()](std::string token, bool is_first) {
        StepBudget budget(token.size());
        return Pattern(mark).replace(token, is_first && drops_first ? "" : " ", budget);
      });
}

void Decoder::push(std::int32_t id, DecoderState& state, std::string& out) const {
  if (id < 0 || id >= static_cast<std::int32_t>(texts_.size()) || !texts_[id].is_known) return;
  const bool is_first = std::exchange(state.is_first_token, false);
  const TokenText& token = is_first && !first_texts_.empty() ? first_texts_[id] : texts_[id];
  const std::string_view text = std::string_view(bytes_).substr(token.begin, token.num_bytes);
  if (text_steps_.empty()) {
    out += text;
  } else {
    out += run_text_steps(std::string(text), false, state);
  }
}

void Decoder::finish(DecoderState& state, std::string& out) const {
  if (!text_steps_.empty()) out += run_text_steps({}, true, state);
}

std::string Decoder::run_text_steps(std::string text, bool is_end, DecoderState& state) const {
  state.steps.resize(text_steps_.size());
  for (std::size_t idx = 0; idx < text_steps_.size(); ++idx) {
    const TextStep& step = text_steps_[idx];
    text = step.kind == TextStep::Kind::strip ? strip_text(std::move(text), is_end, step.pattern,
                                                           step.begin, step.end, state.steps[idx])
                                              : replace_text(std::move(text), is_end, step.pattern,
                                                             step.replacement, state.steps[idx]);
  }
  return text;
}

}  // namespace trireme::text
