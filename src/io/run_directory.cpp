#include "io/run_directory.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "base/error.h"
#include "io/crc32c.h"
#include "io/file_system.h"
#include "io/sha256.h"

namespace trireme::io {
namespace {

constexpr const char* kSchema = "trireme.run";
constexpr const char* kSchemaVersion = "1.0.0";
constexpr const char* kManifest = "manifest.json";
constexpr const char* kNonce = "nonce";
constexpr std::size_t kMaxManifestBytes = std::size_t{16} << 20;
constexpr std::array<std::string_view, 4> kOwnFiles = {kManifest, kNonce, RunLock::kFileName,
                                                       "status.json"};

struct DirectoryCloser {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};

std::vector<std::string> names_in(const std::string& path) {
  const std::unique_ptr<DIR, DirectoryCloser> directory(::opendir(path.c_str()));
  if (!directory)
    fail(ErrorKind::missing, system_message(path, "the run directory cannot be read"));
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_own(std::string_view name) {
  if (JournalName::parse(name)) return true;
  if (name.ends_with(".tmp")) name.remove_suffix(4);
  return std::find(kOwnFiles.begin(), kOwnFiles.end(), name) != kOwnFiles.end();
}

Json parts_as_json(const Manifest& manifest) {
  Json parts = Json::object();
  for (const auto& [name, value] : manifest.parts) {
    TRIREME_CHECK(!parts.contains(name), name);
    parts[name] = value;
  }
  return parts;
}

[[noreturn]] void fail_there_already(const std::string& path) {
  RunDirectory::check_idle(path);
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISDIR(status.st_mode)) {
    fail(ErrorKind::output, cat(path,
                                ": is a file, expected a run directory, which the run makes "
                                "itself; choose another with --run-dir"));
  }
  fail(ErrorKind::output, cat(path,
                              ": the run directory is there already, of a run that was stopped. "
                              "'trireme results merge ",
                              path,
                              " OUT.h5' writes what that run has finished; then "
                              "remove it, give --overwrite, or choose another with --run-dir"));
}

const Json& member(const Json& object, const char* name, const std::string& what) {
  if (!object.is_object() || !object.contains(name)) {
    fail(ErrorKind::input, cat(what, ": has no \"", name, "\""));
  }
  return object[name];
}

}  // namespace

std::string Manifest::fingerprint() const {
  Sha256 hash;
  const auto add = [&](const std::string& text) { hash.update(cat(text.size(), ":", text)); };
  add(kSchema);
  for (const auto& [name, value] : parts) {
    add(name);
    add(value);
  }
  return hash.hex_digest();
}

std::uint32_t Manifest::run_tag() const {
  const Json run_id = attributes.value("run_id", Json(""));
  const std::uint32_t tag = crc32c(cat(fingerprint(), run_id.dump()));
  return tag == 0 ? 1 : tag;  // 0: a journal that does not say
}

RunDirectory RunDirectory::create(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) == 0) {
    sync_directory_of(path);
    RunDirectory directory(path);
    directory.lock_.emplace(RunLock::make(path));
    return directory;
  }
  if (errno != EEXIST)
    fail(ErrorKind::output, system_message(path, "cannot create the run directory"));
  fail_there_already(path);
}

void RunDirectory::check_absent(const std::string& path) {
  if (exists(path)) fail_there_already(path);
}

void RunDirectory::check_idle(const std::string& path) {
  if (const auto holder = run_at_work(path)) fail_in_use(path, *holder);
}

RunDirectory RunDirectory::open(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    fail(ErrorKind::missing, system_message(path, "no such run directory"));
  }
  if (!S_ISDIR(status.st_mode)) fail(ErrorKind::missing, cat(path, ": is not a directory"));
  return RunDirectory(path);
}

void RunDirectory::write_nonce(const std::string& nonce) const {
  write_file_at_once(cat(path_, "/", kNonce), nonce);
}

