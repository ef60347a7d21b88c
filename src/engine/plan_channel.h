#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "comm/mpi_comm.h"
#include "engine/step_plan.h"

namespace trireme::engine {

/// Carries plans from a group's leader to its other members, by non-blocking messages. Members
/// receive the header of the next plan one ahead.
class PlanChannel {
 public:
  /// `group`: the sequence group, leader first. `progress` is called while waiting.
  PlanChannel(const comm::MpiComm& group, std::function<void()> progress);
  ~PlanChannel();
  PlanChannel(const PlanChannel&) = delete;
  PlanChannel& operator=(const PlanChannel&) = delete;

  /// Leader: starts sending; returns at once.
  void send(const StepPlan& plan);
  /// Leader: lets finished sends go.
  void poll();
  /// Leader: waits until everything has been sent.
  void flush();

  /// Member: the next plan.
  StepPlan receive();

 private:
  struct Outgoing {
    PlanBytes bytes;
    std::vector<comm::HostRequest> requests;
  };
  void post_header();

  const comm::MpiComm& group_;
  std::function<void()> progress_;
  std::deque<std::unique_ptr<Outgoing>> outgoing_;
  PlanHeader next_header_;
  comm::HostRequest header_request_;
};

}  // namespace trireme::engine
