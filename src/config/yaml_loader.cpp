#include "config/yaml_loader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/error.h"
#include "base/json.h"
#include "base/nearest.h"
#include "config/key_table.h"
#include "config/value.h"

namespace trireme::config {
namespace {

// Keys of TensorRT-LLM's configuration files that change how it computes, not what comes out. Keys
// that would change results (adapters, guided decoding) are not here: they must be errors.
constexpr std::array kForeignKeys = {
    "allreduce_strategy",
    "attention_dp_config",
    "attn_backend",
    "backend",
    "batch_wait_max_tokens_ratio",
    "batch_wait_timeout_iters",
    "batch_wait_timeout_ms",
    "batching_type",
    "build_config",
    "cache_transceiver_config",
    "checkpoint_format",
    "cuda_graph_config",
    "disable_overlap_scheduler",
    "enable_autotuner",
    "enable_build_cache",
    "enable_iter_perf_stats",
    "enable_iter_req_stats",
    "enable_layerwise_nvtx_marker",
    "enable_lm_head_tp_in_adp",
    "enable_min_latency",
    "env_overrides",
    "extended_runtime_perf_knob_config",
    "fail_fast_on_attention_window_too_large",
    "garbage_collection_gen0_threshold",
    "gather_generation_logits",
    "gpus_per_node",
    "iter_stats_max_iterations",
    "kv_connector_config",
    "load_format",
    "max_beam_width",
    "max_input_len",
    "moe_cluster_parallel_size",
    "mpi_session",
    "num_postprocess_workers",
    "nvfp4_gemm_config",
    "orchestrator_type",
    "peft_cache_config",
    "perf_metrics_max_requests",
    "postprocess_tokenizer_dir",
    "print_iter_log",
    "ray_worker_extension_cls",
    "reasoning_parser",
    "request_stats_max_iterations",
    "return_perf_metrics",
    "revision",
    "sampler_force_async_worker",
    "sampler_type",
    "scheduler_config",
    "skip_tokenizer_init",
    "speculative_config",
    "stream_interval",
    "tokenizer_mode",
    "tokenizer_revision",
    "torch_compile_config",
    "trust_remote_code",
    "kv_cache_config.attention_dp_events_gather_period_ms",
    "kv_cache_config.copy_on_partial_reuse",
    "kv_cache_config.cross_kv_cache_fraction",
    "kv_cache_config.enable_partial_reuse",
    "kv_cache_config.event_buffer_max_size",
    "kv_cache_config.host_cache_size",
    "kv_cache_config.mamba_ssm_cache_dtype",
    "kv_cache_config.max_attention_window",
    "kv_cache_config.max_gpu_total_bytes",
    "kv_cache_config.max_tokens",
    "kv_cache_config.onboard_blocks",
    "kv_cache_config.secondary_offload_min_priority",
    "kv_cache_config.sink_token_length",
    "kv_cache_config.use_uvm",
    "moe_config.backend",
    "moe_config.disable_finalize_fusion",
    "moe_config.use_cuda_graph",
    "moe_config.use_low_precision_moe_combine",
    "cp_config.cp_anchor_size",
    "cp_config.block_size",
    "cp_config.tokens_per_block",
};

/// Keys of that program that may stand there only with the value that means nothing.
struct HarmlessValue {
  const char* key;
  const char* value;
};
constexpr std::array kHarmlessValues = {HarmlessValue{"max_beam_width", "1"},
                                        HarmlessValue{"moe_cluster_parallel_size", "1"},
                                        HarmlessValue{"load_format", "auto"}};

template <std::size_t N>
bool contains(const std::array<const char*, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string without_synonym(const std::string& name) {
  return name == "pp_partition" ? "pipeline_layers" : name;
}

bool is_section(const std::string& name) {
  return std::any_of(keys().begin(), keys().end(),
                     [&name](const Key& key) { return key.name.starts_with(name + "."); });
}

/// The key that an unknown one was probably meant to be, with its section; empty if none is near.
std::string meant(const std::string& name) {
  std::string best = nearest_name(name, key_names());
  if (!best.empty()) return best;
  // A nested key that stands at the top, or the other way round.
  std::map<std::string, std::string> full_names;
  std::vector<std::string> last_parts;
  for (const std::string& full : key_names()) {
    last_parts.push_back(full.substr(full.rfind('.') + 1));
    full_names.emplace(last_parts.back(), full);
  }
  best = nearest_name(name.substr(name.rfind('.') + 1), last_parts);
  return best.empty() ? best : full_names.at(best);
}

std::string flow_text(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::null) return "null";
  if (node.is_scalar()) return node.quoted ? Json(node.text).dump() : node.text;
  std::string text;
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    if (i > 0) text += ", ";
    if (node.is_map()) text += cat(node.keys[i].name, ": ");
    text += flow_text(node.items[i]);
  }
  return node.is_map() ? cat("{", text, "}") : cat("[", text, "]");
}

/// A map as YAML text of its own, one key a line.
std::string block_text(const YamlNode& map) {
  std::string text;
  for (std::size_t i = 0; i < map.items.size(); ++i) {
    text += cat(map.keys[i].name, ": ", flow_text(map.items[i]), "\n");
  }
  return text;
}

class MapReader {
 public:
  MapReader(const std::string& name, Loaded& loaded) : name_(name), loaded_(loaded) {}

