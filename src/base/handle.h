#pragma once

#include <utility>

namespace trireme {

/// Owns one raw handle of a C library. Traits gives `using type`, `static type null()` and
/// `static void destroy(type) noexcept`. Moving empties the source; the destructor never throws.
template <typename Traits>
class UniqueHandle {
 public:
  using type = typename Traits::type;

  UniqueHandle() : value_(Traits::null()) {}
  explicit UniqueHandle(type value) : value_(value) {}
  UniqueHandle(UniqueHandle&& other) noexcept : value_(std::exchange(other.value_, Traits::null())) {}
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  UniqueHandle(const UniqueHandle&) = delete;
  UniqueHandle& operator=(const UniqueHandle&) = delete;
  ~UniqueHandle() { reset(); }

  type get() const { return value_; }
  explicit operator bool() const { return value_ != Traits::null(); }
  type release() { return std::exchange(value_, Traits::null()); }
  void reset() {
    if (value_ != Traits::null()) Traits::destroy(std::exchange(value_, Traits::null()));
  }

 private:
  type value_;
};

/// A POSIX file descriptor.
struct FileDescriptorTraits {
  using type = int;
  static type null() { return -1; }
  static void destroy(type descriptor) noexcept;
};
using FileDescriptor = UniqueHandle<FileDescriptorTraits>;

}  // namespace trireme
