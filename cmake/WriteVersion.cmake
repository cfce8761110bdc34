# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# cmake -DSOURCE=dir -DOUTPUT=file -DPROJECT_VERSION=0.1.0 [-DCOMMIT=id] -P WriteVersion.cmake
# Fills in cmd/version.h.in. Without COMMIT it asks git; if git does not know, it stays empty.
if(NOT COMMIT)
  find_program(GIT git)
  if(GIT)
    # Inside another repository, as for an unpacked archive, its commit would be wrong.
    execute_process(COMMAND ${GIT} rev-parse --show-toplevel WORKING_DIRECTORY ${SOURCE}
                    OUTPUT_VARIABLE top OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    file(REAL_PATH "${SOURCE}" real_source)
    if(top STREQUAL real_source)
      execute_process(COMMAND ${GIT} describe --always --dirty --abbrev=12 --exclude=*
                      WORKING_DIRECTORY ${SOURCE}
                      OUTPUT_VARIABLE COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
  endif()
endif()
set(VERSION_TEXT "${PROJECT_VERSION}")
if(COMMIT)
  set(VERSION_TEXT "${PROJECT_VERSION} (${COMMIT})")
endif()
# Leaves the file alone when nothing has changed.
configure_file(${CMAKE_CURRENT_LIST_DIR}/../cmd/version.h.in ${OUTPUT} @ONLY)
