#!/usr/bin/env bash
# Starts a command as ranks of one MPI job: the one place that knows how.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tools/launch.sh [-n RANKS] COMMAND [ARGUMENT...]

Starts COMMAND as RANKS ranks of one MPI job: inside a Slurm allocation with srun --mpi=pmix if
Slurm and MPI both support it, else with mpirun.

  -n RANKS   default: the tasks of the Slurm allocation, else 1
  -h, --help this text

example: tools/launch.sh -n 4 build/trireme run --config configs/tiny_cpu.yaml ...

What it sets, each only if it is not set already:
  OMP_NUM_THREADS                    cores / ranks on a node, at least 1
  OMP_WAIT_POLICY                    passive where ranks share cores
  GOMP_SPINCOUNT                     20000 elsewhere: a thread that waits for one which another
                                     program keeps from running gives up its core soon
  OMPI_MCA_mpi_yield_when_idle       1 where ranks outnumber cores
  OMPI_MCA_btl_vader_eager_limit     32768: sums of small batches take one round of messages
  OMPI_MCA_btl_vader_single_copy_mechanism
                                     none in containers that forbid reading a neighbour's memory
  OMPI_MCA_orte_tmpdir_base          /tmp if TMPDIR is too long for sockets or cannot be written

On a terminal the first Ctrl-C sends SIGUSR1 to the ranks, on which trireme stops cleanly (exit code
75), a second one ends them. Standard input is empty.

The exit code is the command's; 64 for a wrong call, 71 if no launcher is found.
TEXT
}

fail() {  # EXIT_CODE MESSAGE
  echo "launch.sh: $2" >&2
  exit "$1"
}

default_to() {  # NAME VALUE
  if [[ -z "${!1:-}" ]]; then export "$1=$2"; fi
}

is_count() { [[ "$1" =~ ^[1-9][0-9]{0,6}$ ]]; }

# Cores that this process may use: its affinity, without hyperthreads, within the cgroup's quota.
usable_cores() {
  local cores physical quota period
  cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
  physical=$(lscpu -p=CORE,SOCKET 2>/dev/null | grep -v '^#' | sort -u | wc -l) || physical=0
  if ((physical > 0 && physical < cores)); then cores=$physical; fi
  if read -r quota period 2>/dev/null </sys/fs/cgroup/cpu.max && is_count "$quota"; then
    quota=$(((quota + period - 1) / period))
    if ((quota < cores)); then cores=$quota; fi
  fi
  echo "$cores"
}

