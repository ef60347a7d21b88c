#include "job/outputs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
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

bool is_same_file(const std::string& a, const std::string& b) {
  struct stat first {
  }, second{};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

void check_output_file(const char* key, const std::string& output, const config::IoPaths& paths) {
  check_folder_of(key, output);
  struct stat status {};
  if (output.ends_with('/') || (::stat(output.c_str(), &status) == 0 && S_ISDIR(status.st_mode))) {
    refuse(key, output, "a file name, and this is a folder");
  }
  if (is_same_file(output, paths.prompts)) {
    refuse(key, output, "another file than the prompts");
  }
  if (!paths.overwrite && io::exists(output)) {
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

void check_outputs(const config::IoPaths& paths, const checkpoint::ModelConfig& model) {
  check_output_file("output", paths.output, paths);
  const std::string loads = loads_path(paths, model);
  if (!loads.empty()) {
    if (loads == paths.output) refuse("record_loads", loads, "another file than the output");
    check_output_file("record_loads", loads, paths);
  }
  check_run_directory(paths);
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
