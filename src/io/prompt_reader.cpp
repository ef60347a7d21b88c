#include "io/prompt_reader.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "io/column_cache.h"
#include "io/prompt_schema.h"
#include "io/request_parser.h"
#include "io/row_options.h"
#include "io/utf8.h"

namespace trireme::io {
namespace {

constexpr std::int64_t kMaxRowTokens = std::int64_t{1} << 24;
constexpr JsonLimits kJsonLimits = {std::size_t{16} << 20, 64, true};
constexpr std::uint64_t kLengthSliceRows = 4096;

// What is wrong with the text of a row; empty if nothing is.
std::string check_text(const std::string& text, bool may_hold_zero) {
  if (!may_hold_zero && text.find('\0') != std::string::npos) {
    return cat("a zero byte at byte ", text.find('\0'),
               "; such texts can only be given as /prompt/{data,offsets}");
  }
  if (const auto offset = invalid_utf8_offset(text)) return cat("bad UTF-8 at byte ", *offset);
  return {};
}

// A row's JSON, whose errors begin with no file name.
Json parse_row_json(const std::string& text) {
  try {
    return parse_json(text, "", kJsonLimits);
  } catch (const Error& error) {
    const std::string_view what = error.what();
    fail(error.kind(), std::string(what.starts_with(": ") ? what.substr(2) : what));
  }
}

std::string too_long() { return cat("longer than ", kMaxRowBytes, " bytes"); }

}  // namespace

struct PromptReader::Impl {
  Impl(std::string file_path, PromptSchema opened)
      : path(std::move(file_path)), schema(std::move(opened)) {
    if (schema.offsets) {
      data = std::move(*schema.prompts);
      offsets = std::make_unique<NumberCache<std::int64_t>>(std::move(*schema.offsets));
    } else {
      strings = std::make_unique<StringCache>(std::move(*schema.prompts));
    }
    for (auto& [name, dataset] : schema.columns) columns.emplace(name, std::move(dataset));
    schema.columns.clear();
  }

  PromptRow read_row(std::int64_t index);
  void take_identity(std::uint64_t row, PromptRow& into);
  std::string take_columns(std::uint64_t row, RowOptions& options);
  std::string take_option(const OptionField& field, ColumnCache& column, std::uint64_t row,
                          RowOptions& options);
  std::string take_options_object(ColumnCache& column, std::uint64_t row, RowOptions& options);
  std::string take_failure(std::uint64_t row);
  std::string take_prompt(std::uint64_t row, PromptRow& into);
  std::string take_flat(std::uint64_t row, PromptRow& into);
  std::string take_string(std::uint64_t row, PromptRow& into);
  std::string text_of(const char* column, std::uint64_t row);

