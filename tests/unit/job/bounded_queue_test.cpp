#include "job/bounded_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace trireme::test {
namespace {

using job::BoundedQueue;
using namespace std::chrono_literals;

TEST(BoundedQueue, KeepsTheOrder) {
  BoundedQueue<int> queue(10);
  for (int value = 0; value < 3; ++value) queue.push(value);

  EXPECT_EQ(queue.size(), 3U);
  for (int value = 0; value < 3; ++value) EXPECT_EQ(queue.try_pop(), value);
  EXPECT_FALSE(queue.try_pop().has_value());
}

TEST(BoundedQueue, AFullOneMakesThePusherWait) {
  BoundedQueue<int> queue(4);
  queue.push(1, 3);
  std::atomic<bool> is_in = false;
  std::thread pusher([&] {
    queue.push(2, 2);
    is_in = true;
  });
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(is_in);

  EXPECT_EQ(queue.pop(), 1);
  pusher.join();

  EXPECT_EQ(queue.pop(), 2);
}

TEST(BoundedQueue, AValueHeavierThanTheQueueGoesInWhenItIsEmpty) {
  BoundedQueue<int> queue(4);

  queue.push(1, 100);

  EXPECT_EQ(queue.pop(), 1);
}

TEST(BoundedQueue, ClosingLetsTheTakersDrainAndFreesThePushers) {
  BoundedQueue<int> queue(1);
  queue.push(1);
  std::thread pusher([&] { queue.push(2); });
  queue.close();
  pusher.join();

  EXPECT_FALSE(queue.is_drained());
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(queue.pop(), 2);
  EXPECT_FALSE(queue.pop().has_value());
  EXPECT_TRUE(queue.is_drained());
}

TEST(BoundedQueue, ATakerThatWaitsEndsWhenItIsClosed) {
  BoundedQueue<int> queue(1);
  std::thread taker([&] { EXPECT_FALSE(queue.pop().has_value()); });

  queue.close();

  taker.join();
  EXPECT_FALSE(queue.pop_for(1ms).has_value());
}

TEST(BoundedQueue, SeveralThreadsLoseNothing) {
  constexpr int kValues = 2000;
  BoundedQueue<int> queue(7);
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::multiset<int> taken;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      while (auto value = queue.pop()) {
        const std::lock_guard lock(mutex);
        taken.insert(*value);
      }
    });
  }

  for (int value = 0; value < kValues; ++value) queue.push(value);
  queue.close();
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(taken.size(), static_cast<std::size_t>(kValues));
  EXPECT_EQ(std::set<int>(taken.begin(), taken.end()).size(), taken.size());
}

}  // namespace
}  // namespace trireme::test
