#include "text/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/shortened.h"
#include "text/text_limits.h"
#include "text/tokenizer_file.h"
#include "text/unicode.h"

namespace trireme::text {
namespace {

std::string read_file(const std::string& path) {
  std::error_code unknown;
  if (std::filesystem::exists(path, unknown) && !std::filesystem::is_regular_file(path, unknown)) {
    fail(ErrorKind::missing, cat(path, ": is not a regular file"));
  }
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) fail(ErrorKind::missing, cat(path, ": not there or not readable"));
  const auto num_bytes = static_cast<std::streamoff>(file.tellg());
  std::string text(num_bytes > 0 ? static_cast<std::size_t>(num_bytes) : 0, '\0');
  file.seekg(0);
  if (!file.read(text.data(), static_cast<std::streamsize>(text.size()))) {
    fail(ErrorKind::missing, cat(path, ": cannot be read"));
  }
  return text;
}

using Normalizers = std::vector<std::unique_ptr<Normalizer>>;

std::string normalize(const Normalizers& normalizers, std::string_view text, StepBudget& budget) {
  std::string result(text);
  for (const auto& step : normalizers) {
    result = step->apply(std::move(result), budget);
    check_text_size(result.size());
  }
  return result;
}

/// What stands for an added token in the text that is searched for it.
std::vector<std::string> added_texts(const std::vector<AddedToken>& tokens,
                                     const Normalizers& normalizers) {
  std::vector<std::string> texts;
  for (const AddedToken& token : tokens) {
    StepBudget budget(token.content.size());
    texts.push_back(token.normalized ? normalize(normalizers, token.content, budget)
                                     : token.content);
  }
  return texts;
}

Bpe make_bpe(TokenizerFile& file, const JsonField& model) {
  const JsonField type = model.at("type");
  // The oldest files do not name the type.
  if (!(type.is_null() && file.has_merges) && type.string() != "BPE") {
    type.refuse(cat("unknown model \"", shortened(type.string()), "\", known is BPE"));
  }
  if (!file.has_vocabulary) model.at("vocab").refuse("expected an object of tokens and ids");
  if (!file.has_merges) model.at("merges").refuse("expected a list of pairs");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const JsonField affix = model.at(key);
    if (!affix.is_null() && !affix.string().empty()) {
      affix.refuse(cat("\"", shortened(affix.string()), "\" is not supported"));
    }
  }
  const Json& dropout = model.at("dropout").value();
  if (!dropout.is_null() && dropout != 0) {
    model.at("dropout").refuse("makes encoding random, expected null or 0");
  }
  Bpe::Options options;
  if (const JsonField unknown = model.at("unk_token"); !unknown.is_null()) {
    options.unknown_token = unknown.string();
  }
  options.fuse_unknown = model.at("fuse_unk").boolean_or(false);
  options.byte_fallback = model.at("byte_fallback").boolean_or(false);
  options.ignore_merges = model.at("ignore_merges").boolean_or(false);
  return Bpe(Vocabulary(std::move(file.vocabulary), model.path() + ".vocab"), file.merges, options,
             model.path());
}

}  // namespace

struct Tokenizer::Model {
  Model(TokenizerFile& file, const std::string& name);

  /// What one call of encode() works with.
  struct Encoding {
    StepBudget budget;
    Bpe::Scratch scratch;
    std::vector<std::int32_t> ids;
  };

  std::optional<std::string_view> token_of(std::int32_t id) const;
  bool is_special(std::int32_t id) const;
  void index_added_tokens(const std::string& name);
  void encode_section(std::string_view text, bool begins_input, Encoding& encoding) const;
  void encode_plain(std::string_view text, bool begins_input, Encoding& encoding) const;

