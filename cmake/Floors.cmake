# The declarations of the tree: libraries with their floor, tests, programs, plugins, fuzz targets.
# What is declared here is recorded, checked at the end of the configure step, and written to
# floors.txt in the build directory, from which test/tidy checks every #include.

# Remembers one declaration for floors.txt: kind|name|floor|folder|deps|files.
function(moraine_record KIND NAME FLOOR DEPS FILES)
  string(REPLACE ";" "," deps "${DEPS}")
  string(REPLACE ";" "," files "${FILES}")
  file(RELATIVE_PATH dir "${CMAKE_SOURCE_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}")
  set_property(GLOBAL APPEND_STRING PROPERTY MORAINE_RECORDS
    "${KIND}|${NAME}|${FLOOR}|${dir}|${deps}|${files}\n")
endfunction()

# moraine_library(NAME FLOOR n SOURCES ... HEADERS ... [DEPS moraine libraries] [LIBS outside libraries]
#                 [TESTS x_test.cc ...])
# declares one folder as one static library `moraine_NAME` with its unit tests `NAME_test`.
# A library may depend on lower floors; on its own floor only when ALLOW_SAME_FLOOR names the other.
function(moraine_library NAME)
  cmake_parse_arguments(L "" "FLOOR" "SOURCES;HEADERS;DEPS;LIBS;TESTS;ALLOW_SAME_FLOOR" ${ARGN})
  set(target moraine_${NAME})
  add_library(${target} STATIC ${L_SOURCES} ${L_HEADERS})
  target_link_libraries(${target} PUBLIC moraine_flags ${L_LIBS})
  moraine_precompiled(${target} library)
  foreach(dep IN LISTS L_DEPS)
    target_link_libraries(${target} PUBLIC moraine_${dep})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY MORAINE_LIBRARIES ${NAME})
  set_property(GLOBAL PROPERTY MORAINE_FLOOR_${NAME} ${L_FLOOR})
  set_property(GLOBAL PROPERTY MORAINE_DEPS_${NAME} "${L_DEPS}")
  set_property(GLOBAL PROPERTY MORAINE_SAME_${NAME} "${L_ALLOW_SAME_FLOOR}")
  set_property(GLOBAL PROPERTY MORAINE_SOURCES_${NAME} "${L_SOURCES}")
  set_property(GLOBAL PROPERTY MORAINE_HEADERS_${NAME} "${L_HEADERS}")
  set_property(GLOBAL PROPERTY MORAINE_DIR_${NAME} "${CMAKE_CURRENT_SOURCE_DIR}")
  moraine_record(library ${NAME} "${L_FLOOR}" "${L_DEPS}" "${L_SOURCES};${L_HEADERS}")
  if(L_TESTS)
    moraine_test(${NAME}_test SOURCES ${L_TESTS} DEPS ${NAME})
  endif()
endfunction()

# Tests that need nothing but a processor and a temporary directory; the sanitizer runs build these.
add_custom_target(unit_tests)

# moraine_test(NAME SOURCES ... DEPS moraine libraries [LIBS ...] [LABELS ...] [TIMEOUT seconds])
# Labels: unit (when none is given) and sim run under the sanitizers too; cluster needs servers,
# mount needs /dev/fuse, long is for test/run --long.
function(moraine_test NAME)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;DEPS;LIBS;LABELS" ${ARGN})
  add_executable(${NAME} ${T_SOURCES})
  target_link_libraries(${NAME} PRIVATE moraine_flags GTest::gmock GTest::gtest_main ${T_LIBS})
  moraine_precompiled(${NAME} test)
  target_compile_options(${NAME} PRIVATE ${MORAINE_TEST_OPTIONS})
  foreach(dep IN LISTS T_DEPS)
    target_link_libraries(${NAME} PRIVATE moraine_${dep})
  endforeach()
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 300)
  endif()
  if(MORAINE_SANITIZE STREQUAL "thread")
    math(EXPR T_TIMEOUT "${T_TIMEOUT} * 4")
  endif()
  if(NOT T_LABELS)
    set(T_LABELS unit)
  endif()
  if("unit" IN_LIST T_LABELS OR "sim" IN_LIST T_LABELS)
    add_dependencies(unit_tests ${NAME})
  endif()
  moraine_record(test ${NAME} "" "${T_DEPS}" "${T_SOURCES}")
  gtest_discover_tests(${NAME} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${T_TIMEOUT} LABELS "${T_LABELS}")
endfunction()

