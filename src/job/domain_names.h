#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "base/mix.h"
#include "engine/expert_counter.h"

namespace trireme::job {

/// The names behind the domain keys that a leader's requests carry. Safe to call from several
/// threads.
class DomainNames {
 public:
  /// The key of a name, 0 of an empty one.
  std::uint64_t add(const std::string& name) {
    if (name.empty()) return 0;
    const std::uint64_t key = key_of(name);
    const std::lock_guard lock(mutex_);
    if (names_.size() < engine::ExpertCounter::kMaxDomains || names_.contains(key)) {
      names_.emplace(key, name);
      return key;
    }
    return engine::kOtherDomains;
  }
  std::map<std::uint64_t, std::string> names() const {
    const std::lock_guard lock(mutex_);
    return names_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::uint64_t, std::string> names_;
};

}  // namespace trireme::job
