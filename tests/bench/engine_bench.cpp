// Speed of the engine on one rank beside the bounds of the machine, measured in the same run: a
// prompt of 512 tokens, one sequence of 128 and 128, 32 sequences of 128 and 64.
//
// usage: engine_bench MODEL_DIR [KEY=VALUE ...]
//   threads=1,2   dtypes=float32,bfloat16 (of activations)   cases=long,one,many
//   bounds=yes|no   rounds=5 (the median is printed)   set=generic|avx2|avx512_bf16 (of the
//   products) clock=wall|own (own: with one thread that thread's time, for a machine that is not
//   idle)

#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/mpi_comm.h"
#include "library_product.h"
#include "machine.h"
#include "timed_engine.h"

namespace {

using namespace trireme;
using bench::RoundTime;
using bench::Workload;
using kernels::cpu::InstructionSet;

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

struct Options {
  std::vector<int> threads = {1, 2};
  std::vector<std::string> dtypes = {"float32", "bfloat16"}, cases = {"long", "one", "many"};
  int rounds = 5;
  std::int64_t max_num_tokens = 2048;
  InstructionSet set = kernels::cpu::detect_instruction_set();
  bool own_time = false, with_bounds = true;

  void set_key(const std::string& key, const std::string& value) {
    if (key == "threads") {
      threads.clear();
      for (const std::string& each : split(value)) threads.push_back(std::stoi(each));
    } else if (key == "dtypes") {
      dtypes = split(value);
    } else if (key == "cases") {
      cases = split(value);
    } else if (key == "rounds") {
      rounds = std::stoi(value);
    } else if (key == "max_num_tokens") {
      max_num_tokens = std::stoll(value);
    } else if (key == "clock") {
      own_time = value == "own";
    } else if (key == "bounds") {
      with_bounds = value != "no";
    } else if (key == "set") {
      for (const auto each : {InstructionSet::generic, InstructionSet::avx2}) {
        if (value == kernels::cpu::name_of(each)) set = each;
      }
    } else {
      fail(ErrorKind::usage, cat("unknown key ", key));
    }
  }
};

/// What the machine can do with a number of threads and a dtype.
struct Machine {
  double read_gb_s = 0, peak_gflops = 0, library_gflops = 0;
};

Machine measure_machine(int threads, InstructionSet set, bool in_bf16) {
  const bool pairs = in_bf16 && set == InstructionSet::avx512_bf16;
  return {.read_gb_s = bench::read_bandwidth(threads),
          .peak_gflops = bench::peak_flops(threads, set, pairs),
          .library_gflops = bench::library_gflops(512, 4096, 4096, pairs)};
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

template <typename Rate>
double median_of(const std::vector<RoundTime>& times, const Rate& rate) {
  std::vector<double> values;
  for (const RoundTime& time : times) values.push_back(rate(time));
  return median(values);
}

class Table {
 public:
  Table(const bench::TimedModel& model, const std::string& dtype, int threads,
        const Machine& machine)
      : model_(model), dtype_(dtype), threads_(threads), machine_(machine) {}

  static void print_head() {
    std::printf("%-12s %7s %-9s %9s %9s %9s %9s\n", "case", "threads", "dtype", "tokens/s", "bound",
                "of bound", "of lib.");
  }

  /// Both parts of a workload, and all its tokens over all its time.
  void print(const std::string& name, const Workload& load,
             const std::vector<RoundTime>& times) const {
    const auto prompt = static_cast<double>(load.num_seqs * load.prompt_tokens);
    const auto output = static_cast<double>(load.num_seqs * load.output_tokens);
    line(name + "_prompt", median_of(times, [&](auto& t) { return prompt / t.prompt_s; }),
         prompt_bound(load, machine_.peak_gflops), prompt_bound(load, machine_.library_gflops));
    if (load.output_tokens == 1) return;
    line(
        name + "_output",
        median_of(times, [](auto& t) { return static_cast<double>(t.output_tokens) / t.output_s; }),
        output_bound(load, machine_.peak_gflops), output_bound(load, machine_.library_gflops));
    line(name + "_all",
         median_of(times, [&](auto& t) { return (prompt + output) / (t.prompt_s + t.output_s); }),
         0, 0);
  }

 private:
  void line(const std::string& name, double rate, double bound, double product_bound) const {
    std::printf("%-12s %7d %-9s %9.1f", name.c_str(), threads_, dtype_.c_str(), rate);
    if (bound > 0) std::printf(" %9.1f %9.2f", bound, rate / bound);
    if (product_bound > 0) std::printf(" %9.2f", rate / product_bound);
    std::printf("\n");
    std::fflush(stdout);
  }

  /// Tokens per second if nothing but the products of a prompt took time.
  double prompt_bound(const Workload& load, double gflops) const {
    const auto tokens = static_cast<double>(load.prompt_tokens);
    return gflops * 1e9 * tokens / (model_.layer_flops() * tokens + model_.head_flops());
  }

  /// Tokens per second if a step took as long as reading the weights, or as its products.
  double output_bound(const Workload& load, double gflops) const {
    const auto seqs = static_cast<double>(load.num_seqs);
    const double reading = model_.weight_bytes() / (machine_.read_gb_s * 1e9);
    const double products = seqs * (model_.layer_flops() + model_.head_flops()) / (gflops * 1e9);
    return seqs / std::max(reading, products);
  }

  const bench::TimedModel& model_;
  std::string dtype_;
  int threads_;
  Machine machine_;
};

void measure(const Options& options, bench::TimedModel& model, int threads,
             const std::string& dtype) {
  omp_set_num_threads(threads);
  const bool in_bf16 = dtype == "bfloat16";
  Machine machine;
  if (options.with_bounds) {
    machine = measure_machine(threads, options.set, in_bf16);
    std::printf(
        "# set=%s threads=%d dtype=%s read_gb_s=%.1f peak_gflops=%.0f library_gflops=%.0f\n",
        kernels::cpu::name_of(options.set), threads, dtype.c_str(), machine.read_gb_s,
        machine.peak_gflops, machine.library_gflops);
  }
  const Table table(model, dtype, threads, machine);
  bench::EngineSettings settings{.set = options.set,
                                 .dtype = in_bf16 ? DType::bfloat16 : DType::float32,
                                 .max_num_tokens = options.max_num_tokens};
  if (options.own_time) settings.clock = bench::seconds_now;
  constexpr std::pair<const char*, Workload> kWorkloads[] = {
      {"long", {1, 512, 1}}, {"one", {1, 128, 128}}, {"many", {32, 128, 64}}};
  for (const auto& [name, load] : kWorkloads) {
    if (std::ranges::find(options.cases, name) == options.cases.end()) continue;
    table.print(name, load, model.run(settings, load, options.rounds));
  }
}

void run(const std::string& model_dir, const Options& options) {
  bench::TimedModel model(model_dir);
  std::printf("# %s: %.1f MB of weights a step\n", model_dir.c_str(), model.weight_bytes() / 1e6);
  Table::print_head();
  for (const int threads : options.threads) {
    for (const std::string& dtype : options.dtypes) measure(options, model, threads, dtype);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const comm::MpiEnvironment mpi(&argc, &argv);
  try {
    if (argc < 2) fail(ErrorKind::usage, "usage: engine_bench MODEL_DIR [KEY=VALUE ...]");
    Options options;
    for (const std::string argument : std::vector(argv + 2, argv + argc)) {
      const std::size_t equals = std::min(argument.find('='), argument.size());
      options.set_key(argument.substr(0, equals),
                      argument.substr(std::min(equals + 1, argument.size())));
    }
    run(argv[1], options);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return exit_code(error.kind());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "a value is no number: %s\n", error.what());
    return exit_code(ErrorKind::usage);
  }
  return 0;
}