# Reading a neighbour's memory needs the right to trace it, which the system call filters of
# containers take away unless CAP_SYS_PTRACE (bit 19) is given.
may_read_neighbours() {
  local name value filtered=0 capabilities=0
  while read -r name value; do
    case "$name" in
      Seccomp:) filtered=$value ;;
      CapEff:) capabilities=$((16#$value)) ;;
    esac
  done </proc/self/status
  [[ "$filtered" != 2 ]] || ((capabilities >> 19 & 1))
}

in_slurm_with_pmix() {
  [[ -n "${SLURM_JOB_ID:-}" ]] && command -v srun >/dev/null &&
    grep -qw pmix <<<"$(srun --mpi=list 2>&1)" &&
    grep -q '^mca:pmix:' <<<"$(ompi_info --parsable 2>/dev/null)"
}

# Ranks on one node, rounded up.
ranks_per_node() {
  local nodes=1
  if is_count "${SLURM_JOB_NUM_NODES:-}"; then nodes=$SLURM_JOB_NUM_NODES; fi
  echo $((($1 + nodes - 1) / nodes))
}

# Open MPI's mpirun may wait forever when a rank is killed while it connects to it. It waits for
# nothing once none of its processes is left: after ten seconds of that it is ended.
end_if_forgotten() {  # PID_OF_MPIRUN
  local children had_some=0 alone=0
  [[ -r "/proc/$1/task/$1/children" ]] || return 0
  while sleep 1 && read -r children <"/proc/$1/task/$1/children" || [[ -d "/proc/$1" ]]; do
    if [[ -n "${children:-}" ]]; then
      had_some=1 alone=0
    else
      alone=$((alone + had_some))
    fi
    if ((alone >= 10)); then
      kill -KILL "$1"
      return
    fi
  done 2>/dev/null
}

# A terminal's Ctrl-C reaches all processes of its group, and mpirun then ends the ranks within a
# second. So mpirun gets a group of its own: the first Ctrl-C becomes SIGUSR1, on which trireme stops
# cleanly, a further one SIGTERM.
run_for_terminal() {
  local child code status=0 presses=0 interrupted
  set -m
  "$@" </dev/null &
  child=$!
  set +m
  (end_if_forgotten "$child" </dev/null >/dev/null 2>&1 &)
  pass_on() {
    interrupted=1
    kill "-$1" "$child" 2>/dev/null || true
  }
  # A rank that is not there yet cannot be asked to stop.
  has_ranks() {
    local children
    [[ -r "/proc/$child/task/$child/children" ]] || return 0
    read -r children <"/proc/$child/task/$child/children" || true  # no newline at its end
    [[ -n "${children:-}" ]]
  } 2>/dev/null
  on_interrupt() {
    presses=$((presses + 1))
    if ((presses == 1)) && has_ranks; then pass_on USR1; else pass_on TERM; fi
  }
  trap on_interrupt INT
  trap 'pass_on USR1' USR1
  trap 'pass_on TERM' TERM HUP
  while
    interrupted=0
    code=0
    wait "$child" || code=$?
    if ((code != 127)); then status=$code; fi  # 127: waited for already, when the signal came
    ((interrupted))
  do :; done
  exit "$status"
}

unset ranks
while (($# > 0)); do
  case "$1" in
    -n)
      (($# >= 2)) || fail 64 "-n needs a number of ranks"
      ranks=$2
      shift 2
      ;;
    -n?*)
      ranks=${1#-n}
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    --)
      shift
      break
      ;;
    -*) fail 64 "unknown flag $1; flags before COMMAND are -n RANKS and --help" ;;
    *) break ;;
  esac
done
(($# > 0)) || fail 64 "no COMMAND; see tools/launch.sh --help"
if [[ -z "${ranks+given}" ]]; then
  ranks=1
  if [[ -n "${SLURM_JOB_ID:-}" ]]; then ranks=${SLURM_NTASKS:-${SLURM_JOB_NUM_NODES:-1}}; fi
fi
is_count "$ranks" || fail 64 "-n $ranks: expected a whole number of ranks, at least 1"
command -v "$1" >/dev/null || fail 64 "$1 is not a program that can be started"

cores=$(usable_cores)
local_ranks=$(ranks_per_node "$ranks")
threads=$((cores / local_ranks))
if ((threads < 1)); then threads=1; fi
default_to OMP_NUM_THREADS "$threads"
crowded=$((local_ranks > cores))
if ((crowded)); then default_to OMPI_MCA_mpi_yield_when_idle 1; fi
if ((crowded)) || ! is_count "$OMP_NUM_THREADS" || ((local_ranks * OMP_NUM_THREADS > cores)); then
  default_to OMP_WAIT_POLICY passive
else
  default_to GOMP_SPINCOUNT 20000
fi
default_to OMPI_MCA_btl_vader_eager_limit 32768
if ! may_read_neighbours; then default_to OMPI_MCA_btl_vader_single_copy_mechanism none; fi
if [[ -n "${TMPDIR:-}" ]] && { ((${#TMPDIR} > 60)) || [[ ! -w "$TMPDIR" ]]; }; then
  default_to OMPI_MCA_orte_tmpdir_base /tmp
fi

if in_slurm_with_pmix; then
  flags=(--mpi=pmix --kill-on-bad-exit=1 -n "$ranks")
  if is_count "${SLURM_CPUS_PER_TASK:-}"; then flags+=(--cpus-per-task="$SLURM_CPUS_PER_TASK"); fi
  if ((crowded)); then flags+=(--overcommit); fi
  exec srun "${flags[@]}" "$@"
fi

command -v mpirun >/dev/null ||
  fail 71 "mpirun not found; tools/install_deps.sh installs Open MPI (package openmpi-bin)"
# Ranks have threads (OpenMP, tokenizers): they are not bound, and the nodes' threads are told too.
flags=(--bind-to none -x OMP_NUM_THREADS -n "$ranks")
for name in OMP_WAIT_POLICY GOMP_SPINCOUNT; do
  if [[ -n "${!name:-}" ]]; then flags+=(-x "$name"); fi
done
if ((EUID == 0)); then flags+=(--allow-run-as-root); fi
if ((crowded)); then flags+=(--oversubscribe); fi
if [[ ! -t 0 ]]; then
  (end_if_forgotten $$ </dev/null >/dev/null 2>&1 &)
  exec mpirun "${flags[@]}" "$@"
fi
run_for_terminal mpirun "${flags[@]}" "$@"
