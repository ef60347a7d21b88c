#!/usr/bin/env bash
# Checks the line that tools/launch.sh builds, with launchers that only print what they were given.
# usage: launch_test.sh LAUNCH_SH
set -euo pipefail

launch=$1
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
failures=0

if read -r quota period 2>/dev/null </sys/fs/cgroup/cpu.max && [[ $quota != max ]] &&
  ((quota < 8 * period)); then
  echo "skipped: the cases need 8 cores, and the cgroup's quota gives less"
  exit 77
fi

stub() {  # NAME BODY
  printf '#!/bin/bash\n%s\n' "$2" >"$tools/$1"
  chmod +x "$tools/$1"
}
# shellcheck disable=SC2016  # the stubs expand it
print_call='echo "${0##*/} $* threads=$OMP_NUM_THREADS wait=${OMP_WAIT_POLICY:-} \
yield=${OMPI_MCA_mpi_yield_when_idle:-} tmpdir=${OMPI_MCA_orte_tmpdir_base:-}"'
stub mpirun "$print_call"
stub nproc 'echo 8'
stub lscpu 'printf "%s,0\n" 0 1 2 3 4 5 6 7'
stub ompi_info 'echo mca:pmix:ext3x:version'
# shellcheck disable=SC2016
stub srun 'if [[ $1 == --mpi=list ]]; then echo "none pmix_v4 pmix" >&2; exit 0; fi
'"$print_call"

# Runs the launcher with these variables; what it prints is in $output, its exit code in $code.
run() {  # [VARIABLE=VALUE...] -- ARGUMENT...
  local variables=()
  while [[ $1 != -- ]]; do
    variables+=("$1")
    shift
  done
  shift
  code=0
  output=$(env -i "PATH=$tools:$PATH" "${variables[@]}" "$launch" "$@" 2>&1) || code=$?
}

expect() {  # DESCRIPTION EXIT_CODE WORDS...
  local description=$1 word
  if [[ $code != "$2" ]]; then
    echo "FAILED: $description: exit code $code, expected $2: $output"
    failures=$((failures + 1))
  fi
  shift 2
  for word in "$@"; do
    if [[ " $output " != *" $word "* ]]; then
      echo "FAILED: $description: '$word' is not in: $output"
      failures=$((failures + 1))
    fi
  done
}

run -- -n 2 true --flag
expect "few ranks share the cores among their threads" 0 \
  mpirun "--bind-to none" "-n 2" "true --flag" threads=4 wait= yield=
[[ $output != *--oversubscribe* ]] || expect "few ranks do not oversubscribe" 1

run -- -n 12 true
expect "more ranks than cores give way" 0 --oversubscribe threads=1 wait=passive yield=1

run -- -n8 true
expect "as many ranks as cores do not" 0 "-n 8" threads=1 wait= yield=

run OMP_NUM_THREADS=3 OMP_WAIT_POLICY=active -- -n 4 true
expect "what is set stays" 0 threads=3 wait=active

run OMP_NUM_THREADS=3 -- -n 4 true
expect "threads that share cores wait passively" 0 threads=3 wait=passive yield=

run -- true
expect "the default is one rank" 0 "-n 1" threads=8

run SLURM_JOB_ID=7 SLURM_NTASKS=16 SLURM_JOB_NUM_NODES=4 SLURM_CPUS_PER_TASK=2 -- true
expect "an allocation is used whole" 0 srun --mpi=pmix "-n 16" --cpus-per-task=2 threads=2 yield=

run SLURM_JOB_ID=7 SLURM_NTASKS=2 -- -n 16 true
expect "ranks beyond the allocation's cores" 0 srun "-n 16" --overcommit threads=1 yield=1

stub ompi_info 'echo mca:pmix_without:it'
run SLURM_JOB_ID=7 SLURM_NTASKS=16 SLURM_JOB_NUM_NODES=4 -- true
expect "an MPI without PMIx is started by mpirun" 0 mpirun "-n 16"

run "TMPDIR=/tmp/$(printf 'x%.0s' {1..80})" -- true
expect "a long TMPDIR is not used for sockets" 0 tmpdir=/tmp
run TMPDIR=/tmp -- true
expect "a short one is" 0 tmpdir=

for ranks in 0 -1 two 1.5 ""; do
  run -- -n "$ranks" true
  expect "-n '$ranks' is refused" 64
done
run -- -n 2
expect "no command" 64 COMMAND\;
run -- --ranks 2 true
expect "unknown flag" 64 "--ranks;"
run -- no_such_program
expect "no such program" 64 no_such_program
run -- --help
expect "help" 0 usage:

stub mpirun 'exit 75'
run -- true
expect "the exit code passes" 75
((failures == 0)) && echo "launch: all cases pass"
