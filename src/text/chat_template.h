#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace trireme::text {

/// What one rendering needs beside the messages.
struct ChatOptions {
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  Json tools = nullptr;      ///< null: not given
  Json documents = nullptr;  ///< null: not given
  Json kwargs = nullptr;     ///< chat_template_kwargs: an object or null; its names win
};

/// A model's own chat template (Jinja), parsed once. Immutable after loading; threads may share it.
class ChatTemplate {
 public:
  /// Finds the template of a model folder: chat_template.jinja, else chat_template in
  /// tokenizer_config.json (a string, or a list of {name, template}: "default"; "tool_use" where
  /// tools are given). bos_token and eos_token come from tokenizer_config.json (string or
  /// {content}). None if the model has no template. A template that cannot be parsed is kept with
  /// its error, which every rendering throws. Throws Error(checkpoint) if a file cannot be read.
  static std::optional<ChatTemplate> load(const std::string& model_dir);

  /// From the source alone. Errors name line and construct; `name` is what they call the template.
  static ChatTemplate parse(std::string_view source, const std::string& name,
                            std::optional<std::string> bos_token,
                            std::optional<std::string> eos_token);

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// Why no rendering at all can succeed (file, line, construct); empty if some can.
  std::string error() const;

  /// The prompt text of `messages` (a JSON array), prepared and rendered as transformers does.
  /// `unix_time` is what strftime_now tells (local time). Throws Error(input): the template's own
  /// refusal with its words, anything it cannot do by name and line, a limit that is exceeded.
  std::string render(const Json& messages, const ChatOptions& options,
                     std::int64_t unix_time) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace trireme::text