# moraine_program(NAME SOURCES ... DEPS ... [LIBS ...]): an executable in bin/.
function(moraine_program NAME)
  cmake_parse_arguments(P "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_executable(${NAME} ${P_SOURCES})
  target_link_libraries(${NAME} PRIVATE moraine_flags ${P_LIBS})
  foreach(dep IN LISTS P_DEPS)
    target_link_libraries(${NAME} PRIVATE moraine_${dep})
  endforeach()
  moraine_record(program ${NAME} "" "${P_DEPS}" "${P_SOURCES}")
  install(TARGETS ${NAME} RUNTIME DESTINATION bin)
endfunction()

# moraine_plugin(NAME SOURCES ... DEPS ... [LIBS ...]): a shared object lib/libNAME.so that other
# programs load. All of every library in DEPS goes in, because nothing refers to what registers itself.
function(moraine_plugin NAME)
  cmake_parse_arguments(P "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_library(${NAME} SHARED ${P_SOURCES})
  target_link_libraries(${NAME} PRIVATE moraine_flags ${P_LIBS})
  foreach(dep IN LISTS P_DEPS)
    target_link_libraries(${NAME} PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,moraine_${dep}>")
  endforeach()
  moraine_record(plugin ${NAME} "" "${P_DEPS}" "${P_SOURCES}")
  install(TARGETS ${NAME} LIBRARY DESTINATION lib)
endfunction()

# moraine_bench(NAME_bench SOURCES ... DEPS ...): a Google Benchmark program, built and run by
# test/run --bench only.
add_custom_target(benchmarks)
function(moraine_bench NAME)
  cmake_parse_arguments(B "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_executable(${NAME} EXCLUDE_FROM_ALL ${B_SOURCES})
  target_link_libraries(${NAME} PRIVATE moraine_flags benchmark::benchmark_main ${B_LIBS})
  foreach(dep IN LISTS B_DEPS)
    target_link_libraries(${NAME} PRIVATE moraine_${dep})
  endforeach()
  add_dependencies(benchmarks ${NAME})
  moraine_record(bench ${NAME} "" "${B_DEPS}" "${B_SOURCES}")
endfunction()

# moraine_fuzz(NAME SOURCES x_fuzz.cc DEPS ... [SEEDS folder]): a libFuzzer target, built and tested
# where the address sanitizer is on. It runs for MORAINE_FUZZ_SECONDS (5 when unset).
function(moraine_fuzz NAME)
  cmake_parse_arguments(F "" "SEEDS" "SOURCES;DEPS" ${ARGN})
  moraine_record(fuzz ${NAME} "" "${F_DEPS}" "${F_SOURCES}")
  if(NOT MORAINE_SANITIZE MATCHES "address")
    return()
  endif()
  add_executable(${NAME} ${F_SOURCES})
  target_link_libraries(${NAME} PRIVATE moraine_flags)
  target_link_options(${NAME} PRIVATE -fsanitize=fuzzer)
  foreach(dep IN LISTS F_DEPS)
    target_link_libraries(${NAME} PRIVATE moraine_${dep})
  endforeach()
  set(corpus "${CMAKE_BINARY_DIR}/corpus/${NAME}")
  file(MAKE_DIRECTORY "${corpus}")
  set(seeds "")
  if(F_SEEDS)
    set(seeds "${CMAKE_CURRENT_SOURCE_DIR}/${F_SEEDS}")
  endif()
  add_dependencies(unit_tests ${NAME})
  add_test(NAME fuzz.${NAME} WORKING_DIRECTORY "${corpus}" COMMAND sh -c
    "exec $<TARGET_FILE:${NAME}> -max_total_time=\${MORAINE_FUZZ_SECONDS:-5} -timeout=5 \
-rss_limit_mb=512 -print_final_stats=1 -artifact_prefix=${CMAKE_BINARY_DIR}/${NAME}- ${corpus} ${seeds}")
  set_tests_properties(fuzz.${NAME} PROPERTIES LABELS fuzz
    ENVIRONMENT "ASAN_OPTIONS=quarantine_size_mb=64")
endfunction()

# Refuses, at configure time, every dependency that looks up.
function(moraine_check_floors)
  get_property(libraries GLOBAL PROPERTY MORAINE_LIBRARIES)
  foreach(name IN LISTS libraries)
    get_property(floor GLOBAL PROPERTY MORAINE_FLOOR_${name})
    get_property(deps GLOBAL PROPERTY MORAINE_DEPS_${name})
    get_property(same GLOBAL PROPERTY MORAINE_SAME_${name})
    foreach(dep IN LISTS deps)
      get_property(dep_floor GLOBAL PROPERTY MORAINE_FLOOR_${dep})
      if(dep_floor STREQUAL "")
        message(FATAL_ERROR "Library '${name}' depends on '${dep}', which no moraine_library() declares.")
      endif()
      if(dep_floor GREATER floor OR (dep_floor EQUAL floor AND NOT dep IN_LIST same))
        message(FATAL_ERROR "Floor broken: '${name}' (floor ${floor}) may not use '${dep}' (floor ${dep_floor}).")
      endif()
    endforeach()
  endforeach()
  get_property(records GLOBAL PROPERTY MORAINE_RECORDS)
  file(GENERATE OUTPUT "${CMAKE_BINARY_DIR}/floors.txt" CONTENT "${records}")
endfunction()
