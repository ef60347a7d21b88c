#include "io/prompt_schema.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/nearest.h"
#include "io/column_cache.h"
#include "io/row_options.h"

namespace trireme::io {
namespace {

constexpr std::uint64_t kMaxRows = std::uint64_t{1} << 32;
constexpr std::uint64_t kMaxChunkBytes = std::uint64_t{256} << 20;
constexpr std::array<const char*, 5> kOtherColumns = {"custom_id", "domain", "status", "error",
                                                      "options"};
constexpr std::array<const char*, 4> kSources = {"prompt", "messages", "request", "input_ids"};

bool is_string(ElementKind kind) {
  return kind == ElementKind::vlen_string || kind == ElementKind::fixed_string;
}

const OptionField* find_option(const std::string& name) {
  const auto fields = option_fields();
  const auto found = std::find_if(fields.begin(), fields.end(),
                                  [&](const OptionField& field) { return name == field.name; });
  return found == fields.end() ? nullptr : &*found;
}

bool is_column(const std::string& name) {
  return find_option(name) != nullptr ||
         std::find(kOtherColumns.begin(), kOtherColumns.end(), name) != kOtherColumns.end();
}

std::vector<std::string> known_names() {
  std::vector<std::string> names(kSources.begin(), kSources.end());
  names.insert(names.end(), kOtherColumns.begin(), kOtherColumns.end());
  for (const OptionField& field : option_fields()) names.emplace_back(field.name);
  return names;
}

// What is shared by all datasets of the file: nothing leads out of it, nothing is outsized.
void check_dataset(const Hdf5Dataset& dataset, bool allow_links) {
  const DatasetInfo& info = dataset.info();
  if ((info.is_external || info.is_virtual) && !allow_links) {
    fail(ErrorKind::input, cat(dataset.name(), ": its data lie in other files (",
                               info.is_virtual ? "virtual dataset" : "external storage",
                               "); allow that with --allow-links"));
  }
  if (info.shape.size() != 1) {
    fail(ErrorKind::input, cat(dataset.name(), ": has ", info.shape.size(),
                               " dimensions, expected 1: one value a row"));
  }
  if (info.chunk_bytes > kMaxChunkBytes) {
    fail(ErrorKind::input, cat(dataset.name(), ": has chunks of ", info.chunk_bytes,
                               " bytes, at most ", kMaxChunkBytes, " are read"));
  }
  if (!is_string(info.kind) && info.element_bytes > 8) {
    fail(ErrorKind::input,
         cat(dataset.name(), ": is ", info.type_name, ", expected at most 64 bits"));
  }
  if (info.kind == ElementKind::fixed_string && info.element_bytes > kMaxRowBytes) {
    fail(ErrorKind::input, cat(dataset.name(), ": has strings of ", info.element_bytes,
                               " bytes, at most ", kMaxRowBytes, " are read"));
  }
}

void expect_type(const Hdf5Dataset& dataset, bool is_right, std::string_view what) {
  if (is_right) return;
  fail(ErrorKind::input,
       cat(dataset.name(), ": is of type ", dataset.info().type_name, ", expected ", what));
}

class SchemaBuilder {
 public:
  SchemaBuilder(const std::string& path, bool allow_links)
      : schema_{Hdf5File::open(path)}, path_(path), allow_links_(allow_links) {}

  PromptSchema build() && {
    check_schema_attributes();
    std::vector<LinkInfo> root = links_of("/");
    find_source(root);
    for (const LinkInfo& link : root) {
      if (link.name != object_) take_column(link.name);
    }
    take_defaults();
    return std::move(schema_);
  }

 private:
  std::vector<LinkInfo> links_of(const std::string& group) {
    std::vector<LinkInfo> links = schema_.file.links(group);
    for (const LinkInfo& link : links) {
      if (link.kind == LinkInfo::Kind::hard || allow_links_) continue;
      fail(ErrorKind::input,
           cat(path_, ": ", group == "/" ? "" : group, "/", link.name, ": is ",
               link.kind == LinkInfo::Kind::soft ? "a soft link" : "a link into another file",
               ", which may read any file; allow that with --allow-links"));
    }
    return links;
  }

  Hdf5Dataset checked_dataset(const std::string& object) {
    Hdf5Dataset dataset = schema_.file.dataset(object);
    check_dataset(dataset, allow_links_);
    return dataset;
  }