  Bpe bpe;
  std::vector<AddedToken> added_tokens;
  std::unordered_map<std::string_view, std::int32_t> added_ids;  // by content, inside added_tokens
  std::vector<std::int32_t> added_of_id;                         // index in added_tokens, -1: none
  Normalizers normalizers;
  std::vector<std::string> added_texts;  // as the decoder sees them: normalized where they are so
  std::vector<std::unique_ptr<PreTokenizer>> pre_tokenizers;
  SpecialTokenFrame frame;
  AddedTokenFinder raw_finder;         // in the text as given
  AddedTokenFinder normalized_finder;  // in the normalized text
  std::optional<Decoder> decoder;
};

Tokenizer::Model::Model(TokenizerFile& file, const std::string& name)
    : bpe(make_bpe(file, JsonField(file.rest, name + ": ").at("model"))),
      added_tokens(read_added_tokens(JsonField(file.rest, name + ": ").at("added_tokens"))),
      normalizers(make_normalizers(JsonField(file.rest, name + ": ").at("normalizer"))),
      added_texts(text::added_texts(added_tokens, normalizers)),
      pre_tokenizers(make_pre_tokenizers(JsonField(file.rest, name + ": ").at("pre_tokenizer"))),
      frame(read_post_processor(JsonField(file.rest, name + ": ").at("post_processor"))),
      raw_finder(added_tokens, added_texts, false),
      normalized_finder(added_tokens, added_texts, true) {
  index_added_tokens(name);
  decoder.emplace(JsonField(file.rest, name + ": ").at("decoder"),
                  static_cast<std::int32_t>(added_of_id.size()),
                  [this](std::int32_t id) -> std::optional<std::string_view> {
                    if (added_of_id[id] >= 0) return added_texts[added_of_id[id]];
                    return bpe.vocabulary().token(id);
                  });
}

void Tokenizer::Model::index_added_tokens(const std::string& name) {
  added_of_id.assign(bpe.vocabulary().num_ids(), -1);
  for (std::size_t idx = 0; idx < added_tokens.size(); ++idx) {
    const AddedToken& token = added_tokens[idx];
    if (token.id >= static_cast<std::int32_t>(added_of_id.size()))
      added_of_id.resize(token.id + 1, -1);
    const auto other_token = token_of(token.id);
    const auto other_id = added_ids.contains(token.content)
                              ? std::optional(added_ids.at(token.content))
                              : bpe.vocabulary().find(token.content);
    if (other_id.value_or(token.id) != token.id ||
        other_token.value_or(token.content) != token.content) {
      fail(ErrorKind::checkpoint,
           cat(name, ": added_tokens[", idx, "]: \"", shortened(token.content), "\" with id ",
               token.id, " contradicts another token: ",
               other_id.value_or(token.id) != token.id
                   ? cat("it has id ", *other_id, " already")
                   : cat("that id is \"", shortened(*other_token), "\"")));
    }
    added_ids.emplace(token.content, token.id);
    added_of_id[token.id] = static_cast<std::int32_t>(idx);
  }
}

std::optional<std::string_view> Tokenizer::Model::token_of(std::int32_t id) const {
  if (id >= 0 && id < static_cast<std::int32_t>(added_of_id.size()) && added_of_id[id] >= 0) {
    return added_tokens[added_of_id[id]].content;
  }
  return bpe.vocabulary().token(id);
}

bool Tokenizer::Model::is_special(std::int32_t id) const {
  return id >= 0 && id < static_cast<std::int32_t>(added_of_id.size()) && added_of_id[id] >= 0 &&
         added_tokens[added_of_id[id]].special;
}

void Tokenizer::Model::encode_section(std::string_view text, bool begins_input,
                                      Encoding& encoding) const {
  std::string normalized;
  if (!normalizers.empty()) {
    normalized = normalize(normalizers, text, encoding.budget);
    text = normalized;
  }
  if (normalized_finder.is_empty()) return encode_plain(text, begins_input, encoding);
  std::vector<AddedTokenFinder::Section> sections;
  normalized_finder.find(text, sections);
  for (const auto& section : sections) {
    if (section.id >= 0) {
      encoding.ids.push_back(section.id);
    } else {
      encode_plain(text.substr(section.begin, section.end - section.begin),
                   begins_input && section.begin == 0, encoding);
    }
  }
}

