# What a build can be told, and the flags every target shares.
set(TROUPE_SANITIZE "" CACHE STRING "Sanitizers to build with: 'address,undefined' or 'thread'")
option(TROUPE_FUZZ "Build the libFuzzer targets (needs clang)" OFF)
option(TROUPE_TESTS "Build the tests" ON)
option(TROUPE_PCH "Use precompiled headers" ON)
option(TROUPE_UNITY "Compile the files of a module in batches: quicker as a whole, slower after each edit" OFF)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
# Programs only, no shared library of ours: one setting for all, as a precompiled header needs it.
add_compile_options(-fPIE)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1 -fno-omit-frame-pointer")

# -pthread everywhere: it defines a macro, and one precompiled header serves all.
add_compile_options(-pthread)
add_compile_options(-Wall -Wextra -Wpedantic -Wnon-virtual-dtor -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports these inside libstdc++ and CAF at -O2, where nothing is wrong.
  # No garbage collection inside the compiler below 4 GB: a tenth of its time.
  add_compile_options(--param=ggc-min-heapsize=4194304)
  add_compile_options(-Wshadow=local -Wno-restrict -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds -Wno-stringop-overread)
endif()

# Said to every unit, as Boost's own targets say it, so that one precompiled header serves units with and without Boost.JSON.
add_compile_definitions(BOOST_JSON_DYN_LINK BOOST_JSON_NO_LIB BOOST_CONTAINER_DYN_LINK BOOST_CONTAINER_NO_LIB FMT_SHARED)

find_program(TROUPE_CCACHE ccache)
if(TROUPE_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1 ${TROUPE_CCACHE})
endif()
find_program(TROUPE_MOLD mold)
if(TROUPE_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

if(TROUPE_SANITIZE)
  add_compile_options(-fsanitize=${TROUPE_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TROUPE_SANITIZE})
  if(TROUPE_SANITIZE MATCHES "undefined")
    add_compile_options(-fsanitize-recover=null) # halts at run time, but for what scripts/ubsan.supp names
  endif()
  if(TROUPE_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Asio's fences; its mutexes, which ThreadSanitizer does see, order the same accesses.
    add_compile_options(-Wno-tsan)
  endif()
endif()
if(TROUPE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
endif()
