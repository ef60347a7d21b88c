#include <iostream>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/show.h"
#include "apps/subcommands.h"
#include "base/clock.h"
#include "base/error.h"
#include "config/options.h"
#include "io/prompt_import.h"
#include "io/prompt_reader.h"
#include "job/tokenize_prompts.h"

namespace trireme::apps {
namespace {

using config::Options;
using config::Syntax;

constexpr double kProgressSeconds = 10;

Syntax import_syntax() {
  return {
      .command = "prompts import",
      .summary =
          "Makes a prompt file of a text file with one prompt a line, or of JSON lines. A line of "
          "JSON is an OpenAI batch line {\"custom_id\", \"method\", \"url\", \"body\"}, or an "
          "object "
          "with \"prompt\" or \"messages\" and any of max_tokens, temperature, ... and custom_id "
          "beside it. Lines of one kind with the same keys become columns, others become requests.",
      .examples = {"trireme prompts import questions.txt prompts.h5",
                   "trireme prompts import batch.jsonl prompts.h5"},
      .arguments = {"IN.txt|IN.jsonl", "OUT.h5"},
      .flags = {{"format", "text|jsonl", "Input",
                 "what IN holds; otherwise its name tells: "
                 ".jsonl, .ndjson and .json are JSON lines"}},
      .epilogue = "In Python the same is  h5py.File('prompts.h5', 'w')['prompt'] = ['one', 'two']"};
}

Syntax tokenize_syntax() {
  return {
      .command = "prompts tokenize",
      .summary =
          "Writes a prompt file again with token ids in the place of its texts, so that the job "
          "does "
          "not spend time on them. Messages are rendered with the model's chat template. The other "
          "columns stay as they are. Rows that cannot be encoded are marked in /status and /error; "
          "the run makes error results of them.",
      .examples = {"trireme prompts tokenize --tokenizer models/Qwen3-30B-A3B prompts.h5 ids.h5"},
      .arguments = {"IN.h5", "OUT.h5"},
      .flags = {{"tokenizer", "DIR", "Input",
                 "the model's folder: tokenizer.json, and for messages chat_template.jinja or "
                 "tokenizer_config.json (required)"}},
      .epilogue = {}};
}

Syntax show_syntax() {
  return {
      .command = "prompts show",
      .summary = "Shows what a prompt file holds, or one of its rows, and what is wrong with it.",
      .examples = {"trireme prompts show prompts.h5", "trireme prompts show prompts.h5 --row 17"},
      .arguments = {"FILE"},
      .flags = {{"row", "I", "What", "this row with all it asks for; the first is 0"},
                {"head", "N", "What", "the first N rows, one line each (default 5)"},
                {"check", "", "What", "read all rows, count the bad ones and show the first"},
                {"allow-links", "", "Input", "follow links and read data that lie in other files"}},
      .epilogue = {}};
}

bool is_json_lines(const Options& options) {
  const std::string format = options.value("format");
  if (format == "text" || format == "jsonl") return format == "jsonl";
  if (!format.empty()) {
    fail(ErrorKind::usage, cat("--format is ", format, ", expected text or jsonl"));
  }
  const std::string& name = options.argument(0);
  return name.ends_with(".jsonl") || name.ends_with(".ndjson") || name.ends_with(".json");
}

// Reads all rows; tells how many are bad on stderr.
void report_bad_rows(io::PromptReader& reader) {
  std::int64_t num_bad = 0, num_empty = 0;
  std::string first;
  for (std::int64_t i = 0; i < reader.num_rows(); ++i) {
    const io::PromptRow row = reader.read_row(i);
    if (!row.error.empty() && num_bad++ == 0) first = cat("row ", i, ": ", row.error);
    if (row.error.empty() && row.kind == io::PromptKind::text && row.text.empty()) ++num_empty;
  }
  if (num_bad == 0) {
    std::cerr << "all " << reader.num_rows() << " rows are good\n";
  } else {
    std::cerr << "warning: " << num_bad << " of " << reader.num_rows()
              << " rows are bad and will be error results; the first: " << first << "\n";
  }
  // Good where the tokenizer begins every text with a token of its own, else without a token.
  if (num_empty > 0) {
    std::cerr << "warning: " << num_empty << " of " << reader.num_rows()
              << " prompts are empty; they will be error results unless the model's tokenizer adds "
                 "a token at the beginning\n";
  }
}

int import_prompts(const Options& options) {
  const std::string& output = options.argument(1);
  const io::ImportReport report = is_json_lines(options)
                                      ? io::import_jsonl(options.argument(0), output)
                                      : io::import_text(options.argument(0), output);
  for (const std::string& warning : report.warnings) std::cerr << "warning: " << warning << "\n";
  std::cout << output << ": " << report.num_rows << " prompts in " << report.source << "\n";
  io::PromptReader reader = io::PromptReader::open(output);
  report_bad_rows(reader);
  return 0;
}

int tokenize(const Options& options) {
  if (!options.has("tokenizer")) {
    fail(ErrorKind::usage,
         "trireme prompts tokenize: --tokenizer DIR is missing (the model's folder)");
  }
  double told = monotonic_seconds();
  const auto progress = [&](std::int64_t rows) {
    if (monotonic_seconds() - told < kProgressSeconds) return;
    told = monotonic_seconds();
    std::cerr << rows << " rows done\n";
  };
  const job::TokenizeReport report = job::tokenize_prompts(options.argument(0), options.argument(1),
                                                           options.value("tokenizer"), progress);
  std::cout << options.argument(1) << ": " << report.num_rows << " prompts, " << report.num_tokens
            << " tokens\n";
  if (report.num_failed > 0) {
    std::cerr << "warning: " << report.num_failed << " of " << report.num_rows
              << " rows failed and will be error results; the first: " << report.first_error
              << "\n";
  }
  return 0;
}

int show(const Options& options) {
  io::PromptReader reader = io::PromptReader::open(
      options.argument(0), {.allow_links = options.has("allow-links"), .check_contents = true});
  for (const std::string& warning : reader.warnings()) std::cerr << "warning: " << warning << "\n";
  if (const auto row = options.whole("row", 0, reader.num_rows() - 1)) {
    show_prompt(reader.read_row(*row), std::cout);
    return 0;
  }
  show_prompts(reader, options.whole("head", 0, INT64_MAX).value_or(5), std::cout);
  if (options.has("check")) report_bad_rows(reader);
  return 0;
}

}  // namespace

int prompts_command(const std::vector<std::string>& arguments) {
  return run_subcommand(
      "prompts", "makes and shows prompt files",
      {{import_syntax(), import_prompts}, {tokenize_syntax(), tokenize}, {show_syntax(), show}},
      arguments);
}

}  // namespace trireme::apps
