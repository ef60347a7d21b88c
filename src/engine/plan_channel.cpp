#include "engine/plan_channel.h"

#include <span>

namespace trireme::engine {
namespace {

constexpr int kHeaderTag = 1;
constexpr int kBodyTag = 2;

}  // namespace

PlanChannel::PlanChannel(const comm::MpiComm& group, std::function<void()> progress)
    : group_(group), progress_(std::move(progress)) {
  if (group_.rank() != 0) post_header();
}

PlanChannel::~PlanChannel() = default;

void PlanChannel::post_header() {
  header_request_ =
      group_.receive(std::as_writable_bytes(std::span(&next_header_, 1)), 0, kHeaderTag);
}

void PlanChannel::send(const StepPlan& plan) {
  if (group_.size() == 1) return;
  auto outgoing = std::make_unique<Outgoing>();
  outgoing->bytes = serialize(plan);
  const auto header = std::as_bytes(std::span(&outgoing->bytes.header, 1));
  const auto body = std::as_bytes(std::span(outgoing->bytes.body));
  for (int member = 1; member < group_.size(); ++member) {
    outgoing->requests.push_back(group_.send(header, member, kHeaderTag));
    if (!body.empty()) outgoing->requests.push_back(group_.send(body, member, kBodyTag));
  }
  outgoing_.push_back(std::move(outgoing));
  poll();
}

void PlanChannel::poll() {
  while (!outgoing_.empty()) {
    for (comm::HostRequest& request : outgoing_.front()->requests) {
      if (request.is_active() && !request.test()) return;
    }
    outgoing_.pop_front();
  }
}

void PlanChannel::flush() {
  poll();
  // Progress may poll as well, so nothing of the queue is held here meanwhile.
  while (!outgoing_.empty()) {
    if (progress_) progress_();
    poll();
  }
}

StepPlan PlanChannel::receive() {
  header_request_.wait(progress_);
  const PlanHeader header = next_header_;
  check_header(header);
  std::vector<std::int32_t> body(static_cast<std::size_t>(header.body_words));
  if (!body.empty()) {
    group_.receive(std::as_writable_bytes(std::span(body)), 0, kBodyTag).wait(progress_);
  }
  StepPlan plan = deserialize(header, body);
  if (!plan.is_last) post_header();
  return plan;
}

}  // namespace trireme::engine
