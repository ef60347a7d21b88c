#include "io/prompt_import.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/nearest.h"
#include "io/file_system.h"
#include "io/line_reader.h"
#include "io/prompt_schema.h"
#include "io/prompt_writer.h"
#include "io/row_options.h"

namespace trireme::io {
namespace {

constexpr std::array<std::string_view, 3> kUrls = {"/v1/chat/completions", "/v1/completions",
                                                   "/v1/responses"};

const OptionField* find_option(std::string_view name) {
  const auto fields = option_fields();
  const auto found = std::find_if(fields.begin(), fields.end(),
                                  [&](const OptionField& field) { return name == field.name; });
  return found == fields.end() ? nullptr : &*found;
}

// One line taken apart.
struct Line {
  Json custom_id = nullptr;  // a string, an integer or null
  Json domain = nullptr;     // a string or null
  Json request;              // an object: prompt and options
  bool is_batch = false;
};

Json take_key(Json& object, const char* name) {
  if (!object.contains(name)) return nullptr;
  Json value = object[name];
  object.erase(name);
  return value;
}

Line take_apart(const std::string& text, const std::string& place) {
  Json object = parse_json(text, place);
  if (!object.is_object()) {
    fail(ErrorKind::input, cat(place, ": is ", shown(object), ", expected an object"));
  }
  Line line;
  line.custom_id = take_key(object, "custom_id");
  if (!line.custom_id.is_null() && !line.custom_id.is_string() &&
      !line.custom_id.is_number_integer()) {
    fail(ErrorKind::input,
         cat(place, ": custom_id is ", shown(line.custom_id), ", expected a string or an integer"));
  }
  line.is_batch = object.contains("body");
  if (!line.is_batch) {
    line.domain = take_key(object, "domain");
    if (line.domain.is_number_integer()) line.domain = line.domain.dump();
    if (!line.domain.is_null() && !line.domain.is_string()) {
      fail(ErrorKind::input, cat(place, ": domain is ", shown(line.domain), ", expected a string"));
    }
    line.request = std::move(object);
    return line;
  }
  const Json url = object.value("url", Json(kUrls[0]));
  if (std::find(kUrls.begin(), kUrls.end(), url) == kUrls.end()) {
    fail(ErrorKind::input, cat(place, ": url is ", shown(url), ", expected ", kUrls[0], ", ",
                               kUrls[1], " or ", kUrls[2]));
  }
  line.request = object["body"];
  return line;
}

// Visits a line with its number.
using Visit = std::function<void(Line line, std::int64_t number)>;

std::string place_of(const std::string& path, std::int64_t number) {
  return cat(path, ":", number);
}

void for_each_line(const std::string& path, const Visit& visit) {
  LineReader reader(path);
  while (const std::optional<std::string> text = reader.next()) {
    if (text->find_first_not_of(" \t") == std::string::npos) continue;
    visit(take_apart(*text, reader.place()), reader.line_number());
  }
}

// The lines with these ids; 16 bytes a line.
class IdList {
 public:
  void add(const Json& id, std::int64_t number) {
    if (!id.is_null() && id != "") ids_.emplace_back(hash_of(id), number);
  }

  // Throws if two lines of the file have the same id.
  void check_unique(const std::string& path) {
    std::sort(ids_.begin(), ids_.end());
    for (std::size_t i = 1; i < ids_.size(); ++i) {
      if (ids_[i].first != ids_[i - 1].first) continue;
      // Equal hashes need not mean equal ids.
      const Json first = id_at(path, ids_[i - 1].second);
      const Json second = id_at(path, ids_[i].second);
      if (text_of(first) != text_of(second)) continue;
      fail(ErrorKind::input,
           cat(place_of(path, ids_[i].second), ": custom_id ", shown(second), " is that of line ",
               ids_[i - 1].second, " too, ids must be unique",
               first == second ? "" : "; numbers beside texts count as texts"));
    }
  }

 private:
  // As the column will hold it: numbers beside texts become texts.
  static std::string text_of(const Json& id) {
    return id.is_string() ? id.get<std::string>() : id.dump();
  }
  static std::uint64_t hash_of(const Json& id) { return std::hash<std::string>()(text_of(id)); }

  static Json id_at(const std::string& path, std::int64_t number) {
    LineReader reader(path);
    std::optional<std::string> text = reader.next();
    while (text && reader.line_number() < number) text = reader.next();
    return text ? take_apart(*text, reader.place()).custom_id : Json(nullptr);
  }

  std::vector<std::pair<std::uint64_t, std::int64_t>> ids_;  // hash, line number
};

// What all lines have in common, which decides about the form of the file.
class Survey {
 public:
  void add(const Line& line, const std::string& place) {
    const bool has_id = !line.custom_id.is_null();
    if (num_lines_ > 0 && has_id != has_ids_) {
      fail(ErrorKind::input, cat(place, has_id ? ": has a custom_id, lines before it have none"
                                               : ": has no custom_id, lines before it have one"));
    }
    has_ids_ = has_id;
    ids_are_strings_ = ids_are_strings_ || line.custom_id.is_string();
    has_domains_ = has_domains_ || !line.domain.is_null();
    is_uniform_ = is_uniform_ && !line.is_batch && line.request.is_object();
    if (is_uniform_) compare_keys(line.request);
    ++num_lines_;
  }

  PromptSource source() const {
    if (!is_uniform_ || !prompt_key_) return PromptSource::requests;
    return *prompt_key_ == "prompt" ? PromptSource::bytes : PromptSource::messages;
  }
  bool has_ids() const { return has_ids_; }
  bool ids_are_strings() const { return ids_are_strings_; }
  bool has_domains() const { return has_domains_; }
  std::int64_t num_lines() const { return num_lines_; }
  const std::string& prompt_key() const { return *prompt_key_; }
  const std::set<std::string>& columns() const { return *columns_; }

