#include "job/tokenize_prompts.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "io/hdf5_file.h"
#include "io/prompt_reader.h"
#include "io/prompt_writer.h"
#include "io/row_options.h"
#include "io/sha256.h"
#include "job/prompt_preparer.h"

namespace trireme::job {
namespace {

constexpr std::int64_t kProgressRows = 1000;
// What this program writes itself.
constexpr std::array<std::string_view, 3> kOwnColumns = {"status", "error", "options"};
constexpr std::array<std::string_view, 3> kOwnAttributes = {"schema", "schema_version",
                                                            "tokenizer_sha256"};

bool is_in(const std::array<std::string_view, 3>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void copy_rest(const io::PromptReader& reader, io::PromptWriter& writer) {
  const io::Hdf5File file = io::Hdf5File::open(reader.path());
  for (const std::string& name : reader.columns()) {
    if (!is_in(kOwnColumns, name)) writer.copy_column(file, name);
  }
  for (const std::string& name : file.attribute_names("/")) {
    if (is_in(kOwnAttributes, name)) continue;
    const Json value = file.attribute("/", name);
    if (!value.is_null()) writer.set_attribute(name, value);
  }
}

void write_row(const io::PromptRow& row, const PreparedPrompt& prepared, bool has_options,
               io::PromptWriter& writer) {
  if (!prepared.error.empty()) {
    writer.set_column("status", 1, 0);
    writer.set_column("error", prepared.error, "");
  } else if (has_options) {
    writer.set_column("options", io::sampling_as_json(row.options).dump(), "");
  }
  writer.add_token_ids(prepared.error.empty() ? prepared.token_ids : std::vector<std::int32_t>());
}

}  // namespace

TokenizeReport tokenize_prompts(const std::string& input, const std::string& output,
                                const std::string& tokenizer_dir,
                                const std::function<void(std::int64_t)>& progress) {
  io::PromptReader reader = io::PromptReader::open(input);
  if (reader.source() == io::PromptSource::token_ids) {
    fail(ErrorKind::input, cat(input, ": holds token ids already, there is no text to encode"));
  }
  const text::Tokenizer tokenizer = text::Tokenizer::load(tokenizer_dir);
  const std::optional<text::ChatTemplate> chat_template = text::ChatTemplate::load(tokenizer_dir);
  require_usable_template(reader, chat_template);
  const std::int64_t unix_time = creation_time();

  io::PromptWriter writer = io::PromptWriter::create(output, io::PromptSource::token_ids);
  copy_rest(reader, writer);
  writer.set_attribute("tokenizer_sha256", io::sha256_of_file(tokenizer_dir + "/tokenizer.json"));
  const std::vector<std::string> columns = reader.columns();
  const bool has_options = reader.source() == io::PromptSource::requests ||
                           std::find(columns.begin(), columns.end(), "options") != columns.end();
  TokenizeReport report;
  report.num_rows = reader.num_rows();
  for (std::int64_t i = 0; i < report.num_rows; ++i) {
    const io::PromptRow row = reader.read_row(i);
    const PreparedPrompt prepared =
        prepare(row, tokenizer, chat_template, tokenizer_dir, unix_time);
    write_row(row, prepared, has_options, writer);
    report.num_tokens += static_cast<std::int64_t>(prepared.token_ids.size());
    if (!prepared.error.empty() && report.num_failed++ == 0) {
      report.first_error = cat("row ", i, ": ", prepared.error);
    }
    if ((i + 1) % kProgressRows == 0) progress(i + 1);
  }
  writer.finish();
  return report;
}

}  // namespace trireme::job
