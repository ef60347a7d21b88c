#include "job/product_cache.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/error.h"

namespace trireme::job {
namespace {

/// Empty: there is no place.
std::filesystem::path cache_folder() {
  const auto value = [](const char* name) -> std::string {
    const char* text = std::getenv(name);
    return text == nullptr ? "" : text;
  };
  if (const std::string own = value("TRIREME_CACHE_DIR"); !own.empty()) return own;
  if (const std::string all = value("XDG_CACHE_HOME"); !all.empty()) {
    return std::filesystem::path(all) / "trireme";
  }
  const std::string home = value("HOME");
  return home.empty() ? std::filesystem::path() : std::filesystem::path(home) / ".cache/trireme";
}

constexpr const char* kNoPlace = "neither TRIREME_CACHE_DIR nor XDG_CACHE_HOME nor HOME is set";

}  // namespace

std::string load_products(ops::CudaContext& cuda) {
  const std::filesystem::path folder = cache_folder();
  if (folder.empty()) return kNoPlace;
  std::error_code fault;
  const std::filesystem::path file = folder / "products.txt";
  if (!std::filesystem::exists(file, fault)) return cat(file.string(), ": is not there");
  if constexpr (ops::kHasCuda) return cuda.gemm.load(file.string());
  return "";
}

std::string save_products(const ops::CudaContext& cuda) {
  const std::filesystem::path folder = cache_folder();
  if (folder.empty()) return kNoPlace;
  std::error_code fault;
  std::filesystem::create_directories(folder, fault);
  if (fault) return cat(folder.string(), ": ", fault.message());
  try {
    if constexpr (ops::kHasCuda) cuda.gemm.save((folder / "products.txt").string());
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace trireme::job
