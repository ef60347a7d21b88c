#include "text/chat_template_files.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/json.h"

namespace trireme::text {
namespace {

constexpr std::uintmax_t kMaxFileBytes = std::uintmax_t{64} << 20;

// The whole file; none if it is not there.
std::optional<std::string> read_if_there(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return std::nullopt;
  const std::uintmax_t size = error ? 0 : std::filesystem::file_size(path, error);
  std::ifstream file;
  if (!error) file.open(path, std::ios::binary);  // what has no size may be waited for
  if (error || !file) fail(ErrorKind::checkpoint, cat(path, ": cannot be read"));
  if (size > kMaxFileBytes) {
    fail(ErrorKind::checkpoint,
         cat(path, ": ", size, " bytes, at most ", kMaxFileBytes, " are read"));
  }
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad() || bytes.size() != size) {
    fail(ErrorKind::checkpoint, cat(path, ": reading failed"));
  }
  return bytes;
}

// The value of a key; null if it is not there.
const Json& value_of(const Json& object, const char* key) {
  static const Json kNull;  // never changes
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::optional<std::string> token(const Json& config, const char* key, const std::string& path) {
  const Json* value = &value_of(config, key);
  if (value->is_object()) value = &value_of(*value, "content");
  if (value->is_null()) return std::nullopt;
  if (!value->is_string()) {
    fail(ErrorKind::checkpoint,
         cat(path, ": ", key, " is a text or an object with 'content', not ", value->type_name()));
  }
  return value->get<std::string>();
}

void read_named(const Json& list, const std::string& path, ChatTemplateFiles& files) {
  for (const Json& item : list) {
    const bool is_named = item.is_object() && value_of(item, "name").is_string() &&
                          value_of(item, "template").is_string();
    if (!is_named) {
      fail(ErrorKind::checkpoint,
           cat(path,
               ": each item of chat_template is an object with the texts 'name' and "
               "'template'"));
    }
    const auto name = item.find("name")->get<std::string>();
    TemplateSource source{cat(path, ": chat_template '", name, "'"),
                          item.find("template")->get<std::string>()};
    if (name == "default") files.standard = std::move(source);
    if (name == "tool_use") files.with_tools = std::move(source);
  }
}

void read_templates(const Json& value, const std::string& path, ChatTemplateFiles& files) {
  if (value.is_string()) {
    files.standard = TemplateSource{path + ": chat_template", value.get<std::string>()};
  } else if (value.is_array()) {
    read_named(value, path, files);
  } else {
    fail(ErrorKind::checkpoint,
         cat(path, ": chat_template is a text or a list of named ones, not ", value.type_name()));
  }
}

Json read_config(const std::string& path) {
  const auto bytes = read_if_there(path);
  if (!bytes) return Json::object();
  try {
    Json config = parse_json(*bytes, path);
    if (config.is_object()) return config;
  } catch (const Error& error) {
    fail(ErrorKind::checkpoint, error.what(), error.where());
  }
  fail(ErrorKind::checkpoint, cat(path, ": not a JSON object"));
}

}  // namespace

std::optional<ChatTemplateFiles> find_chat_template(const std::string& model_dir) {
  const std::string template_path = model_dir + "/chat_template.jinja";
  const std::string config_path = model_dir + "/tokenizer_config.json";
  const Json config = read_config(config_path);
  ChatTemplateFiles files;
  files.tokens = {token(config, "bos_token", config_path), token(config, "eos_token", config_path)};
  if (auto source = read_if_there(template_path)) {
    files.name = template_path;
    files.standard = TemplateSource{template_path, std::move(*source)};
    return files;
  }
  const Json& value = value_of(config, "chat_template");
  if (value.is_null()) return std::nullopt;
  files.name = config_path;
  read_templates(value, config_path, files);
  return files;
}

}  // namespace trireme::text
