#include "job/run_job.h"

#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <set>

#include "base/clock.h"
#include "base/error.h"
#include "base/machine.h"
#include "engine/engine.h"
#include "io/disk_space.h"
#include "io/file_system.h"
#include "io/result_writer.h"
#include "io/run_directory.h"
#include "job/agreement.h"
#include "job/claims.h"
#include "job/expert_report.h"
#include "job/outputs.h"
#include "job/product_cache.h"
#include "job/progress.h"
#include "job/prompt_preparer.h"
#include "job/report.h"
#include "job/result_journal.h"
#include "job/run_facts.h"
#include "job/run_files.h"
#include "job/run_model.h"
#include "job/signals.h"
#include "models/layout_check.h"
#include "models/memory_plan.h"
#include "topology/topology_table.h"

namespace trireme::job {
namespace {

std::string random_word() {
  std::random_device device;
  const std::uint64_t value = (static_cast<std::uint64_t>(device()) << 32) | device();
  return cat(std::hex, value);
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof(name) - 1);
  return name;
}

}  // namespace

/// The stages of a run in order; members die in reverse order of their making.
class RunJob {
 public:
  RunJob(const config::RunConfig& config, const topology::Topology& topology,
         const comm::MpiComm& world, const comm::MpiComm& node, const Log& log,
         const BuildInfo& build, const config::ParallelSizes& given)
      : config_(config),
        given_(given),
        topology_(topology),
        world_(world),
        node_(node),
        log_(log),
        build_(build),
        rank_(world.rank()),
        is_leader_(topology.is_leader(rank_)) {}

  int run();

 private:
  void agree_on_machine();
  void open_files();
  void create_outputs();
  void remove_outputs();
  void load_model();
  void make_engine();
  void poll();
  bool work();
  void wait_for_others();
  int close(bool is_complete);
  JobLoads gather_expert_loads();
  int finish_results(std::int64_t num_rows, const GroupProgress& total, const JobLoads& loads);

  std::vector<int> leaders() const;
  GroupProgress group_progress(const engine::EngineStats& stats) const;
  void on_step(const engine::EngineStats& stats);
  std::string run_dir() const {
    return config_.paths.run_dir.empty() ? config_.paths.output + ".run" : config_.paths.run_dir;
  }
  std::string merge_hint() const {
    return cat("`trireme results merge ", run_dir(), " OUT.h5` makes a result file of them");
  }

  const config::RunConfig& config_;
  const config::ParallelSizes& given_;
  const topology::Topology& topology_;
  const comm::MpiComm& world_;
  const comm::MpiComm& node_;
  const Log& log_;
  const BuildInfo& build_;
  const int rank_;
  const bool is_leader_;

  double start_s_ = monotonic_seconds();
  RunTerms terms_;
  RunTimes times_;

  std::optional<RunFiles> files_;
  std::optional<io::RunDirectory> run_directory_;  ///< of rank 0, which made it and has its lock
  io::Manifest manifest_;                          ///< of rank 0
  std::string nonce_;
  std::unique_ptr<RunModel> model_;
  DomainNames domains_;  ///< of leaders
  std::unique_ptr<ClaimChannel> claims_;
  std::unique_ptr<PromptSource> source_;
  std::unique_ptr<ResultJournal> journal_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<Progress> progress_;
  double last_report_s_ = 0;
  bool says_stop_ = false;
};

std::vector<int> RunJob::leaders() const {
  std::vector<int> ranks;
  for (int rank = 0; rank < world_.size(); ++rank) {
    if (topology_.is_leader(rank)) ranks.push_back(rank);
  }
  return ranks;
}

// What changes bits and is chosen per machine must be the same everywhere.
void RunJob::agree_on_machine() {
  const auto own = kernels::cpu::detect_instruction_set();
  terms_.instruction_set =
      static_cast<kernels::cpu::InstructionSet>(world_.min(static_cast<std::int64_t>(own)));
  terms_.num_threads = static_cast<int>(world_.min(config_.limits.threads_per_rank));
  ::omp_set_num_threads(terms_.num_threads);
  terms_.run_id = world_.broadcast(random_word(), 0);
  terms_.unix_time = std::stoll(world_.broadcast(std::to_string(creation_time()), 0));
  terms_.hosts = world_.all_gather(host_name());
  log_.info(cat("trireme ", build_.version, " (", build_.git, "), ", world_.size(),
                world_.size() == 1 ? " rank on " : " ranks on ",
                std::set<std::string>(terms_.hosts.begin(), terms_.hosts.end()).size(),
                " node(s), ", terms_.num_threads, " thread(s) a rank, ",
                kernels::cpu::name_of(terms_.instruction_set)));
  log_.info(topology::topology_table(topology_, terms_.hosts));
}

