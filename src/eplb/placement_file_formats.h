#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "eplb/placement_file.h"

// What the readers and writers of single formats share.

namespace trireme::eplb {

inline constexpr std::size_t kMaxPlacementBytes = std::size_t{16} << 20;
inline constexpr std::int64_t kMaxSlots = 32767;  ///< as many as a plan has at most
inline constexpr std::int64_t kMaxExpertId = 32766;  ///< choices are int16
inline constexpr std::int64_t kMaxLayerNumber = 65535;
inline constexpr std::int64_t kMaxLayers = 4096;

/// The facts of the YAML file: its schema, and what begins a comment that holds a line of them.
inline constexpr const char* kPlacementSchema = "trireme.placement";
inline constexpr std::string_view kPlacementFactsMark = "#|";

PlacementFile parse_placement_yaml(std::string_view text, const std::string& path);
PlacementFile parse_placement_json(std::string_view text, const std::string& path,
                                   const LayerNumbers& numbers);
std::string placement_yaml(const PlacementFile& file);
std::string placement_json(const Placement& placement, PlacementFormat format);

/// Numbers as "[1, 2, 3]".
std::string list_text(const std::vector<std::int32_t>& numbers);

}  // namespace trireme::eplb