  void read(const YamlNode& map, const std::string& section) {
    for (std::size_t i = 0; i < map.items.size(); ++i) {
      const YamlKey& key = map.keys[i];
      const std::string full_name = section + without_synonym(key.name);
      const auto [first, is_new] = lines_.emplace(full_name, key.line);
      if (!is_new) {
        fault(full_name, cat(full_name, " stands twice, expected once (lines ", first->second,
                             " and ", key.line, " of ", name_, ")"));
      } else {
        read_value(full_name, key.line, map.items[i]);
      }
    }
  }

 private:
  void read_value(const std::string& full_name, int line, const YamlNode& value) {
    if (full_name == "moe_config.load_balancer" && value.is_map()) {
      loaded_.config.moe.load_balancer_text = block_text(value);
    } else if (const Key* key = find_key(full_name)) {
      if (auto wrong = assign(*key, value, loaded_.config)) fault(full_name, *wrong + at(line));
    } else if (is_section(full_name)) {
      if (value.is_map()) {
        read(value, full_name + ".");
      } else if (value.kind != YamlNode::Kind::null) {
        fault(full_name, cat(full_name, " is not a map, expected keys such as ",
                             example_of(full_name), at(line)));
      }
    } else if (contains(kForeignKeys, full_name)) {
      read_foreign(full_name, line, value);
    } else {
      unknown(full_name, line);
    }
  }

  void read_foreign(const std::string& full_name, int line, const YamlNode& value) {
    for (const HarmlessValue& harmless : kHarmlessValues) {
      if (full_name != harmless.key || value.kind == YamlNode::Kind::null) continue;
      if (value.text != harmless.value) {
        return fault(full_name,
                     cat(full_name, " is ", value.is_scalar() ? shown(value.text) : "a list",
                         ", expected ", harmless.value, at(line)));
      }
    }
    loaded_.warnings.push_back(cat(full_name, " has no meaning here and is ignored", at(line)));
  }

  void unknown(const std::string& full_name, int line) {
    std::string message = cat("unknown key ", shown(full_name));
    // Searching costs time, and a text can hold very many keys.
    const std::string near = loaded_.faults.size() < 100 ? meant(full_name) : "";
    if (!near.empty()) message += cat(", expected ", near, "?");
    loaded_.faults.push_back({{full_name, near}, message + at(line)});
  }

  static std::string example_of(const std::string& section) {
    for (const Key& key : keys()) {
      if (key.name.starts_with(section + ".")) return key.name.substr(section.size() + 1);
    }
    return {};
  }

  std::string at(int line) const {
    return line > 0 ? cat(" (", name_, " line ", line, ")") : cat(" (", name_, ")");
  }

  void fault(const std::string& key, const std::string& message) {
    loaded_.faults.push_back({{key}, message});
  }

  const std::string& name_;
  Loaded& loaded_;
  std::map<std::string, int> lines_;
};

YamlNode scalar(const std::string& text, bool quoted) {
  YamlNode node;
  node.kind = YamlNode::Kind::scalar;
  node.text = text;
  node.quoted = quoted;
  return node;
}

/// The YAML value that a text on the command line stands for, where nobody writes quotes.
YamlNode node_of_setting(const Key& key, const std::string& text, const std::string& origin) {
  RunConfig unused;
  const Slot slot = key.slot(unused);
  const bool is_list = std::holds_alternative<std::vector<std::int64_t>*>(slot) ||
                       std::holds_alternative<std::vector<std::string>*>(slot);
  if (is_list && text.starts_with('[')) return parse_yaml(text, origin);
  if (std::holds_alternative<std::vector<std::int64_t>*>(slot) && text != key.unset_word) {
    YamlNode list;
    list.kind = YamlNode::Kind::list;
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t end = std::min(text.find(',', begin), text.size());
      list.items.push_back(scalar(text.substr(begin, end - begin), false));
      begin = end + 1;
    }
    return list;
  }
  const bool is_text = std::holds_alternative<std::string*>(slot) ||
                       std::holds_alternative<std::vector<std::string>*>(slot);
  return scalar(text, is_text);
}

}  // namespace

std::string read_config_file(const std::string& path) {
  std::error_code unknown;
  const auto kind = std::filesystem::status(path, unknown).type();
  if (kind != std::filesystem::file_type::regular &&
      kind != std::filesystem::file_type::not_found && kind != std::filesystem::file_type::none) {
    fail(ErrorKind::missing, cat("--config ", path, ": is not a regular file"));
  }
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxYamlBytes + 1, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad() || (file.fail() && !file.eof())) {
    fail(ErrorKind::missing, cat("--config ", path, ": cannot be read: ", std::strerror(errno)));
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMaxYamlBytes) {
    fail(ErrorKind::config, cat(path, ": expected at most ", kMaxYamlBytes, " bytes of YAML"));
  }
  return text;
}

void apply_yaml(std::string_view text, const std::string& name, Loaded& loaded) {
  const YamlNode root = parse_yaml(text, name);
  if (!root.is_map()) {
    fail(ErrorKind::config, cat(name, ": no map at the top, expected lines of 'key: value'"));
  }
  MapReader(name, loaded).read(root, "");
}

void apply_setting(const std::string& key, const std::string& value, const std::string& origin,
                   Loaded& loaded) {
  YamlNode map;
  map.kind = YamlNode::Kind::map;
  map.keys.push_back({key, 0});
  const Key* known = find_key(without_synonym(key));
  map.items.push_back(known ? node_of_setting(*known, value, origin) : scalar(value, false));
  MapReader(origin, loaded).read(map, "");
}

}  // namespace trireme::config
