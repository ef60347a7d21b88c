#include "engine/plan_channel.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "support/requires_ranks.h"

namespace trireme::engine {
namespace {

constexpr int kNumPlans = 40;
constexpr int kNumIds = 40000;  // more than is sent before somebody receives

StepPlan plan_of(std::int64_t step) {
  StepPlan plan;
  plan.step = step;
  plan.is_last = step + 1 == kNumPlans;
  PlanRow row;
  row.num_tokens = kNumIds;
  plan.rows = {row};
  plan.token_ids.assign(kNumIds, static_cast<std::int32_t>(step));
  return plan;
}

TEST(PlanChannel, FlushesWhileProgressPollsToo) {
  const comm::MpiComm world = comm::MpiComm::world();
  TRIREME_REQUIRES_RANKS(world, 2);
  PlanChannel* channel_of_progress = nullptr;
  PlanChannel channel(world, [&] {
    if (channel_of_progress != nullptr) channel_of_progress->poll();
    ::usleep(10);
  });
  channel_of_progress = &channel;

  if (world.rank() == 0) {
    for (std::int64_t step = 0; step < kNumPlans; ++step) channel.send(plan_of(step));
    channel.flush();
    return;
  }
  ::usleep(20000);
  for (std::int64_t step = 0; step < kNumPlans; ++step) {
    const StepPlan plan = channel.receive();
    EXPECT_EQ(plan.step, step);
    EXPECT_EQ(plan.token_ids, plan_of(step).token_ids);
  }
}

}  // namespace
}  // namespace trireme::engine