void Tokenizer::Model::encode_plain(std::string_view text, bool begins_input,
                                    Encoding& encoding) const {
  if (text.empty()) return;
  PreTokenized section;
  section.text = text;
  section.pieces.push_back({0, text.size()});
  section.begins_input = begins_input;
  for (const auto& step : pre_tokenizers) step->apply(section, encoding.budget);
  for (const auto& piece : section.pieces) {
    bpe.encode(section.text.substr(piece.begin, piece.end - piece.begin), section.is_byte_level,
               encoding.scratch, encoding.ids);
  }
}

Tokenizer::Tokenizer(std::unique_ptr<const Model> model) : model_(std::move(model)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::string& model_dir) {
  const std::string path = model_dir + "/tokenizer.json";
  return parse(read_file(path), path);
}

Tokenizer Tokenizer::parse(std::string_view json, const std::string& name) {
  TokenizerFile file = read_tokenizer_file(json, name);
  // Truncation and padding, which the file may ask for, are up to the caller.
  try {
    return Tokenizer(std::make_unique<const Model>(file, name));
  } catch (const Error& error) {
    // The file's own tokens exceed the limits on texts.
    if (error.kind() != ErrorKind::input) throw;
    fail(ErrorKind::checkpoint, cat(name, ": ", error.what()));
  }
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  check_text_size(text.size());
  if (const auto offset = invalid_utf8_offset(text)) {
    fail(ErrorKind::input, cat("the text is not UTF-8 at byte ", *offset));
  }
  Model::Encoding encoding{StepBudget(text.size()), {}, {}};
  // Room that is not used costs no memory where it matters, in a long text; growing would.
  encoding.ids.reserve(text.size() / 2 + 8);
  if (add_special_tokens) {
    encoding.ids.insert(encoding.ids.end(), model_->frame.before.begin(),
                        model_->frame.before.end());
  }
  std::vector<AddedTokenFinder::Section> sections;
  model_->raw_finder.find(text, sections);
  for (const auto& section : sections) {
    if (section.id >= 0) {
      encoding.ids.push_back(section.id);
    } else {
      model_->encode_section(text.substr(section.begin, section.end - section.begin),
                             section.begin == 0, encoding);
    }
  }
  if (add_special_tokens) {
    const auto& behind = model_->frame.behind;
    encoding.ids.insert(encoding.ids.end(), behind.begin(), behind.end());
  }
  encoding.ids.shrink_to_fit();
  return std::move(encoding.ids);
}

std::string Tokenizer::decode(const std::vector<std::int32_t>& ids,
                              bool skip_special_tokens) const {
  DecoderState state;
  std::string text;
  for (const std::int32_t id : ids) {
    if (!skip_special_tokens || !model_->is_special(id)) model_->decoder->push(id, state, text);
  }
  model_->decoder->finish(state, text);
  return text;
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  if (const auto found = model_->added_ids.find(token); found != model_->added_ids.end()) {
    return found->second;
  }
  return model_->bpe.vocabulary().find(token);
}

std::int32_t Tokenizer::num_tokens() const {
  return static_cast<std::int32_t>(model_->added_of_id.size());
}

TextStream::TextStream(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

std::string TextStream::push(std::int32_t id) {
  if (!tokenizer_->model_->is_special(id)) {
    tokenizer_->model_->decoder->push(id, state_, pending_);
  }
  return take_complete(false);
}

std::string TextStream::finish() {
  tokenizer_->model_->decoder->finish(state_, pending_);
  return take_complete(true);
}

std::string TextStream::take_complete(bool is_end) {
  const std::size_t num_bytes = is_end ? pending_.size() : complete_utf8_bytes(pending_);
  std::string text = pending_.substr(0, num_bytes);
  pending_.erase(0, num_bytes);
  return text;
}

}  // namespace trireme::text
