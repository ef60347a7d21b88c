#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/hdf5_file.h"
#include "io/prompt_reader.h"

namespace trireme::io {

/// A prompt file whose declarations are checked: what there is, of which type and length.
struct PromptSchema {
  Hdf5File file;
  PromptSource source = PromptSource::strings;
  std::int64_t num_rows = 0;
  std::optional<Hdf5Dataset> prompts = {};  ///< one string a row, or the flat data
  std::optional<Hdf5Dataset> offsets = {};  ///< [num_rows + 1], sources bytes and token_ids
  std::map<std::string, Hdf5Dataset> columns = {};
  RowOptions defaults = {};
  std::string default_domain = {};
  std::vector<std::string> warnings = {};
};

/// The object that holds the prompts of a source, as messages call it.
const char* object_name(PromptSource source);

/// Opens a prompt file and checks it without reading rows. Throws as PromptReader::open.
PromptSchema open_prompt_schema(const std::string& path, bool allow_links);

/// Checks offsets from end to end (or at the ends alone) against the length of the data, in slices.
/// Throws Error(input).
void check_offsets(const Hdf5Dataset& offsets, std::uint64_t data_length, bool from_end_to_end);

/// Checks that all ids of a column differ and that strings are UTF-8 without zero bytes. Memory: 8
/// bytes a row. Throws Error(input) that names the rows.
void check_custom_ids(const Hdf5Dataset& ids);

}  // namespace trireme::io
