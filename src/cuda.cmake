# The CUDA compiler and libraries; what is missing is named with what to install.
# Machine code for Hopper with its own instructions, PTX for whatever comes later or is as old as Ampere.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 90a-real 80-virtual CACHE STRING "GPU architectures")
endif()

if(NOT CMAKE_CUDA_COMPILER)
  find_program(TRIREME_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin)
  if(NOT TRIREME_NVCC)
    message(FATAL_ERROR
      "TRIREME_CUDA=ON needs nvcc of CUDA 12.4 or newer, which was not found: install the packages "
      "cuda-nvcc-13-0, cuda-cudart-dev-13-0 and libcublas-dev-13-0 of NVIDIA's repository, or name a "
      "toolkit by CUDA_HOME=DIR.")
  endif()
  set(CMAKE_CUDA_COMPILER ${TRIREME_NVCC})
endif()
enable_language(CUDA)
# CMake knows CUDA20 from 3.25.2 on only.
add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>)

find_package(CUDAToolkit QUIET)
foreach(library cudart cublasLt)
  if(NOT TARGET CUDA::${library})
    message(FATAL_ERROR
      "TRIREME_CUDA=ON needs ${library} of the CUDA toolkit beside ${CMAKE_CUDA_COMPILER}: install the "
      "packages cuda-cudart-dev-13-0 and libcublas-dev-13-0 of NVIDIA's repository.")
  endif()
endforeach()
