#include "job/run_model.h"

#include <algorithm>

#include "base/clock.h"
#include "job/agreement.h"
#include "job/product_cache.h"
#include "job/progress.h"
#include "models/memory_plan.h"

namespace trireme::job {
namespace {

/// The node of each EP rank in this rank's replica and stage, as a number.
std::vector<std::int32_t> nodes_of_ep_ranks(const topology::Topology& topology, int rank,
                                            const std::vector<std::string>& hosts) {
  const topology::Coordinates at = topology.coordinates(rank);
  const topology::Sizes& sizes = topology.sizes();
  std::vector<std::int32_t> nodes;
  for (int ep = 0; ep < sizes.moe_ep; ++ep) {
    const int other = topology.rank_of(at.dp, at.pp, at.cp, at.moe_tp * sizes.moe_ep + ep);
    const auto first = std::ranges::find(hosts, hosts[static_cast<std::size_t>(other)]);
    nodes.push_back(static_cast<std::int32_t>(first - hosts.begin()));
  }
  return nodes;
}

models::BuildOptions build_options(const config::RunConfig& config, const RunFiles& files,
                                   const RunTerms& terms, const topology::Topology& topology,
                                   int rank) {
  const topology::Coordinates at = topology.coordinates(rank);
  const std::vector<int> stage_layers(config.parallel.pipeline_layers.begin(),
                                      config.parallel.pipeline_layers.end());
  models::BuildOptions options{
      .sizes = topology.sizes(),
      .coordinates = at,
      .layers = topology::layers_of_stage(static_cast<int>(files.model.num_layers),
                                          topology.sizes().pp, at.pp, stage_layers),
      .max_seq_len = terms.max_seq_len};
  if (files.placement) {
    options.experts = {&*files.placement, nodes_of_ep_ranks(topology, rank, terms.hosts)};
  }
  return options;
}

/// The ranks of a node take its GPUs in turn.
void use_gpu_of(const comm::MpiComm& node) {
  if constexpr (ops::kHasCuda) tensor::use_device(node.rank() % tensor::num_devices());
}

/// Says every few seconds how far a long loading is.
class LoadingProgress {
 public:
  LoadingProgress(const Log& log, double interval_s)
      : log_(log), interval_s_(std::min(interval_s, kMostSeconds)), begin_(monotonic_seconds()) {}

  void operator()(std::int64_t done_bytes, std::int64_t total_bytes) {
    const double now = monotonic_seconds();
    if (interval_s_ <= 0 || now - told_ < interval_s_ || done_bytes == total_bytes) return;
    told_ = now;
    const auto done = static_cast<double>(done_bytes), total = static_cast<double>(total_bytes);
    log_.info(cat("weights: ", bytes_text(done), " of ", bytes_text(total), " on this node, ",
                  bytes_text(done / (now - begin_)), "/s, ETA ",
                  duration_text((now - begin_) * (total - done) / done)));
  }

 private:
  static constexpr double kMostSeconds = 2;

  const Log& log_;
  double interval_s_;
  double begin_, told_ = begin_;
};

}  // namespace

RunModel::RunModel(const config::RunConfig& config, const RunFiles& files, const RunTerms& terms,
                   const topology::Topology& topology, const comm::MpiComm& world,
                   const comm::MpiComm& node, const Log& log) {
  const double begin = monotonic_seconds();
  together(world, log,
           [&] { groups_ = comm::make_process_groups(world.duplicate(), topology, config.comm); });
  checkpoint::WeightLoader::Options loading;
  if (config.device == "cuda") {
    loading.place = tensor::Place::device;
    loading.dtype = float_dtype_from_name(config.dtype).value_or(files.model.dtype);
    together(world, log, [&] {
      use_gpu_of(node);
      plan_memory(config, files, topology, world.rank());
    });
  }
  checkpoint::WeightLoader loader(files.checkpoint, &node, loading);
  together(world, log, [&] {
    model_ = models::make_model(
        files.model, build_options(config, files, terms, topology, world.rank()), loader);
  });
  checkpoint::WeightLoader::Summary summary;
  together(world, log,
           [&] { summary = loader.load(LoadingProgress(log, config.progress_interval_s)); });
  together(world, log, [&] { make_context(config, files, terms, topology); });
  const std::int64_t read = node.sum(summary.bytes_read);
  log.info(cat("weights: read ", bytes_text(static_cast<double>(read)),
               " on this node (files: ", bytes_text(static_cast<double>(summary.file_bytes)),
               "), kept ", bytes_text(static_cast<double>(summary.bytes_kept)), " on rank 0, ",
               duration_text(monotonic_seconds() - begin)));
}

void RunModel::plan_memory(const config::RunConfig& config, const RunFiles& files,
                           const topology::Topology& topology, int rank) {
  free_gpu_bytes_ = tensor::free_gpu_bytes();
  memory_plan_ = models::plan_memory({.checkpoint = files.checkpoint,
                                      .model = files.model,
                                      .config = config,
                                      .sizes = topology.sizes(),
                                      .placement = files.placement ? &*files.placement : nullptr,
                                      .device_memory_bytes = free_gpu_bytes_},
                                     topology.coordinates(rank));
}

std::int64_t RunModel::allocated_gpu_bytes() const {
  return free_gpu_bytes_ - tensor::free_gpu_bytes();
}

void RunModel::make_context(const config::RunConfig& config, const RunFiles& files,
                            const RunTerms& terms, const topology::Topology& topology) {
  if (config.device == "cuda") {
    if constexpr (ops::kHasCuda) {
      auto cuda =
          std::make_shared<ops::CudaContext>(static_cast<std::size_t>(memory_plan_.arena_bytes),
                                             files.model.head_dim, config.deterministic);
      load_products(*cuda);
      ops_ = std::make_unique<ops::Context>(
          std::move(cuda), float_dtype_from_name(config.dtype).value_or(files.model.dtype));
    }
  } else {
    ops_ = std::make_unique<ops::Context>(terms.instruction_set, config.dtype == "bfloat16");
  }
  context_ = std::make_unique<layers::ForwardContext>(
      layers::ForwardContext{.ops = *ops_,
                             .groups = groups_,
                             .attention_dp = topology.sizes().attention_dp,
                             .moe_max_num_tokens = config.moe.max_num_tokens,
                             .progress = {}});
}

}  // namespace trireme::job
