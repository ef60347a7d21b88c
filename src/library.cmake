# How every folder is built: one target a folder, same warnings, includes rooted at src/ and at the top.

add_library(trireme_options INTERFACE)
target_compile_features(trireme_options INTERFACE cxx_std_20)
target_include_directories(trireme_options INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
target_compile_options(trireme_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -Werror -Wno-sign-conversion>
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>)  # GCC 12 sees overlaps in std::string that are none (PR 105651)
if(TRIREME_CUDA)
  target_compile_definitions(trireme_options INTERFACE TRIREME_CUDA)
endif()
if(TRIREME_SANITIZE)
  target_compile_options(trireme_options INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(trireme_options INTERFACE -fsanitize=address,undefined)
endif()

# trireme_library(NAME SOURCES a.cpp ... [PUBLIC targets] [PRIVATE targets]) makes trireme_NAME.
function(trireme_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(trireme_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(trireme_${name}
    PUBLIC trireme_options ${ARG_PUBLIC}
    PRIVATE ${ARG_PRIVATE})
endfunction()

# Adds a folder; one that has nothing to build yet is skipped.
function(trireme_add_folder path)
  if(EXISTS ${PROJECT_SOURCE_DIR}/${path}/CMakeLists.txt)
    add_subdirectory(${path})
  endif()
endfunction()