  void check_schema_attributes() {
    const std::vector<std::string> names = schema_.file.attribute_names("/");
    const auto has = [&](const char* name) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    if (has("schema") && schema_.file.attribute("/", "schema") != "trireme.prompts") {
      fail(ErrorKind::input,
           cat(path_, ": attribute schema is ", shown(schema_.file.attribute("/", "schema")),
               ", expected \"trireme.prompts\""));
    }
    if (!has("schema_version")) return;
    const Json version = schema_.file.attribute("/", "schema_version");
    const bool is_known =
        version.is_string() && (version == "1" || version.get<std::string>().starts_with("1."));
    if (!is_known) {
      fail(ErrorKind::input, cat(path_, ": attribute schema_version is ", shown(version),
                                 ", expected \"1.\" something"));
    }
  }

  void find_source(const std::vector<LinkInfo>& root) {
    const LinkInfo* found = nullptr;
    for (const LinkInfo& link : root) {
      if (std::find(kSources.begin(), kSources.end(), link.name) == kSources.end()) continue;
      if (found != nullptr) {
        fail(ErrorKind::input,
             cat(path_, ": holds both /", found->name, " and /", link.name,
                 ", expected exactly one of /prompt, /messages, /request, /input_ids"));
      }
      found = &link;
    }
    if (found == nullptr) {
      fail(ErrorKind::input,
           cat(path_, ": holds none of /prompt, /messages, /request, /input_ids, expected one"));
    }
    object_ = found->name;
    if (is_group(*found)) {
      take_flat_source();
    } else {
      take_string_source();
    }
    check_num_rows();
  }

  bool is_group(const LinkInfo& link) const {
    if (link.kind == LinkInfo::Kind::hard) return link.target == LinkInfo::Target::group;
    return schema_.file.has_group("/" + link.name);
  }

  void take_string_source() {
    if (object_ == "input_ids") {
      fail(ErrorKind::input, cat(path_,
                                 ": /input_ids: is no group, expected one that holds data "
                                 "(all token ids) and offsets (rows + 1)"));
    }
    schema_.source = object_ == "prompt"     ? PromptSource::strings
                     : object_ == "messages" ? PromptSource::messages
                                             : PromptSource::requests;
    schema_.prompts = checked_dataset("/" + object_);
    expect_type(*schema_.prompts, is_string(schema_.prompts->info().kind), "strings");
    schema_.num_rows = bounded_rows(schema_.prompts->num_rows());
    if (schema_.num_rows > 0 && schema_.prompts->info().storage_bytes == 0 &&
        !schema_.prompts->info().is_virtual && !schema_.prompts->info().is_external) {
      fail(ErrorKind::input, cat(schema_.prompts->name(), ": declares ", schema_.num_rows,
                                 " rows, but none was ever written"));
    }
  }

  void take_flat_source() {
    if (object_ != "prompt" && object_ != "input_ids") {
      fail(ErrorKind::input, cat(path_, ": /", object_, ": is a group, expected one string a row"));
    }
    links_of("/" + object_);
    schema_.prompts = checked_dataset("/" + object_ + "/data");
    schema_.offsets = checked_dataset("/" + object_ + "/offsets");
    const DatasetInfo& data = schema_.prompts->info();
    if (object_ == "prompt") {
      schema_.source = PromptSource::bytes;
      expect_type(*schema_.prompts, data.kind == ElementKind::integer && data.element_bytes == 1,
                  "uint8");
    } else {
      schema_.source = PromptSource::token_ids;
      expect_type(*schema_.prompts, data.kind == ElementKind::integer, "int32 or uint32");
    }
    expect_type(*schema_.offsets, schema_.offsets->info().kind == ElementKind::integer, "int64");
    if (schema_.offsets->num_rows() == 0) {
      fail(ErrorKind::input, cat(schema_.offsets->name(), ": is empty, expected rows + 1 offsets"));
    }
    schema_.num_rows = bounded_rows(schema_.offsets->num_rows() - 1);
  }

  std::int64_t bounded_rows(std::uint64_t rows) const {
    if (rows > kMaxRows) {
      fail(ErrorKind::input, cat(path_, ": /", object_, ": declares ", rows, " rows, at most ",
                                 kMaxRows, " are read"));
    }
    return static_cast<std::int64_t>(rows);
  }