  std::string path;
  PromptSchema schema;
  std::optional<Hdf5Dataset> data;
  std::unique_ptr<NumberCache<std::int64_t>> offsets;
  std::unique_ptr<StringCache> strings;
  std::map<std::string, ColumnCache> columns;
};

PromptRow PromptReader::Impl::read_row(std::int64_t index) {
  TRIREME_CHECK(index >= 0 && index < schema.num_rows, path, ", ", index);
  const auto row = static_cast<std::uint64_t>(index);
  PromptRow result;
  result.index = index;
  result.options = schema.defaults;
  take_identity(row, result);
  result.error = take_failure(row);
  if (result.error.empty()) result.error = take_columns(row, result.options);
  if (result.error.empty()) {
    const std::string wrong = take_prompt(row, result);
    if (!wrong.empty()) result.error = cat(object_name(schema.source), ": ", wrong);
  }
  if (result.error.empty()) result.error = check_options(result.options);
  return result;
}

// A column's value as text; empty if there is no such column.
std::string PromptReader::Impl::text_of(const char* column, std::uint64_t row) {
  const auto found = columns.find(column);
  if (found == columns.end()) return {};
  const std::optional<Json> value = found->second.at(row);
  if (!value) return too_long();
  return with_valid_utf8(value->is_string() ? value->get<std::string>() : value->dump());
}

void PromptReader::Impl::take_identity(std::uint64_t row, PromptRow& into) {
  into.domain = schema.default_domain;
  if (columns.contains("domain")) into.domain = text_of("domain", row);
  const auto found = columns.find("custom_id");
  if (found == columns.end()) return;
  const std::optional<Json> id = found->second.at(row);
  if (id && id->is_number_integer()) {
    into.custom_id = id->get<std::int64_t>();
  } else {
    into.custom_id = text_of("custom_id", row);
  }
}

// A row that an earlier step has marked as failed.
std::string PromptReader::Impl::take_failure(std::uint64_t row) {
  const auto found = columns.find("status");
  if (found == columns.end()) return {};
  const Json status = found->second.at(row).value_or(Json(nullptr));
  if (status == 0) return {};
  if (status != 1) return cat("/status: ", shown(status), ", expected 0 or 1");
  const std::string words = text_of("error", row);
  return words.empty() ? "/status says that the row failed, /error does not say why" : words;
}

std::string PromptReader::Impl::take_columns(std::uint64_t row, RowOptions& options) {
  for (const OptionField& field : option_fields()) {
    const auto found = columns.find(field.name);
    if (found == columns.end()) continue;
    const std::string wrong = take_option(field, found->second, row, options);
    if (!wrong.empty()) return cat("/", field.name, ": ", wrong);
  }
  const auto found = columns.find("options");
  if (found == columns.end()) return {};
  const std::string wrong = take_options_object(found->second, row, options);
  return wrong.empty() ? wrong : cat("/options: ", wrong);
}

// What `prompts tokenize` has kept of a request.
std::string PromptReader::Impl::take_options_object(ColumnCache& column, std::uint64_t row,
                                                    RowOptions& options) {
  const std::optional<Json> text = column.at(row);
  if (!text) return too_long();
  if (*text == "") return {};
  try {
    return parse_request_options(parse_row_json(text->get<std::string>()), options);
  } catch (const Error& error) {
    return error.what();
  }
}

std::string PromptReader::Impl::take_option(const OptionField& field, ColumnCache& column,
                                            std::uint64_t row, RowOptions& options) {
  std::optional<Json> value = column.at(row);
  if (!value) return too_long();
  if (field.kind == OptionKind::json) {
    const auto text = value->get<std::string>();
    if (text.empty()) return {};  // the row says nothing
    try {
      value = parse_row_json(text);
    } catch (const Error& error) {
      return error.what();
    }
  }
  if (field.kind == OptionKind::flag && (*value == 0 || *value == 1)) value = *value == 1;
  return set_option(options, field.name, *value);
}

std::string PromptReader::Impl::take_prompt(std::uint64_t row, PromptRow& into) {
  return offsets ? take_flat(row, into) : take_string(row, into);
}

std::string PromptReader::Impl::take_flat(std::uint64_t row, PromptRow& into) {
  const std::int64_t begin = offsets->at(row);
  const std::int64_t end = offsets->at(row + 1);
  // Opening may have checked the ends alone.
  if (begin < 0 || end < begin || static_cast<std::uint64_t>(end) > data->num_rows()) {
    return cat("offsets ", begin, " to ", end, " do not lie in the data");
  }
  const auto count = static_cast<std::uint64_t>(end - begin);
  if (schema.source == PromptSource::bytes) {
    if (count > kMaxRowBytes) return too_long();
    into.kind = PromptKind::text;
    into.text.resize(count);
    data->read(static_cast<std::uint64_t>(begin),
               std::span(reinterpret_cast<std::uint8_t*>(into.text.data()), count));
    return check_text(into.text, true);
  }
  if (count > static_cast<std::uint64_t>(kMaxRowTokens)) {
    return cat(count, " token ids, at most ", kMaxRowTokens, " are read");
  }
  into.kind = PromptKind::token_ids;
  const auto ids = data->read<std::int64_t>(static_cast<std::uint64_t>(begin), count);
  into.token_ids.reserve(count);
  for (const std::int64_t id : ids) {
    if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
      return cat("token id ", id, ", expected 0 to ", std::numeric_limits<std::int32_t>::max());
    }
    into.token_ids.push_back(static_cast<std::int32_t>(id));
  }
  return {};
}

