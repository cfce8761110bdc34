# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# How targets are declared: warnings, hardening, sanitizers, header sets, tests.

# Load every program at a random address. Not CMAKE_POSITION_INDEPENDENT_CODE, which compiles static
# libraries like shared ones (-fPIC), where fewer calls can be inlined.
string(APPEND CMAKE_CXX_FLAGS " -fPIE")
string(APPEND CMAKE_EXE_LINKER_FLAGS " -pie")

add_library(sluice_options INTERFACE)
target_compile_options(sluice_options INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Werror)
# Before the directories of other libraries, so that "base/error.h" is always Sluice's.
target_include_directories(sluice_options BEFORE INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
# For programs that read hostile input, or are privileged: test/hardening checks each of these.
target_compile_options(sluice_options INTERFACE -fstack-protector-strong)
target_link_options(sluice_options INTERFACE -Wl,-z,relro -Wl,-z,now)
if(NOT SLUICE_SANITIZE AND CMAKE_BUILD_TYPE MATCHES "^(Release|RelWithDebInfo|MinSizeRel)$")
  # glibc's checks need optimisation; a sanitizer checks the same calls better.
  set(SLUICE_FORTIFY ON)
  target_compile_options(sluice_options INTERFACE
    $<$<NOT:$<BOOL:$<TARGET_PROPERTY:SLUICE_UNOPTIMISED>>>:-U_FORTIFY_SOURCE$<SEMICOLON>-D_FORTIFY_SOURCE=3>)
endif()
if(SLUICE_SANITIZE)
  set(sanitized $<NOT:$<BOOL:$<TARGET_PROPERTY:SLUICE_UNSANITIZED>>>)
  target_compile_options(sluice_options INTERFACE
    $<${sanitized}:-fsanitize=${SLUICE_SANITIZE}$<SEMICOLON>-fno-sanitize-recover=all$<SEMICOLON>-fno-omit-frame-pointer>)
  target_link_options(sluice_options INTERFACE $<${sanitized}:-fsanitize=${SLUICE_SANITIZE}>)
endif()
if(SLUICE_SANITIZE MATCHES thread)
  # GCC's ThreadSanitizer does not support fences; Asio also synchronises with its mutexes.
  target_compile_definitions(sluice_options INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
endif()
if(CMAKE_UNITY_BUILD)
  # GCC takes an included source file for a header. The preset dev compiles it alone.
  target_compile_options(sluice_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endif()
if(SLUICE_BUILD_FUZZERS)
  target_compile_options(sluice_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Where several files are compiled as one, headers are precompiled as well. The preset dev finds missing
# includes.
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  set(SLUICE_PRECOMPILE_TESTS ON)
  # Precompiled, the standard library's headers lose GCC's marks of where these warnings would be wrong. Other
  # builds of CI have the warnings.
  if(NOT SLUICE_SANITIZE AND NOT CMAKE_CROSSCOMPILING)
    set(SLUICE_PRECOMPILE ON)
    target_compile_options(sluice_options INTERFACE
      -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread)
  endif()
endif()
# What most files include. sluice_base, the first library, compiles them for all.
set(SLUICE_COMMON_HEADERS <algorithm> <array> <charconv> <chrono> <functional> <map> <memory> <optional> <ranges> <set>
                          <span> <sstream> <stdexcept> <string> <string_view> <utility> <variant> <vector>)

# For the servers of few requests that Beast's templates make: optimised less, they compile in two thirds of the
# time.
set(SLUICE_OPTIMISE_LESS $<$<CONFIG:RelWithDebInfo>:-O1>)

# sluice_library(NAME HEADERS a.h... SOURCES a.cc... [PUBLIC deps...] [PRIVATE deps...])
# A static library, installed with the component `dev`. HEADERS are its public headers; the dev
# preset checks that they are self-contained.
function(sluice_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS;SOURCES;PUBLIC;PRIVATE")
  add_library(${name} STATIC ${arg_SOURCES})
  target_sources(${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${arg_HEADERS})
  target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:sluice_options> PUBLIC ${arg_PUBLIC}
                                PRIVATE ${arg_PRIVATE})
  if(SLUICE_PRECOMPILE AND name STREQUAL sluice_base)
    target_precompile_headers(${name} PRIVATE ${SLUICE_COMMON_HEADERS})
  elseif(SLUICE_PRECOMPILE)
    target_precompile_headers(${name} REUSE_FROM sluice_base)
  endif()
  # -I include/sluice, so that includes are the same as in this repository.
  install(TARGETS ${name}
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}/sluice COMPONENT dev
          FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sluice COMPONENT dev)
endfunction()

# sluice_static_program(NAME LINK deps...): main.cc, as a program that needs no library at run time.
# Loading and relocating libc alone takes longer than an init container works. NAME-shared is the same
# with a shared libc, for tests that load libraries of their own into it (LD_PRELOAD). With a sanitizer,
# which needs a shared libc, there is no difference.
include(CheckLinkerFlag)
check_linker_flag(CXX -Wl,--fatal-warnings,-z,pack-relative-relocs SLUICE_CAN_PACK_RELOCATIONS)
function(sluice_static_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LINK")
  foreach(program ${name} ${name}-shared)
    add_executable(${program} main.cc)
    target_include_directories(${program} PRIVATE ${PROJECT_BINARY_DIR}/generated)
    target_link_libraries(${program} PRIVATE sluice_options ${arg_LINK})
  endforeach()
  set_target_properties(${name}-shared PROPERTIES EXCLUDE_FROM_ALL ON)
  if(SLUICE_SANITIZE)
    return()
  endif()
  target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/cmd/no_name_services.cc)
  target_link_options(${name} PRIVATE -static-pie -Wl,--gc-sections -Wl,-O1)
  # Some linkers have it for some processors only, and warn then.
  if(SLUICE_CAN_PACK_RELOCATIONS)
    target_link_options(${name} PRIVATE -Wl,-z,pack-relative-relocs)
  endif()
endfunction()

# sluice_compile_quickly(NAME): a target of tests, which are compiled more often than run: optimisation would
# double their build time. Lines in a debugger are for builds in which one debugs; they cost a tenth.
function(sluice_compile_quickly name)
  set_target_properties(${name} PROPERTIES SLUICE_UNOPTIMISED ON)
  target_compile_options(${name} PRIVATE -O0 $<IF:$<CONFIG:Debug>,-g1,-g0>)
  # From 128 MB on, GCC looks for garbage in its own memory again and again, which is a seventh of its time, and
  # most is needed until the end.
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=524288>)
endfunction()

# CTest starts tests in the order of their COST: first those of a quarter of a minute or more, which have one of
# their own; then those that wait much; and last the thousand of a few milliseconds, so that no CPU is without
# work at the end.
set(SLUICE_COST_proxy 20)
set(SLUICE_COST_netns 10)
set(SLUICE_COST_unit 1)

# sluice_test(NAME LABEL label SOURCES a.cc... LINK deps... [TIMEOUT seconds] [PROCESSORS n] [COST n]
#             [KERNEL filter])
# A GoogleTest binary; CTest runs each of its tests in its own process. With a sanitizer or an emulated
# processor, which take longer to start than most unit tests to run, a binary of unit tests is one
# CTest test. The tests of KERNEL do not run on an emulated processor alone, but in test/vm. The target
# tests_LABEL builds all binaries of a label.
function(sluice_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL;TIMEOUT;PROCESSORS;COST;KERNEL" "SOURCES;LINK")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 600)
  endif()
  if(NOT arg_PROCESSORS)
    set(arg_PROCESSORS 1)
  endif()
  if(NOT arg_COST)
    set(arg_COST ${SLUICE_COST_${arg_LABEL}})
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE sluice_options ${arg_LINK} GTest::gtest GTest::gmock)
  sluice_compile_quickly(${name})
  if(SLUICE_PRECOMPILE_TESTS)
    target_precompile_headers(${name} REUSE_FROM sluice_test_main)
  endif()
  if(CMAKE_CROSSCOMPILING AND NOT arg_LABEL STREQUAL "unit")
    # These need a kernel.
  elseif(CMAKE_CROSSCOMPILING AND arg_KERNEL STREQUAL "*")
  elseif(arg_LABEL STREQUAL "unit" AND
         (SLUICE_SANITIZE OR CMAKE_CROSSCOMPILING OR NOT CMAKE_BUILD_TYPE STREQUAL "Debug"))
    # Most of them take less time than a process of their own takes to start.
    set(filter)
    if(CMAKE_CROSSCOMPILING AND arg_KERNEL)
      set(filter --gtest_filter=-${arg_KERNEL})
    endif()
    add_test(NAME ${name} COMMAND ${name} ${filter})
    set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT ${arg_TIMEOUT} COST 50)
  else()
    gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120
      PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT} PROCESSORS ${arg_PROCESSORS} COST ${arg_COST})
  endif()
  if(NOT TARGET tests_${arg_LABEL})
    add_custom_target(tests_${arg_LABEL})
  endif()
  add_dependencies(tests_${arg_LABEL} ${name})
endfunction()