  void check_num_rows() const {
    if (schema_.num_rows == 0) {
      fail(ErrorKind::input, cat(path_, ": /", object_, ": holds no prompts (0 rows)"));
    }
  }

  void take_column(const std::string& name) {
    if (!is_column(name)) {
      const std::string nearest = nearest_name(name, known_names());
      schema_.warnings.push_back(cat(path_, ": /", name, ": unknown column, ignored",
                                     nearest.empty() ? "" : cat("; did you mean ", nearest, "?")));
      return;
    }
    Hdf5Dataset column = checked_dataset("/" + name);
    check_column_type(name, column);
    if (column.num_rows() != static_cast<std::uint64_t>(schema_.num_rows)) {
      fail(ErrorKind::input, cat(column.name(), ": has ", column.num_rows(), " rows, expected ",
                                 schema_.num_rows, " as in /", object_));
    }
    schema_.columns.emplace(name, std::move(column));
  }

  static void check_column_type(const std::string& name, const Hdf5Dataset& column) {
    const ElementKind kind = column.info().kind;
    const bool is_integer = kind == ElementKind::integer;
    const bool is_flag = is_integer || kind == ElementKind::boolean;
    if (name == "custom_id" || name == "domain") {
      return expect_type(column, is_integer || is_string(kind), "strings or int64");
    }
    if (name == "status") return expect_type(column, is_integer, "uint8");
    if (name == "error" || name == "options") {
      return expect_type(column, is_string(kind), "strings");
    }
    switch (find_option(name)->kind) {
      case OptionKind::integer:
        return expect_type(column, name == "logprobs" ? is_flag : is_integer, "integers");
      case OptionKind::number:
        return expect_type(column, is_integer || kind == ElementKind::floating, "floats");
      case OptionKind::flag:
        return expect_type(column, is_flag, "booleans");
      case OptionKind::json:
        return expect_type(column, is_string(kind), "strings that hold JSON");
    }
  }

  void take_defaults() {
    for (const std::string& name : schema_.file.attribute_names("/")) {
      const Json value = is_column(name) ? schema_.file.attribute("/", name) : Json(nullptr);
      if (name == "domain") {
        schema_.default_domain = value.is_string() ? value.get<std::string>() : value.dump();
      }
      const OptionField* field = find_option(name);
      if (field != nullptr) take_default(*field, value);
      if (field != nullptr || is_column(name)) continue;
      const std::string nearest = nearest_name(name, known_names());
      if (nearest.empty()) continue;
      schema_.warnings.push_back(
          cat(path_, ": attribute ", name, ": unknown, ignored; did you mean ", nearest, "?"));
    }
    const std::string wrong = check_options(schema_.defaults);
    if (!wrong.empty()) fail(ErrorKind::input, cat(path_, ": attributes: ", wrong));
  }

  void take_default(const OptionField& field, Json value) {
    const std::string what = cat(path_, ": attribute ", field.name);
    if (value.is_null()) {
      const std::int64_t count = schema_.file.num_attribute_values("/", field.name);
      fail(ErrorKind::input,
           count == 1 ? cat(what, ": is of a type that is not read, expected a number or a string")
                      : cat(what, ": has ", count, " values, expected one for all rows"));
    }
    if (field.kind == OptionKind::json) {
      if (!value.is_string())
        fail(ErrorKind::input, cat(what, ": expected a string that holds JSON"));
      value = parse_json(value.get<std::string>(), what);
    }
    if (field.kind == OptionKind::flag && (value == 0 || value == 1)) value = value == 1;
    const std::string wrong = set_option(schema_.defaults, field.name, value);
    if (!wrong.empty()) fail(ErrorKind::input, cat(what, ": ", wrong));
  }

  PromptSchema schema_;
  const std::string& path_;
  bool allow_links_;
  std::string object_;
};

}  // namespace

const char* object_name(PromptSource source) {
  switch (source) {
    case PromptSource::strings:
    case PromptSource::bytes:
      return "/prompt";
    case PromptSource::messages:
      return "/messages";
    case PromptSource::requests:
      return "/request";
    case PromptSource::token_ids:
      return "/input_ids";
  }
  return "/";
}

PromptSchema open_prompt_schema(const std::string& path, bool allow_links) {
  return SchemaBuilder(path, allow_links).build();
}

}  // namespace trireme::io
