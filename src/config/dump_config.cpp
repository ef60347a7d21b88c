#include "config/dump_config.h"

#include "config/key_table.h"
#include "config/value.h"

namespace trireme::config {

Json dump_config(const RunConfig& config) {
  Json dump = Json::object();
  for (const Key& key : keys()) {
    const std::size_t dot = key.name.find('.');
    Json& section = dot == std::string::npos ? dump : dump[key.name.substr(0, dot)];
    section[dot == std::string::npos ? key.name : key.name.substr(dot + 1)] =
        value_json(key, config);
  }
  return dump;
}

std::string dump_config_text(const RunConfig& config) {
  return dump_config(config).dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace trireme::config
