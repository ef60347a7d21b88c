#include "text/chat_template.h"

#include "base/error.h"
#include "text/chat_messages.h"
#include "text/chat_template_files.h"
#include "text/jinja_machine.h"
#include "text/jinja_program.h"

namespace trireme::text {
namespace {

// One template: its program, or why there is none. A template that cannot be read refuses the rows
// that use it, not the whole job.
struct Compiled {
  std::string name;
  bool says_content = false;
  jinja::Program program;
  std::string error;
};

Compiled compile_or_keep_error(const TemplateSource& source) {
  Compiled compiled{source.name, source.text.find("content") != std::string::npos, {}, {}};
  try {
    compiled.program = jinja::compile(source.text);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::input) throw;
    compiled.error = error.what();
  }
  return compiled;
}

// What chat_template_kwargs say of an argument of the rendering; null if nothing. They win.
const Json* find_kwarg(const Json& kwargs, const char* name) {
  if (!kwargs.is_object()) return nullptr;
  const auto found = kwargs.find(name);
  return found == kwargs.end() ? nullptr : &*found;
}

const Json& argument(const Json& kwargs, const char* name, const Json& otherwise) {
  const Json* value = find_kwarg(kwargs, name);
  return value == nullptr ? otherwise : *value;
}

bool flag(const Json& kwargs, const char* name, bool otherwise) {
  const Json* value = find_kwarg(kwargs, name);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) {
    fail(ErrorKind::input,
         cat("chat_template_kwargs: ", name, " is true or false, not ", value->type_name()));
  }
  return value->get<bool>();
}

void check_objects(const Json& list, const char* name) {
  if (list.is_null()) return;
  if (!list.is_array()) {
    fail(ErrorKind::input, cat(name, ": a list is expected, not ", list.type_name()));
  }
  for (const Json& item : list) {
    if (!item.is_object()) {
      fail(ErrorKind::input,
           cat(name, ": a list of objects is expected, one item is ", item.type_name()));
    }
  }
}

}  // namespace

struct ChatTemplate::Impl {
  const Compiled& choose(const Json& tools) const {
    return !tools.is_null() && with_tools ? *with_tools : standard;
  }
  void define_names(jinja::Machine& machine, jinja::Context& context, const ChatOptions& options,
                    const Json& messages) const;

  Compiled standard;
  std::optional<Compiled> with_tools;
  SpecialTokens tokens;
};

void ChatTemplate::Impl::define_names(jinja::Machine& machine, jinja::Context& context,
                                      const ChatOptions& options, const Json& messages) const {
  const auto define = [&](const std::string& name, const Json& value, const std::string& what) {
    machine.define(name, value_from_json(context, value, what));
  };
  machine.define("messages", prepare_messages(context, messages));
  define("tools", options.tools, "tools");
  define("documents", options.documents, "documents");
  define("add_generation_prompt", options.add_generation_prompt, "add_generation_prompt");
  if (tokens.bos) define("bos_token", *tokens.bos, "bos_token");
  if (tokens.eos) define("eos_token", *tokens.eos, "eos_token");
  if (options.kwargs.is_null()) return;
  for (const auto& [name, value] : options.kwargs.items()) {
    define(name, value, cat("chat_template_kwargs: ", name));
  }
}

ChatTemplate::ChatTemplate(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

std::optional<ChatTemplate> ChatTemplate::load(const std::string& model_dir) {
  auto files = find_chat_template(model_dir);
  if (!files) return std::nullopt;
  auto impl = std::make_unique<Impl>();
  impl->tokens = std::move(files->tokens);
  impl->standard =
      files->standard
          ? compile_or_keep_error(*files->standard)
          : Compiled{files->name, false, {}, "none of its templates is named 'default'"};
  if (files->with_tools) impl->with_tools = compile_or_keep_error(*files->with_tools);
  return ChatTemplate(std::move(impl));
}

ChatTemplate ChatTemplate::parse(std::string_view source, const std::string& name,
                                 std::optional<std::string> bos_token,
                                 std::optional<std::string> eos_token) {
  auto impl = std::make_unique<Impl>();
  impl->standard = compile_or_keep_error({name, std::string(source)});
  if (!impl->standard.error.empty()) {
    fail(ErrorKind::input, cat(name, ": ", impl->standard.error));
  }
  impl->tokens = {std::move(bos_token), std::move(eos_token)};
  return ChatTemplate(std::move(impl));
}

std::string ChatTemplate::error() const {
  if (impl_->with_tools && impl_->with_tools->error.empty()) return {};
  const Compiled& standard = impl_->standard;
  return standard.error.empty() ? std::string() : cat(standard.name, ": ", standard.error);
}

std::string ChatTemplate::render(const Json& messages, const ChatOptions& options,
                                 std::int64_t unix_time) const {
  const Json& kwargs = options.kwargs;
  if (!kwargs.is_null() && !kwargs.is_object()) {
    fail(ErrorKind::input,
         cat("chat_template_kwargs: an object is expected, not ", kwargs.type_name()));
  }
  const Json& tools = argument(kwargs, "tools", options.tools);
  check_objects(tools, "tools");
  check_objects(argument(kwargs, "documents", options.documents), "documents");
  const Compiled& chosen = impl_->choose(tools);
  if (!chosen.error.empty()) fail(ErrorKind::input, cat(chosen.name, ": ", chosen.error));

  const bool continues = flag(kwargs, "continue_final_message", options.continue_final_message);
  std::optional<Continuation> continuation;
  Json tagged;
  if (continues && messages.is_array() && !messages.empty()) {
    if (flag(kwargs, "add_generation_prompt", options.add_generation_prompt)) {
      fail(ErrorKind::input,
           "continue_final_message goes on with the last message, add_generation_prompt begins a "
           "new "
           "one: set one of them to false");
    }
    if (!chosen.says_content) {
      fail(ErrorKind::input,
           cat("continue_final_message: ", chosen.name, " does not use the 'content' of messages"));
    }
    tagged = messages;
    continuation.emplace(tagged);
  }

  jinja::Context context(unix_time);
  std::string rendered;
  jinja::Machine machine(chosen.program, context);
  impl_->define_names(machine, context, options, continuation ? tagged : messages);
  try {
    rendered = machine.run();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::input) throw;
    fail(ErrorKind::input, cat(chosen.name, ": ", error.what()), error.where());
  }
  return continuation ? continuation->cut(std::move(rendered)) : rendered;
}

}  // namespace trireme::text