void RunJob::open_files() {
  together(world_, log_, [&] {
    const PromptUse use = rank_ == 0 ? PromptUse::checked_rows : PromptUse::rows;
    files_.emplace(open_run_files(config_, is_leader_ ? use : PromptUse::none));
    for (const std::string& warning : files_->warnings) {
      if (rank_ == 0) log_.warning(warning);
    }
  });
  together(world_, log_, [&] {
    files_->checkpoint = checkpoint::Checkpoint::open(config_.paths.model, &node_);
    terms_.max_seq_len = models::max_seq_len_of(files_->model, config_);
    config::require_none(models::check_layout(files_->model, config_, topology_.sizes(), &given_));
    check_placement(*files_, config_, topology_.sizes());
    // Builds the model without memory, so a tensor that is not there is found here as well.
    config::require_none(models::check_memory(
        {.checkpoint = files_->checkpoint,
         .model = files_->model,
         .config = config_,
         .sizes = topology_.sizes(),
         .placement = files_->placement ? &*files_->placement : nullptr,
         .device_memory_bytes =
             config_.device == "cuda" ? tensor::free_gpu_bytes() : memory_bytes() / node_.size()}));
  });
}

void RunJob::create_outputs() {
  // Rank 0 alone creates; the word it leaves proves to the others that they see the same files.
  nonce_ = world_.broadcast(random_word(), 0);
  together(world_, log_, [&] {
    if (rank_ != 0) return;
    check_outputs(config_, files_->model);
    io::check_disk_space(config_.paths.output, disk_space_needed(*files_, terms_.max_seq_len));
    // An older output stays until the new one is complete.
    if (io::exists(run_dir())) io::RunDirectory::open(run_dir()).remove();
    run_directory_.emplace(io::RunDirectory::create(run_dir()));
    if (!run_directory_->is_locked()) {
      log_.warning(cat(run_dir(),
                       ": this file system has no locks, so nothing keeps another run "
                       "from removing this run directory with --overwrite"));
    }
    manifest_ = {.parts = identity_of(config_, *files_), .attributes = {}};
    manifest_.attributes =
        result_attributes(config_, *files_, topology_, terms_, build_, manifest_.parts);
    run_directory_->write_manifest(manifest_);
    run_directory_->write_nonce(nonce_);
  });
  const auto run_tag = static_cast<std::uint32_t>(
      std::stoul(world_.broadcast(std::to_string(rank_ == 0 ? manifest_.run_tag() : 0), 0)));
  together(world_, log_, [&] {
    std::string seen;
    try {
      seen = io::RunDirectory::open(run_dir()).read_nonce();
    } catch (const Error& error) {
      seen = error.what();
    }
    if (seen != nonce_) {
      fail(ErrorKind::output,
           cat("run_dir is ", config::shown(run_dir()),
               ", expected a folder that all nodes share: ", host_name(),
               " does not see there what rank 0 wrote; choose another --run-dir"));
    }
    if (is_leader_) {
      journal_ = std::make_unique<ResultJournal>(
          io::JournalWriter::create(run_dir(), {.epoch = 0, .rank = rank_, .sequence = 0}, run_tag),
          rank_, start_s_);
    }
  });
}

void RunJob::remove_outputs() {
  journal_.reset();
  world_.barrier();
  if (!run_directory_) return;
  try {
    run_directory_->remove();
  } catch (const Error& error) {
    log_.warning(error.what());
  }
}

void RunJob::load_model() {
  const double begin = monotonic_seconds();
  model_ = std::make_unique<RunModel>(config_, *files_, terms_, topology_, world_, node_, log_);
  times_.load_s = monotonic_seconds() - begin;
}