 private:
  void compare_keys(const Json& request) {
    std::set<std::string> columns;
    std::optional<std::string> prompt_key;
    RowOptions options;
    for (const auto& [name, value] : request.items()) {
      const bool is_prompt = name == "prompt" && value.is_string();
      const bool is_messages = name == "messages" && check_messages(value).empty();
      if (is_prompt || is_messages) {
        is_uniform_ = is_uniform_ && !prompt_key;
        prompt_key = name;
      } else if (find_option(name) != nullptr) {
        is_uniform_ = is_uniform_ && set_option(options, name, value).empty();
        columns.insert(name);
      } else if (name == "prompt" || name == "messages" || name == "input" ||
                 name == "max_completion_tokens" || name == "top_logprobs") {
        is_uniform_ = false;
      }
    }
    is_uniform_ = is_uniform_ && prompt_key &&
                  (num_lines_ == 0 || (prompt_key == prompt_key_ && columns == columns_));
    prompt_key_ = prompt_key;
    columns_ = columns;
  }

  std::int64_t num_lines_ = 0;
  bool has_ids_ = false, ids_are_strings_ = false, has_domains_ = false, is_uniform_ = true;
  std::optional<std::string> prompt_key_;
  std::optional<std::set<std::string>> columns_;
};

// The value that a column of this option holds.
Json column_value(const OptionField& field, const Json& value) {
  if (field.kind == OptionKind::json) return value.dump();
  if (std::string_view(field.name) == "logprobs" && value.is_boolean())
    return value.get<bool>() ? 0 : -1;
  return value;
}

// Leaves only what a request can hold; tells each key that goes once.
void drop_unknown_keys(Json& request, std::set<std::string>& told,
                       std::vector<std::string>& warnings) {
  static const std::vector<std::string> kOthers = {
      "prompt",      "messages", "input", "model", "user", "metadata", "max_completion_tokens",
      "top_logprobs"};
  std::vector<std::string> unknown;
  for (const auto& [name, value] : request.items()) {
    if (find_option(name) != nullptr) continue;
    if (std::find(kOthers.begin(), kOthers.end(), name) == kOthers.end()) unknown.push_back(name);
  }
  for (const std::string& name : unknown) {
    request.erase(name);
    if (!told.insert(name).second) continue;
    std::vector<std::string> known = kOthers;
    for (const OptionField& field : option_fields()) known.emplace_back(field.name);
    const std::string nearest = nearest_name(name, known);
    warnings.push_back(cat("key \"", name, "\" is unknown and was left out",
                           nearest.empty() ? "" : cat("; did you mean ", nearest, "?")));
  }
}

// A batch has nobody to stream to: the request is good all the same, in lines of both forms.
void warn_of_streaming(Json& request, std::set<std::string>& told,
                       std::vector<std::string>& warnings) {
  if (!request.is_object()) return;
  const bool asks = request.value("stream", Json(false)) == true;
  request.erase("stream");
  request.erase("stream_options");
  if (asks && told.insert("stream").second) {
    warnings.push_back("key \"stream\" was left out: results are written when they are whole");
  }
}

void write_line(const Survey& survey, Line& line, PromptWriter& writer) {
  if (survey.has_ids()) {
    const bool as_text = survey.ids_are_strings() && !line.custom_id.is_string();
    writer.set_column("custom_id", as_text ? Json(line.custom_id.dump()) : line.custom_id);
  }
  if (survey.has_domains())
    writer.set_column("domain", line.domain.is_null() ? Json("") : line.domain);
  if (survey.source() == PromptSource::requests) return writer.add(line.request.dump());
  for (const std::string& name : survey.columns()) {
    writer.set_column(name, column_value(*find_option(name), line.request[name]));
  }
  const Json& prompt = line.request[survey.prompt_key()];
  writer.add(prompt.is_string() ? prompt.get<std::string>() : prompt.dump());
}

}  // namespace

ImportReport import_text(const std::string& text_path, const std::string& prompt_path) {
  LineReader reader(text_path);
  PromptWriter writer = PromptWriter::create(prompt_path, PromptSource::bytes);
  ImportReport report;
  report.source = object_name(PromptSource::bytes);
  while (const std::optional<std::string> line = reader.next()) {
    writer.add(*line);
    ++report.num_rows;
  }
  if (report.num_rows == 0) fail(ErrorKind::input, cat(text_path, ": holds no line"));
  writer.finish();
  return report;
}

ImportReport import_jsonl(const std::string& json_path, const std::string& prompt_path) {
  open_regular_file(json_path);  // nothing else can be read twice
  Survey survey;
  IdList ids;
  for_each_line(json_path, [&](const Line& line, std::int64_t number) {
    survey.add(line, place_of(json_path, number));
    ids.add(line.custom_id, number);
  });
  ids.check_unique(json_path);
  if (survey.num_lines() == 0) fail(ErrorKind::input, cat(json_path, ": holds no prompt"));

  PromptWriter writer = PromptWriter::create(prompt_path, survey.source());
  ImportReport report;
  report.num_rows = survey.num_lines();
  report.source = object_name(survey.source());
  std::set<std::string> told;
  for_each_line(json_path, [&](Line line, std::int64_t) {
    warn_of_streaming(line.request, told, report.warnings);
    if (!line.is_batch) drop_unknown_keys(line.request, told, report.warnings);
    write_line(survey, line, writer);
  });
  writer.finish();
  return report;
}

}  // namespace trireme::io
