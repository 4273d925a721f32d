# troupe_cases(<name> TIMEOUT seconds [DEPS targets...]): the program <name>_test of the *.test.cpp here, each of whose cases is a
# test of CTest by itself, called `<name>.<file>: <what the case says>`, with the label <name>. One runs at a time, with nothing
# beside it; one that prints a line `skipped: ...` counts as skipped.
function(troupe_cases name)
  cmake_parse_arguments(arg "" "TIMEOUT" "DEPS" ${ARGN})
  _troupe_sources(sources tests fuzz)
  add_executable(${name}_test ${tests})
  target_link_libraries(${name}_test PRIVATE troupe_testing ${arg_DEPS})
  _troupe_test_code(${name}_test base)
  if(TROUPE_UNITY)
    set_target_properties(${name}_test PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
  endif()
  set(cases ${CMAKE_CURRENT_BINARY_DIR}/${name}_cases.cmake)
  add_custom_command(TARGET ${name}_test POST_BUILD BYPRODUCTS ${cases} VERBATIM
    COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:${name}_test> -DNAME=${name} -DTIMEOUT=${arg_TIMEOUT} -DOUT=${cases}
            -P ${CMAKE_SOURCE_DIR}/common/cmake/troupe_list_cases.cmake)
  set(include ${CMAKE_CURRENT_BINARY_DIR}/${name}_include.cmake)
  file(WRITE ${include} "if(EXISTS [==[${cases}]==])\n  include([==[${cases}]==])\nelse()\n"
    "  add_test(${name}_is_not_built ${name}_test)\n  set_tests_properties(${name}_is_not_built PROPERTIES LABELS ${name})\nendif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${include})
endfunction()
