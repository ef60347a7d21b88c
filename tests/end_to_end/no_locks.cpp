// Preloaded: a file system that has no locks.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>

namespace {

int filtered_fcntl(int descriptor, int command, void* argument) {
  if (command == F_OFD_SETLK || command == F_OFD_GETLK) {
    errno = ENOLCK;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fcntl, descriptor, command, argument));
}

}  // namespace

// A program calls one of the two, as it was built.
extern "C" int fcntl(int descriptor, int command, ...) {
  std::va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return filtered_fcntl(descriptor, command, argument);
}

extern "C" int fcntl64(int descriptor, int command, ...) {
  std::va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return filtered_fcntl(descriptor, command, argument);
}
