#include "job/agreement.h"

#include <new>

namespace trireme::job {

Failure describe(const std::exception_ptr& error) {
  constexpr const char* kAdvice =
      "; lower max_num_tokens, max_batch_size or kv_cache_config.host_memory_bytes";
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    const bool no_memory = known.kind() == ErrorKind::out_of_memory;
    return {exit_code(known.kind()), cat(known.what(), no_memory ? kAdvice : "")};
  } catch (const std::bad_alloc&) {
    return {exit_code(ErrorKind::out_of_memory), cat("out of memory", kAdvice)};
  } catch (const std::exception& other) {
    return {exit_code(ErrorKind::internal), cat("defect: ", other.what())};
  }
}

void together(const comm::MpiComm& world, const Log& log, const std::function<void()>& work) {
  Failure failure{0, {}};
  try {
    work();
  } catch (...) {
    failure = describe(std::current_exception());
  }
  const std::int64_t mine = failure.exit_code == 0 ? world.size() : world.rank();
  const auto first = static_cast<int>(world.min(mine));
  if (first == world.size()) return;
  if (first == world.rank()) log.error(failure.message);
  const std::string code = world.broadcast(std::to_string(failure.exit_code), first);
  throw StageFailed(std::stoi(code));
}

}  // namespace trireme::job
