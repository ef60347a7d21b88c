#pragma once

#include <span>

#include "comm/mpi_comm.h"

namespace trireme::comm {

/// Ends what is still under way before its memory goes: waits for it. While an exception unwinds it
/// is cancelled instead, because a message that never comes would keep the error from being told.
void end_requests(std::span<ompi_request_t*> requests) noexcept;

}  // namespace trireme::comm
