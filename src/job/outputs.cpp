#include "job/outputs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "config/faults.h"
#include "io/disk_space.h"
#include "io/file_system.h"
#include "io/run_directory.h"

namespace trireme::job {
namespace {

constexpr std::int64_t kSampledRows = 65536;

[[noreturn]] void refuse(const char* key, const std::string& value, const std::string& why) {
  fail(ErrorKind::output, cat(key, " is ", config::shown(value), ", expected ", why));
}

std::string last_error() { return std::generic_category().message(errno); }

void check_folder_of(const char* key, const std::string& value) {
  const std::string folder = io::directory_of(value);
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) {
    refuse(key, value, cat("a name in a folder that is there; ", folder, ": ", last_error()));
  }
  if (!S_ISDIR(status.st_mode))
    refuse(key, value, cat("a name in a folder, and ", folder, " is a file"));
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    refuse(key, value, cat("a name in a folder that can be written; ", folder, ": ", last_error()));
  }
}

// The key and name of the file that a run reads and that is `output`, through links too.
std::string input_that_is(const std::string& output, const config::RunConfig& config) {
  const config::IoPaths& paths = config.paths;
  if (io::is_same_file(output, paths.prompts)) return "the prompts";
  if (io::is_same_file(output, paths.config_file)) return "the configuration";
  if (io::is_same_file(output, config.moe.load_balancer)) return "the placement of the experts";
  std::error_code unreadable;
  for (const auto& entry : std::filesystem::directory_iterator(paths.model, unreadable)) {
    if (!io::is_same_file(output, entry.path())) continue;
    return cat("the model's ", config::shown(entry.path().filename().string()));
  }
  return {};
}

void check_output_file(const char* key, const std::string& output,
                       const config::RunConfig& config) {
  check_folder_of(key, output);
  struct stat status {};
  const bool is_there = ::stat(output.c_str(), &status) == 0;
  if (output.ends_with('/') || (is_there && S_ISDIR(status.st_mode))) {
    refuse(key, output, "a file name, and this is a folder");
  }
  if (is_there && !S_ISREG(status.st_mode)) {
    refuse(key, output, "a name of a new file, and this is not a regular file");
  }
  const std::string input = is_there ? input_that_is(output, config) : std::string();
  if (!input.empty()) refuse(key, output, cat("another file than ", input));
  if (!config.paths.overwrite && io::exists(output)) {
    refuse(key, output,
           cat("a new file, and it is there already; name another one, or give --overwrite to "
               "replace it when the run is complete"));
  }
}

void check_run_directory(const config::IoPaths& paths) {
  check_folder_of("run_dir", paths.run_dir);
  if (!paths.overwrite) io::RunDirectory::check_absent(paths.run_dir);
  io::RunDirectory::check_idle(paths.run_dir);
  if (!io::exists(paths.run_dir)) return;
  struct stat status {};
  if (::stat(paths.run_dir.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    refuse("run_dir", paths.run_dir, "a folder, and this is a file; choose another --run-dir");
  }
  const std::vector<std::string> foreign = io::RunDirectory::open(paths.run_dir).foreign_files();
  if (!foreign.empty()) {
    refuse("run_dir", paths.run_dir,
           cat("a run directory that --overwrite may remove, but it holds other files, such as ",
               config::shown(foreign.front()), "; choose another --run-dir"));
  }
}

}  // namespace

std::string loads_path(const config::IoPaths& paths, const checkpoint::ModelConfig& model) {
  if (paths.record_loads == "none" || model.num_experts == 0) return {};
  return paths.record_loads.empty() ? paths.output + ".loads.h5" : paths.record_loads;
}

void check_outputs(const config::RunConfig& config, const checkpoint::ModelConfig& model) {
  const config::IoPaths& paths = config.paths;
  check_output_file("output", paths.output, config);
  check_run_directory(paths);  // finished rows that somebody may want are said first
  const std::string loads = loads_path(paths, model);
  if (loads.empty()) return;
  if (loads == paths.output || io::is_same_file(loads, paths.output)) {
    refuse("record_loads", loads, "another file than the output");
  }
  check_output_file("record_loads", loads, config);
}

std::uint64_t disk_space_needed(const RunFiles& files, std::int64_t max_seq_len) {
  const engine::SamplingParams& params = files.sampling.params;
  const std::int64_t sampled = std::min(files.num_prompts, kSampledRows);
  double tokens = 0, prompt_tokens = 0;
  files.prompts->with([&](io::PromptReader& reader) {
    for (const std::int64_t allowed : reader.allowed_outputs(0, sampled)) {
      tokens += static_cast<double>(
          std::min<std::int64_t>(allowed >= 0 ? allowed : params.max_tokens, max_seq_len));
    }
    if (!params.prompt_logprobs) return;
    for (const std::int64_t length : reader.lengths(0, sampled)) {
      prompt_tokens += static_cast<double>(std::min(length, max_seq_len));
    }
  });
  const double rows = static_cast<double>(std::max<std::int64_t>(1, sampled));
  const double all_prompts = static_cast<double>(files.num_prompts);
  return io::disk_space_needed(
      {.num_rows = files.num_prompts * files.sampling.num_samples,
       .tokens_per_row = static_cast<std::int64_t>(tokens / rows + 0.5),
       .prompt_tokens = static_cast<std::int64_t>(prompt_tokens / rows * all_prompts),
       .logprobs = params.logprobs >= 0,
       .top_k = std::max(params.logprobs, 0)});
}

}  // namespace trireme::job
