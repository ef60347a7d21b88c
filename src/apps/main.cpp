#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "base/error.h"
#include "base/nearest.h"
#include "job/agreement.h"
#include "job/signals.h"

namespace {

using namespace trireme;

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>&);
};

constexpr Command kCommands[] = {
    {"run", "runs a prompt file through a model, under mpirun or srun: the job", apps::run_command},
    {"plan", "checks a run without starting it: layout, memory, disk", apps::plan_command},
    {"eplb", "places the experts of a model on the ranks, from recorded loads", apps::eplb_command},
    {"bench", "measures the engine and the kernels on this machine", apps::bench_command},
    {"prompts", "makes and shows prompt files", apps::prompts_command},
    {"results", "shows, exports and rescues result files", apps::results_command},
};

std::string usage() {
  std::string text =
      "trireme runs batches of prompts through large language models as one MPI job.\n\n"
      "usage: trireme COMMAND [arguments]\n       trireme COMMAND --help\n       trireme "
      "--version\n\n";
  for (const Command& command : kCommands) {
    text += cat("  ", command.name, std::string(10 - std::string(command.name).size(), ' '),
                command.summary, "\n");
  }
  text +=
      "\nexample: mpirun -n 4 trireme run --config configs/tiny_cpu.yaml --prompts p.h5 --output "
      "r.h5\n";
  return text;
}

// What was printed may still be in the buffer; a full disk must not look like success.
void require_written_output() {
  errno = 0;
  std::cout.flush();
  if (std::cout) return;
  fail(ErrorKind::io,
       cat("standard output cannot be written", errno == 0 ? "" : cat(": ", std::strerror(errno))));
}

int dispatch(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    std::cerr << usage();
    return exit_code(ErrorKind::usage);
  }
  const std::string& name = arguments[0];
  if (name == "--help" || name == "-h" || name == "help") {
    std::cout << usage();
    return 0;
  }
  if (name == "--version") {
    std::cout << apps::version_line() << "\n";
    return 0;
  }
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (name == command.name) return command.run({arguments.begin() + 1, arguments.end()});
    names.emplace_back(command.name);
  }
  const std::string nearest = nearest_name(name, names);
  fail(ErrorKind::usage, cat("unknown command '", name, "'",
                             nearest.empty() ? "" : cat("; did you mean '", nearest, "'?"),
                             " (trireme --help lists them)"));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int code = dispatch({argv + 1, argv + argc});
    require_written_output();
    return code;
  } catch (...) {
    const job::Failure failure = job::describe(std::current_exception());
    const bool names_program = failure.message.starts_with("trireme ");
    std::cerr << (names_program ? "" : "trireme: ") << failure.message << "\n";
    return failure.exit_code;
  }
}