void RunJob::make_engine() {
  std::unique_ptr<ClaimQueue> queue;
  if (rank_ == 0) {
    ClaimPolicy policy;
    policy.num_rows = files_->num_prompts;
    policy.num_groups = topology_.num_sequence_groups();
    policy.max_rows = 2 * config_.limits.max_batch_size;
    policy.work_of = [this](std::int64_t begin, std::int64_t end) {
      return files_->prompts->with([&](io::PromptReader& reader) {
        std::vector<std::int64_t> work = reader.lengths(begin, end);
        const std::vector<std::int64_t> outputs = reader.allowed_outputs(begin, end);
        for (std::size_t i = 0; i < work.size(); ++i) {
          work[i] += outputs[i] >= 0 ? outputs[i] : files_->sampling.params.max_tokens;
        }
        return work;
      });
    };
    queue = std::make_unique<ClaimQueue>(std::move(policy));
    progress_ = std::make_unique<Progress>(log_, files_->num_prompts, config_.progress_interval_s);
  }
  claims_ = std::make_unique<ClaimChannel>(model_->groups().claims, leaders(), std::move(queue));
  together(world_, log_, [&] {
    engine::EngineParts parts{
        .topology = topology_,
        .rank = rank_,
        .groups = model_->groups(),
        .model = model_->model(),
        .context = model_->context(),
        .hidden_size = files_->model.hidden_size,
        .vocab_size = files_->model.vocab_size,
        .rules = {.tokenizer = files_->tokenizer ? &*files_->tokenizer : nullptr,
                  .eos_token_ids = files_->model.eos_token_ids,
                  .max_seq_len = terms_.max_seq_len},
        .sink = journal_.get(),
        .poll = [this] { poll(); },
        .stop_requested = {},
        .on_step = {}};
    if (is_leader_) {
      const int num_tokenizers = std::max(1, static_cast<int>(config_.limits.tokenizer_threads));
      source_ = std::make_unique<PromptSource>(
          *files_->prompts, *claims_,
          make_request_maker(*files_, config_.paths.model, terms_.unix_time, domains_),
          num_tokenizers);
      parts.source = source_.get();
      parts.stop_requested = [this] { return claims_->stop_requested(); };
      parts.on_step = [this](const engine::EngineStats& stats) { on_step(stats); };
    }
    engine_ = std::make_unique<engine::Engine>(engine_options(config_, topology_, terms_, *model_),
                                               std::move(parts));
    if constexpr (ops::kHasCuda) {
      if (model_->is_on_gpu() && node_.rank() == 0) save_products(*model_->context().ops.cuda);
    }
  });
  log_.info(cat("KV memory: ", bytes_text(static_cast<double>(engine_->kv_cache().size_bytes())),
                " a rank, room for ", static_cast<std::int64_t>(engine_->kv_sequences()),
                " sequence(s) of ", terms_.max_seq_len, " tokens"));
  if (model_->is_on_gpu()) log_.info(gpu_memory_text(*model_));
}

GroupProgress RunJob::group_progress(const engine::EngineStats& stats) const {
  return {.prompts_done = journal_->num_prompts(),
          .rows_done = journal_->num_rows(),
          .rows_failed = journal_->num_failed(),
          .prompt_tokens = stats.prompt_tokens,
          .output_tokens = stats.output_tokens,
          .num_running = stats.num_running,
          .num_waiting = stats.num_waiting,
          .num_preemptions = stats.num_preemptions,
          .reused_tokens = stats.reused_tokens,
          .kv_use = stats.kv_use};
}

void RunJob::on_step(const engine::EngineStats& stats) {
  const double now = monotonic_seconds();
  if (now - last_report_s_ >= 0.25) {
    last_report_s_ = now;
    claims_->report(group_progress(stats));
  }
  if (progress_) progress_->update(claims_->progress());
}

// A signal may reach any rank, and mpirun leaves a second between SIGTERM and SIGKILL: rank 0 says
// at once what to do.
void RunJob::poll() {
  claims_->poll();
  if (stop_signal_received()) claims_->request_stop();
  if (rank_ != 0 || says_stop_ || !claims_->stop_requested()) return;
  says_stop_ = true;
  if (progress_) progress_->finish();
  log_.info(cat("stopping; finished rows are in ", run_dir(), "; ", merge_hint()));
}

bool RunJob::work() {
  const double begin = monotonic_seconds();
  bool is_complete = false;
  try {
    is_complete = engine_->run();
    if (is_leader_) {
      claims_->report(group_progress(engine_->stats()));
      journal_->close();
    }
  } catch (...) {
    // No agreement is possible any more: what is finished is saved, then everybody ends.
    const Failure failure = describe(std::current_exception());
    if (progress_) progress_->finish();
    if (journal_) journal_->drain_for(1.0);
    log_.error(cat(failure.message, "\nfinished rows are kept in ", run_dir(), "; ", merge_hint()));
    world_.abort(failure.exit_code);
  }
  times_.work_s = monotonic_seconds() - begin;
  return is_complete;
}

