#pragma once

#include <string>

namespace trireme::job {

/// Makes SIGINT, SIGTERM and SIGUSR1 ask for a clean stop; a second SIGINT ends the process at
/// once. First of all in a run, before MPI: the default action of SIGUSR1 would kill a rank that is
/// still starting.
void install_stop_signals();

/// Whether such a signal has come.
bool stop_signal_received();

}  // namespace trireme::job
