#pragma once

#include <hdf5.h>

#include <source_location>
#include <string>

#include "base/error.h"
#include "io/hdf5_file.h"

// What the HDF5 files of this folder share. No header that other folders include includes this one.

namespace trireme::io {

/// Makes the library silent on this thread and forbids it to load filter plugins, since a file may
/// name one. Every function that may be a thread's first contact with HDF5 calls it.
void prepare_hdf5();

/// The library's own words for what failed last, from the outermost to the innermost; clears them.
std::string hdf5_error_text();

/// Passes a non-negative status or identifier through. Otherwise throws Error(kind): what, then the
/// library's words.
template <typename Status>
Status hdf5_check(Status status, ErrorKind kind, const std::string& what,
                  std::source_location where = std::source_location::current()) {
  if (status < 0) fail(kind, cat(what, ": ", hdf5_error_text()), where);
  return status;
}

/// hdf5_check for identifiers that the caller owns.
inline Hdf5Id own_hdf5(hid_t id, ErrorKind kind, const std::string& what,
                       std::source_location where = std::source_location::current()) {
  return Hdf5Id(hdf5_check(id, kind, what, where));
}

/// Whether a type is the enumeration {FALSE, TRUE} of one byte that h5py writes for bool.
bool is_hdf5_boolean(hid_t type);

template <typename T>
hid_t hdf5_native_type();

/// A string type in memory: variable length, the character set given.
Hdf5Id hdf5_string_type(H5T_cset_t character_set);

}  // namespace trireme::io