std::string RunDirectory::read_nonce() const {
  return read_small_file(cat(path_, "/", kNonce), 4096);
}

void RunDirectory::write_manifest(const Manifest& manifest) const {
  Json json = Json::object();
  json["schema"] = kSchema;
  json["schema_version"] = kSchemaVersion;
  json["fingerprint"] = manifest.fingerprint();
  json["parts"] = parts_as_json(manifest);
  json["attributes"] = manifest.attributes;
  write_file_at_once(cat(path_, "/", kManifest), json.dump(1) + "\n");
}

std::optional<Manifest> RunDirectory::read_manifest() const {
  const std::string path = cat(path_, "/", kManifest);
  if (!exists(path)) return std::nullopt;
  const Json json = parse_json(read_small_file(path, kMaxManifestBytes), path);
  if (member(json, "schema", path) != kSchema) {
    fail(ErrorKind::input,
         cat(path, ": schema is ", json["schema"].dump(), ", expected \"", kSchema, "\""));
  }
  Manifest manifest;
  const Json& parts = member(json, "parts", path);
  const Json& attributes = member(json, "attributes", path);
  if (!parts.is_object() || !attributes.is_object()) {
    fail(ErrorKind::input, cat(path, ": \"parts\" and \"attributes\" must be objects"));
  }
  for (const auto& [name, value] : parts.items()) {
    if (!value.is_string()) fail(ErrorKind::input, cat(path, ": part \"", name, "\" is no string"));
    manifest.parts.emplace_back(name, value.get<std::string>());
  }
  for (const auto& [name, value] : attributes.items()) {
    if (!value.is_primitive() || value.is_null()) {
      fail(ErrorKind::input, cat(path, ": attribute \"", name, "\" is no string and no number"));
    }
  }
  manifest.attributes = attributes;
  if (member(json, "fingerprint", path) != manifest.fingerprint()) {
    fail(ErrorKind::input,
         cat(path, ": the fingerprint does not fit the parts; the file was changed"));
  }
  return manifest;
}

void RunDirectory::check_is_of(const Manifest& manifest, const std::string& nonce) const {
  std::string why;
  try {
    const std::optional<Manifest> found = read_manifest();
    if (read_nonce() == nonce && found && found->run_tag() == manifest.run_tag()) return;
    why = "another run has written its nonce or its manifest.json";
  } catch (const Error& error) {
    why = error.what();
  }
  fail(ErrorKind::io, cat(path_, ": is no longer the directory of this run (", why,
                          "), so its rows cannot be trusted and no result file is written; run "
                          "again with a --run-dir that no one else uses"));
}

std::vector<JournalName> RunDirectory::journals() const {
  std::vector<JournalName> found;
  for (const std::string& name : names_in(path_)) {
    if (const auto journal = JournalName::parse(name)) found.push_back(*journal);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string RunDirectory::path_of(const JournalName& name) const {
  return cat(path_, "/", name.file_name());
}

std::vector<std::string> RunDirectory::foreign_files() const {
  std::vector<std::string> foreign = names_in(path_);
  std::erase_if(foreign, is_own);
  return foreign;
}

std::vector<std::string> RunDirectory::remove() const {
  const std::optional<RunLock> guard = lock_ ? std::nullopt : RunLock::take(path_);
  std::vector<std::string> names = names_in(path_);
  // The lock goes last: what has one is not removed by two at once.
  std::stable_partition(names.begin(), names.end(),
                        [](const std::string& name) { return name != RunLock::kFileName; });
  for (const std::string& name : names) {
    const std::string path = cat(path_, "/", name);
    if (is_own(name) && ::unlink(path.c_str()) != 0) {
      fail(ErrorKind::io, system_message(path, "cannot be removed"));
    }
  }
  std::vector<std::string> left = foreign_files();
  if (left.empty() && ::rmdir(path_.c_str()) != 0) {
    fail(ErrorKind::io, system_message(path_, "cannot be removed"));
  }
  return left;
}

}  // namespace trireme::io
