#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/eplb_commands.h"
#include "apps/subcommands.h"
#include "base/error.h"
#include "io/file_system.h"

namespace trireme::apps {

config::Flag first_layer_flag() {
  return {"first-layer", "N", "Input",
          "the model's number of the first row, for formats that do not number the layers "
          "(default 0)"};
}

std::int32_t first_layer_of(const config::Options& options) {
  return static_cast<std::int32_t>(options.whole("first-layer", 0, 65535).value_or(0));
}

void check_new_file(const std::string& path, bool overwrite) {
  const std::string folder = io::directory_of(path);
  if (!io::exists(folder)) {
    fail(ErrorKind::output,
         cat(path, ": cannot be created, expected a folder that is there; ", folder, " is not"));
  }
  io::require_replaceable(path);
  if (io::exists(path) && !overwrite) {
    fail(ErrorKind::output,
         cat(path, ": is there already; choose another name or give --overwrite"));
  }
}

int eplb_command(const std::vector<std::string>& arguments) {
  return run_subcommand("eplb", "places the experts of a model, so that ranks work alike",
                        {eplb_plan_subcommand(), eplb_show_subcommand(), eplb_convert_subcommand()},
                        arguments);
}

}  // namespace trireme::apps
