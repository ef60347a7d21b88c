#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/show.h"
#include "apps/subcommands.h"
#include "base/error.h"
#include "config/options.h"
#include "io/file_system.h"
#include "io/result_export.h"
#include "io/result_reader.h"
#include "io/result_writer.h"

namespace trireme::apps {
namespace {

using config::Options;
using config::Syntax;

Syntax show_syntax() {
  return {
      .command = "results show",
      .summary =
          "Shows what a result file holds: how it was made, how many rows are good, and the "
          "first rows; or one row with everything.",
      .examples = {"trireme results show results.h5", "trireme results show results.h5 --row 17"},
      .arguments = {"FILE"},
      .flags = {{"row", "I", "What", "this row of the file with every column; the first is 0"},
                {"head", "N", "What", "the first N rows, one line each (default 5)"}},
      .epilogue = {}};
}

Syntax export_syntax() {
  return {
      .command = "results export",
      .summary =
          "Writes results as JSON lines in the shape of OpenAI batch results, one line a "
          "prompt: custom_id (else the number of the prompt), response, error. The samples of "
          "a prompt are its choices.",
      .examples = {"trireme results export results.h5 --jsonl results.jsonl",
                   "trireme results export results.h5 --jsonl - | head"},
      .arguments = {"FILE"},
      .flags = {{"jsonl", "OUT", "Output", "the file to write; - is standard output (required)"},
                {"completions", "", "Output", "choices with \"text\" instead of \"message\""},
                {"overwrite", "", "Output", "replace a file that is there"}},
      .epilogue = {}};
}

Syntax merge_syntax() {
  return {.command = "results merge",
          .summary =
              "Writes the result file of what a run that was stopped or killed has finished, or of "
              "what one that works has finished so far. The run directory stays as it is.",
          .examples = {"trireme results merge results.h5.run results.h5"},
          .arguments = {"RUN_DIR", "OUT.h5"},
          .flags = {{"overwrite", "", "Output", "replace a file that is there"}},
          .epilogue = {}};
}

int show(const Options& options) {
  io::ResultReader reader = io::ResultReader::open(options.argument(0));
  if (reader.num_rows() == 0 && options.has("row")) {
    fail(ErrorKind::usage, cat(options.argument(0), ": holds no rows"));
  }
  if (const auto row = options.whole("row", 0, reader.num_rows() - 1)) {
    show_result(reader.read_row(*row), std::cout);
    return 0;
  }
  show_results(reader, options.whole("head", 0, INT64_MAX).value_or(5), std::cout);
  return 0;
}

int export_results(const Options& options) {
  const std::string output = options.value("jsonl");
  if (output.empty()) {
    fail(ErrorKind::usage,
         "trireme results export: --jsonl FILE is missing (- is standard output)");
  }
  io::ResultReader reader = io::ResultReader::open(options.argument(0));
  io::ExportOptions how = {.as_text_completions = options.has("completions")};
  if (output == "-") {
    io::export_jsonl(reader, how, std::cout);
    std::cout.flush();
    return 0;
  }
  io::require_replaceable(output);
  if (io::is_same_file(output, options.argument(0))) {
    fail(ErrorKind::output, cat(output, ": is the result file itself, expected another file"));
  }
  if (io::exists(output) && !options.has("overwrite")) {
    fail(ErrorKind::output,
         cat(output, ": is there already; choose another name or give --overwrite"));
  }
  how.output_name = output;
  io::TemporaryFile temporary(output + ".tmp");
  std::ofstream out(temporary.path(), std::ios::binary | std::ios::trunc);
  if (!out) fail(ErrorKind::output, io::system_message(temporary.path(), "cannot be created"));
  const std::int64_t num_lines = io::export_jsonl(reader, how, out);
  out.close();
  if (!out) fail(ErrorKind::io, io::system_message(output, "cannot be written"));
  temporary.rename_to(output);
  std::cerr << output << ": " << num_lines << " prompts\n";
  return 0;
}

int merge(const Options& options) {
  const io::RunDirectory directory = io::RunDirectory::open(options.argument(0));
  const auto manifest = directory.read_manifest();
  if (!manifest && directory.journals().empty()) {
    fail(ErrorKind::input, cat(directory.path(),
                               ": holds no manifest.json and no journal: it is no run "
                               "directory"));
  }
  if (const auto holder = io::run_at_work(directory.path())) {
    std::cerr << directory.path() << ": a run is at work here (" << *holder
              << "); the result file holds what it has finished so far\n";
  }
  io::MergeOptions how;
  how.output = options.argument(1);
  how.overwrite = options.has("overwrite");
  if (manifest) how.attributes = manifest->attributes;
  const io::MergeReport report = io::merge_results(directory, how);
  for (const std::string& warning : report.warnings) std::cerr << "warning: " << warning << "\n";
  std::cout << how.output << ": " << report.num_rows << " rows, " << report.num_ok << " ok, "
            << report.num_error << " failed, " << report.num_cancelled << " cancelled\n";
  if (report.num_duplicates > 0) {
    std::cout << report.num_duplicates << " rows were computed more than once, "
              << report.num_differing << " of them with different results\n";
  }
  if (report.num_error > 0) std::cerr << "the first error: " << report.first_error << "\n";
  return 0;
}

}  // namespace

int results_command(const std::vector<std::string>& arguments) {
  return run_subcommand(
      "results", "shows, exports and rescues result files",
      {{show_syntax(), show}, {export_syntax(), export_results}, {merge_syntax(), merge}},
      arguments);
}

}  // namespace trireme::apps
