# cmake -DPROGRAM=... -DNAME=... -DTIMEOUT=... -DOUT=... -P: writes what CTest reads of troupe_cases, one test a case.
execute_process(COMMAND ${PROGRAM} --list-test-cases --reporters=xml OUTPUT_VARIABLE rest COMMAND_ERROR_IS_FATAL ANY)
set(script "")
while(rest MATCHES "<TestCase name=\"([^\"]*)\" filename=\"([^\"]*)\"")
  set(case "${CMAKE_MATCH_1}")
  get_filename_component(file "${CMAKE_MATCH_2}" NAME_WE)
  string(FIND "${rest}" "${CMAKE_MATCH_0}" at)
  string(LENGTH "${CMAKE_MATCH_0}" length)
  math(EXPR at "${at} + ${length}")
  string(SUBSTRING "${rest}" ${at} -1 rest)
  # A comma would end a filter of doctest's; `?` is any one character.
  string(REGEX REPLACE ",|&[a-z]+;" "?" filter "${case}")
  string(REPLACE "&quot;" "\"" case "${case}")
  string(REPLACE "&lt;" "<" case "${case}")
  string(REPLACE "&amp;" "&" case "${case}")
  string(APPEND script "add_test([==[${NAME}.${file}: ${case}]==] [==[${PROGRAM}]==] [==[--test-case=${filter}]==])\n"
    "set_tests_properties([==[${NAME}.${file}: ${case}]==] PROPERTIES LABELS ${NAME} RUN_SERIAL ON TIMEOUT ${TIMEOUT}\n"
    "  SKIP_REGULAR_EXPRESSION [==[(^|\n)skipped: ]==])\n")
endwhile()
if(NOT script)
  message(FATAL_ERROR "${PROGRAM} lists no test cases")
endif()
file(WRITE ${OUT} "${script}")
