# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# The libraries that Sluice uses. scripts/packages has the names of their Debian packages.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# Static Boost: sluice-init must start within a millisecond, and each shared library adds to that.
set(Boost_USE_STATIC_LIBS ON)
find_package(Boost 1.81 CONFIG REQUIRED COMPONENTS program_options json)
find_package(OpenSSL 3 REQUIRED)
find_package(fmt CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED COMPONENTS core)
if(SLUICE_BUILD_TESTS)
  find_package(GTest CONFIG REQUIRED)
  find_package(benchmark CONFIG REQUIRED)
endif()

find_package(PkgConfig REQUIRED)
if(SLUICE_BUILD_TESTS)
  # What iptables itself uses, to compare with.
  pkg_check_modules(LIBIPTC REQUIRED IMPORTED_TARGET libip4tc libip6tc)
endif()
pkg_check_modules(LIBNL REQUIRED libnl-route-3.0)

# libnl is static for the same reason.
add_library(sluice_libnl INTERFACE)
target_include_directories(sluice_libnl SYSTEM INTERFACE ${LIBNL_INCLUDE_DIRS})
find_library(LIBNL_ROUTE_ARCHIVE libnl-route-3.a REQUIRED)
find_library(LIBNL_ARCHIVE libnl-3.a REQUIRED)
target_link_libraries(sluice_libnl INTERFACE ${LIBNL_ROUTE_ARCHIVE} ${LIBNL_ARCHIVE} m Threads::Threads)

# fmt as headers: the shared library would add a tenth to the start of sluice-init.
add_library(sluice_log INTERFACE)
target_compile_definitions(sluice_log INTERFACE SPDLOG_FMT_EXTERNAL)
target_link_libraries(sluice_log INTERFACE fmt::fmt-header-only)

# Also static, so that sluice-inject runs wherever it is copied to.
pkg_check_modules(LIBYAML REQUIRED yaml-0.1)
add_library(sluice_libyaml INTERFACE)
target_include_directories(sluice_libyaml SYSTEM INTERFACE ${LIBYAML_INCLUDE_DIRS})
find_library(LIBYAML_ARCHIVE libyaml.a REQUIRED)
target_link_libraries(sluice_libyaml INTERFACE ${LIBYAML_ARCHIVE})

# For HPACK only, which is a tenth of it.
pkg_check_modules(LIBNGHTTP2 REQUIRED libnghttp2)
add_library(sluice_libnghttp2 INTERFACE)
target_include_directories(sluice_libnghttp2 SYSTEM INTERFACE ${LIBNGHTTP2_INCLUDE_DIRS})
find_library(LIBNGHTTP2_ARCHIVE libnghttp2.a REQUIRED)
target_link_libraries(sluice_libnghttp2 INTERFACE ${LIBNGHTTP2_ARCHIVE})
