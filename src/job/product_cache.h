#pragma once

#include <string>

#include "ops/cuda_context.h"

/// The products' algorithms that were timed on this machine, kept from run to run: a file
/// products.txt in $TRIREME_CACHE_DIR, $XDG_CACHE_HOME/trireme or ~/.cache/trireme. It names GPU and
/// library, and what was timed elsewhere is timed again. CUDA builds only.
namespace trireme::job {

/// Takes over what the file has, if it fits; gives the reason if not.
std::string load_products(ops::CudaContext& cuda);
/// Replaces the file; gives the reason if that was not possible, which harms nothing but the time
/// of the next start.
std::string save_products(const ops::CudaContext& cuda);

}  // namespace trireme::job
