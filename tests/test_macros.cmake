# One line registers a test. Every test has a label, a time limit and, if it starts ranks, the
# resource `cores`, so that two of them never share the machine.

# All programs with label unit: what the sanitizer build needs.
add_custom_target(unit_tests)
# All programs with label gpu.
add_custom_target(gpu_tests)

# add_unit_test(NAME SOURCES a_test.cpp ... LIBRARIES targets [TIMEOUT s]): no MPI, no GPU.
function(add_unit_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(unit_${name} ${ARG_SOURCES})
  target_link_libraries(unit_${name} PRIVATE trireme_options ${ARG_LIBRARIES} GTest::gtest_main)
  add_dependencies(unit_tests unit_${name})
  target_compile_definitions(unit_${name} PRIVATE
    TRIREME_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data")
  add_test(NAME unit_${name} COMMAND unit_${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(unit_${name} PROPERTIES LABELS unit TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "OMP_WAIT_POLICY=passive")
endfunction()

# add_mpi_test(NAME RANKS 1 2 4 SOURCES a_test.cpp ... LIBRARIES targets [TIMEOUT s] [LABEL mpi]):
# the same program once per number of ranks, started by tools/launch.sh.
function(add_mpi_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT;LABEL" "RANKS;SOURCES;LIBRARIES" ${ARGN})
  add_executable(mpi_${name} ${ARG_SOURCES})
  target_link_libraries(mpi_${name} PRIVATE trireme_options trireme_test_support ${ARG_LIBRARIES})
  target_compile_definitions(mpi_${name} PRIVATE
    TRIREME_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  if(NOT ARG_LABEL)
    set(ARG_LABEL mpi)
  endif()
  foreach(ranks ${ARG_RANKS})
    add_test(NAME mpi_${name}_${ranks}
      COMMAND ${PROJECT_SOURCE_DIR}/tools/launch.sh -n ${ranks} $<TARGET_FILE:mpi_${name}>)
    set_tests_properties(mpi_${name}_${ranks} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT}
      RESOURCE_LOCK cores ENVIRONMENT "OMP_WAIT_POLICY=passive")
  endforeach()
endfunction()