std::string PromptReader::Impl::take_string(std::uint64_t row, PromptRow& into) {
  std::optional<std::string> text = strings->at(row);
  if (!text) return too_long();
  std::string wrong = check_text(*text, false);
  if (!wrong.empty()) return wrong;
  if (schema.source == PromptSource::strings) {
    into.kind = PromptKind::text;
    into.text = std::move(*text);
    return {};
  }
  try {
    Json json = parse_row_json(*text);
    if (schema.source == PromptSource::requests) return parse_request(json, into);
    into.kind = PromptKind::messages;
    into.messages = std::move(json);
    return check_messages(into.messages);
  } catch (const Error& error) {
    return error.what();
  }
}

PromptReader::PromptReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PromptReader::PromptReader(PromptReader&&) noexcept = default;
PromptReader& PromptReader::operator=(PromptReader&&) noexcept = default;
PromptReader::~PromptReader() = default;

PromptReader PromptReader::open(const std::string& path, const Options& options) {
  PromptSchema schema = open_prompt_schema(path, options.allow_links);
  if (schema.offsets) {
    check_offsets(*schema.offsets, schema.prompts->num_rows(), options.check_contents);
  }
  const auto ids = schema.columns.find("custom_id");
  if (ids != schema.columns.end() && options.check_contents) check_custom_ids(ids->second);
  return PromptReader(std::make_unique<Impl>(path, std::move(schema)));
}

std::int64_t PromptReader::num_rows() const { return impl_->schema.num_rows; }
PromptSource PromptReader::source() const { return impl_->schema.source; }
const std::string& PromptReader::path() const { return impl_->path; }
const std::vector<std::string>& PromptReader::warnings() const { return impl_->schema.warnings; }
const RowOptions& PromptReader::defaults() const { return impl_->schema.defaults; }

std::vector<std::string> PromptReader::columns() const {
  std::vector<std::string> names;
  for (const auto& [name, column] : impl_->columns) names.push_back(name);
  return names;
}

PromptRow PromptReader::read_row(std::int64_t index) { return impl_->read_row(index); }

std::vector<std::int64_t> PromptReader::lengths(std::int64_t begin, std::int64_t end) {
  TRIREME_CHECK(begin >= 0 && begin <= end && end <= num_rows(), begin, ", ", end);
  const auto first = static_cast<std::uint64_t>(begin);
  const auto count = static_cast<std::uint64_t>(end - begin);
  std::vector<std::int64_t> lengths;
  lengths.reserve(count);
  if (impl_->offsets) {
    const auto offsets = impl_->offsets->dataset().read<std::int64_t>(first, count + 1);
    for (std::uint64_t i = 0; i < count; ++i) {
      lengths.push_back(std::max<std::int64_t>(0, offsets[i + 1] - offsets[i]));
    }
    return lengths;
  }
  const Hdf5Dataset& strings = impl_->strings->dataset();
  while (lengths.size() < count) {
    const std::uint64_t row = first + lengths.size();
    auto slice =
        strings.read_strings(row, std::min(kLengthSliceRows, count - lengths.size()), kMaxRowBytes);
    if (!slice) slice = strings.read_strings(row, 1, kMaxRowBytes);
    if (!slice) {
      lengths.push_back(static_cast<std::int64_t>(kMaxRowBytes));
      continue;
    }
    for (const std::string& text : *slice)
      lengths.push_back(static_cast<std::int64_t>(text.size()));
  }
  return lengths;
}

std::vector<std::int64_t> PromptReader::allowed_outputs(std::int64_t begin, std::int64_t end) {
  TRIREME_CHECK(begin >= 0 && begin <= end && end <= num_rows(), begin, ", ", end);
  const auto count = static_cast<std::size_t>(end - begin);
  const auto found = impl_->columns.find("max_tokens");
  if (found == impl_->columns.end()) {
    return std::vector<std::int64_t>(count, impl_->schema.defaults.max_tokens.value_or(-1));
  }
  auto values =
      found->second.dataset().read<std::int64_t>(static_cast<std::uint64_t>(begin), count);
  for (std::int64_t& value : values) {
    if (value < 0 || value > std::numeric_limits<std::int32_t>::max()) value = -1;
  }
  return values;
}

}  // namespace trireme::io
