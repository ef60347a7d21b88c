# What the job scripts share; adapt it to your site, then: sbatch jobs/one_node.sbatch
# module load openmpi hdf5
TRIREME=${TRIREME:-$PWD/build/cpu-release/trireme}
CONFIG=${CONFIG:-configs/tiny_cpu.yaml}
MODEL=${MODEL:-tests/data/demo}
PROMPTS=${PROMPTS:-demo/prompts.h5}
OUTPUT=${OUTPUT:-results-$SLURM_JOB_ID.h5}
