#include "base/handle.h"

#include <unistd.h>

namespace trireme {

void FileDescriptorTraits::destroy(int descriptor) noexcept { ::close(descriptor); }

}  // namespace trireme