// Rank 0 goes on answering claims until every rank is here; nobody spins meanwhile.
void RunJob::wait_for_others() {
  claims_->finish();
  comm::HostRequest barrier = world_.begin_barrier();
  barrier.wait([this] {
    poll();
    if (progress_) progress_->update(claims_->progress());
    ::usleep(200);
  });
  claims_->poll();
  if (progress_) progress_->finish();
}

/// What the experts of all ranks were asked; nothing for a model without. Collective.
JobLoads RunJob::gather_expert_loads() {
  if (files_->model.num_experts == 0) return {};
  const std::map<std::uint64_t, std::string> names = domains_.names();
  JobLoads job = gather_loads(world_, {.counts = engine_->expert_counts(),
                                       .domain_names = names,
                                       .model = files_->model,
                                       .topology = topology_,
                                       .has_choices = config_.paths.record_choices});
  job.loads.model_name = config_.paths.model;
  job.loads.model_hash = files_->checkpoint.fingerprint();
  return job;
}

/// Of rank 0: the result file, the expert loads and the closing summary; returns the exit code.
/// `num_rows`: what the groups have finished, to the row.
int RunJob::finish_results(std::int64_t num_rows, const GroupProgress& total,
                           const JobLoads& loads) {
  const double begin = monotonic_seconds();
  run_directory_->check_is_of(manifest_, nonce_);
  const io::MergeReport merged =
      io::merge_results(*run_directory_, {.output = config_.paths.output,
                                          .overwrite = config_.paths.overwrite,
                                          .complete = true,
                                          .num_rows = num_rows,
                                          .attributes = manifest_.attributes});
  times_.merge_s = monotonic_seconds() - begin;
  for (const std::string& warning : merged.warnings) log_.warning(warning);
  if (!config_.paths.keep_run_directory) run_directory_->remove();
  const std::string path = loads_path(config_.paths, files_->model);
  if (!path.empty()) io::write_expert_loads(loads.loads, path);
  times_.total_s = monotonic_seconds() - start_s_;
  const std::string report =
      report_text({.merged = merged,
                   .total = total,
                   .stats = engine_->stats(),
                   .times = times_,
                   .output = config_.paths.output,
                   .experts = expert_report(loads, files_->placement.has_value(), path)});
  const bool all_failed = merged.num_rows > 0 && merged.num_error == merged.num_rows;
  all_failed ? log_.error(report) : log_.info(report);
  return merged.num_error > 0 && config_.strict ? kExitFailedRows : 0;
}

int RunJob::close(bool is_complete) {
  source_.reset();
  const bool all_complete = world_.min(is_complete ? 1 : 0) == 1;
  const GroupProgress total = total_of(claims_->progress());  // of rank 0; the others know nothing
  if (!all_complete) {
    if (rank_ == 0) {
      log_.info(cat("stopped: ", grouped(total.rows_done), " finished rows are in ", run_dir(),
                    "; ", merge_hint()));
    }
    return kExitStopped;
  }
  // Not of `total`: the last report of a group may still be on its way.
  const std::int64_t num_rows = world_.sum(is_leader_ ? journal_->num_rows() : 0);
  const JobLoads loads = gather_expert_loads();
  int code = 0;
  together(world_, log_, [&] {
    if (rank_ == 0) code = finish_results(num_rows, total, loads);
  });
  return std::stoi(world_.broadcast(std::to_string(code), 0));
}

int RunJob::run() {
  agree_on_machine();
  open_files();
  try {
    create_outputs();
    load_model();
    make_engine();
  } catch (const StageFailed&) {
    remove_outputs();  // nothing was computed yet, and the next try must not trip over them
    throw;
  }
  const bool is_complete = work();
  wait_for_others();
  return close(is_complete);
}

int run_job(const config::RunConfig& config, const topology::Topology& topology,
            const comm::MpiComm& world, const comm::MpiComm& node, const Log& log,
            const BuildInfo& build, const config::ParallelSizes& given) {
  RunJob job(config, topology, world, node, log, build, given);
  return job.run();
}

}  // namespace trireme::job
