#include "job/signals.h"

#include <unistd.h>

#include <csignal>

namespace trireme::job {
namespace {

// A signal handler can reach nothing but a static; it is written here alone and only ever set.
volatile std::sig_atomic_t stop_signals = 0;

void on_signal(int signal) {
  if (signal == SIGINT && stop_signals != 0) ::_exit(130);
  stop_signals = 1;
}

}  // namespace

void install_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) ::sigaction(signal, &action, nullptr);
}

bool stop_signal_received() { return stop_signals != 0; }

}  // namespace trireme::job
