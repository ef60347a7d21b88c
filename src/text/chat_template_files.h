#pragma once

#include <optional>
#include <string>

namespace trireme::text {

struct TemplateSource {
  std::string name;  ///< for errors
  std::string text;
};

/// Those that the tokenizer has.
struct SpecialTokens {
  std::optional<std::string> bos;
  std::optional<std::string> eos;
};

/// The chat templates of a model folder. Of a named list `default` is the standard one, `tool_use`
/// the one for rows with tools.
struct ChatTemplateFiles {
  std::string name;  ///< of the file that holds them
  std::optional<TemplateSource> standard;
  std::optional<TemplateSource> with_tools;
  SpecialTokens tokens;
};

/// Looks for chat_template.jinja, then for chat_template in tokenizer_config.json, which has the
/// tokens in any case. None if there is no template. Throws Error(checkpoint), naming file and key,
/// if a file cannot be read or a key has another type than it should.
std::optional<ChatTemplateFiles> find_chat_template(const std::string& model_dir);

}  // namespace trireme::text
