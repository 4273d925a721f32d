# One shape for every folder of code: *.cpp is the library, *.test.cpp its tests, *.fuzz.cpp its fuzz targets,
# main.cpp the executable. A module that is larger than a folder names the FOLDERS in it whose files belong to it too.

function(_troupe_sources out_sources out_tests out_fuzz)
  set(patterns ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  foreach(folder IN LISTS ARGN)
    list(APPEND patterns ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cpp)
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  set(tests ${sources})
  set(fuzz ${sources})
  list(FILTER tests INCLUDE REGEX "\\.test\\.cpp$")
  list(FILTER fuzz INCLUDE REGEX "\\.fuzz\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "(\\.test|\\.fuzz)\\.cpp$|/main\\.cpp$")
  set(${out_sources} ${sources} PARENT_SCOPE)
  set(${out_tests} ${tests} PARENT_SCOPE)
  set(${out_fuzz} ${fuzz} PARENT_SCOPE)
endfunction()

# troupe_precompiled(<name> [DEPS targets...] [OPTIONS flags...] HEADERS <system headers>...): a precompiled header that many
# modules use. Headers of ours stay out: where only their comments changed, ccache answers with the precompiled header made
# from the old text, and GCC, which knows a `#pragma once` file by its content, then reads the new text a second time.
function(troupe_precompiled name)
  cmake_parse_arguments(arg "" "" "DEPS;OPTIONS;HEADERS" ${ARGN})
  if(NOT arg_HEADERS MATCHES "^(<[^<>]+>;?)+$")
    message(FATAL_ERROR "troupe_precompiled(${name}): takes <system headers> only, got: ${arg_HEADERS}")
  endif()
  if(NOT TROUPE_PCH)
    return()
  endif()
  file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/precompiled/${name}.cpp CONTENT "// Carries a precompiled header.\n")
  add_library(troupe_precompiled_${name} OBJECT ${CMAKE_BINARY_DIR}/precompiled/${name}.cpp)
  target_link_libraries(troupe_precompiled_${name} PRIVATE ${arg_DEPS})
  target_compile_options(troupe_precompiled_${name} PRIVATE ${arg_OPTIONS})
  target_precompile_headers(troupe_precompiled_${name} PRIVATE ${arg_HEADERS})
endfunction()

# The flags of what is written over libtorch: they define macros, so its precompiled header and all its users share them.
# Without -fno-trapping-math GCC leaves e^x of a row unvectorised: four times slower.
set(TROUPE_LIBTORCH_OPTIONS -fno-math-errno -fno-trapping-math)

function(_troupe_use_precompiled target name)
  if(name STREQUAL "libtorch")
    target_compile_options(${target} PRIVATE ${TROUPE_LIBTORCH_OPTIONS})
  endif()
  if(TROUPE_PCH)
    target_precompile_headers(${target} REUSE_FROM troupe_precompiled_${name})
  endif()
endfunction()

# The flags of test code: it runs once and is seldom debugged, so it is compiled quickly.
set(TROUPE_TEST_OPTIONS $<$<CONFIG:Release>:-O1> $<$<CONFIG:Release>:-g0>)

# Test code of a module whose library uses the precompiled header `pch`.
function(_troupe_test_code target pch)
  if(pch STREQUAL "libtorch")
    _troupe_use_precompiled(${target} libtorch)
  else()
    target_compile_options(${target} PRIVATE ${TROUPE_TEST_OPTIONS})
    _troupe_use_precompiled(${target} test)
  endif()
endfunction()

# troupe_module(<name> [ALONE] [FOLDERS names...] [DEPS targets...] [PCH name]): library troupe_<name>, tests <name>_test, fuzzers fuzz_<file>.
# PCH: the precompiled header of the library (common/cmake/troupe_precompiled.cmake), `base` where none is named.
# ALONE: its files do not compile in batches.
function(troupe_module name)
  cmake_parse_arguments(arg "ALONE" "PCH" "FOLDERS;DEPS" ${ARGN})
  if(NOT arg_PCH)
    set(arg_PCH base)
  endif()
  _troupe_sources(sources tests fuzz ${arg_FOLDERS})
  set(library troupe_${name})
  if(sources)
    add_library(${library} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(${library} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${library} ${scope} ${CMAKE_SOURCE_DIR})
  target_link_libraries(${library} ${scope} ${arg_DEPS})
  if(sources)
    if(TROUPE_UNITY AND NOT arg_ALONE)
      set_target_properties(${library} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
    endif()
    _troupe_use_precompiled(${library} ${arg_PCH})
  endif()
  if(tests AND TROUPE_TESTS AND NOT TROUPE_FUZZ)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE ${library} troupe_testing)
    add_test(NAME ${name} COMMAND ${name}_test)
    set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 300)
    _troupe_test_code(${name}_test ${arg_PCH})
  endif()
  if(TROUPE_FUZZ)
    foreach(file IN LISTS fuzz)
      get_filename_component(stem ${file} NAME)
      string(REGEX REPLACE "\\.fuzz\\.cpp$" "" stem ${stem})
      add_executable(fuzz_${stem} ${file})
      target_link_libraries(fuzz_${stem} PRIVATE ${library})
      target_link_options(fuzz_${stem} PRIVATE -fsanitize=fuzzer)
    endforeach()
  endif()
endfunction()

# All programs; what starts a fleet needs them.
add_custom_target(programs)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
file(CREATE_LINK ${DUCKDB_LIBRARY} ${CMAKE_BINARY_DIR}/bin/libduckdb.so COPY_ON_ERROR)

# troupe_program(<executable> [DEPS targets...]): main.cpp of this folder, in bin/.
function(troupe_program executable)
  cmake_parse_arguments(arg "" "" "DEPS" ${ARGN})
  add_executable(${executable} main.cpp)
  target_link_libraries(${executable} PRIVATE ${arg_DEPS})
  _troupe_use_precompiled(${executable} actors)
  set_target_properties(${executable} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  # libduckdb.so lies beside the programs: they run wherever the folder is copied to.
  set_target_properties(${executable} PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN")
  add_dependencies(programs ${executable})
endfunction()
